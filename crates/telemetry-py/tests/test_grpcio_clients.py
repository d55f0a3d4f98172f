"""A stock grpcio client without any options: what it calls and how it reaches a worker's socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import telemetry_py as telemetry
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP
from manager import PATIENCE, Manager, name_of, target

SERVICE = "/snakepit.bridge.BridgeService/"

SOCKETS = [
    "worker.sock",
    "with some spaces",
    "per%cent",
    "per%20cent",
    "at@sign",
    "@first",
    "last@",
    "colon:colon::",
    "[brackets]]",
    "question?and#hash",
    'quotes"and\'back\\slash',
    "plus+semi;",
    "ünïcode-\N{SNAKE}",
]
"""Names of socket files. A client writes each path into `:authority`; to grpc a comma ends an address."""


def _classes() -> dict[str, type]:
    """The four unary messages, built here so that the test shares no code with the worker."""
    file = descriptor_pb2.FileDescriptorProto(name="unary.proto", package="unary", syntax="proto3")
    file.dependency.append(TIMESTAMP.name)
    field = descriptor_pb2.FieldDescriptorProto
    for name, fields in {
        "Ping": [("message", field.TYPE_STRING)],
        "Pong": [("message", field.TYPE_STRING), ("server_time", field.TYPE_MESSAGE)],
        "Heartbeat": [("session_id", field.TYPE_STRING), ("client_time", field.TYPE_MESSAGE)],
        "Alive": [("server_time", field.TYPE_MESSAGE), ("session_valid", field.TYPE_BOOL)],
    }.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields, 1):
            added = message.field.add(name=field_name, number=number, type=kind, label=field.LABEL_OPTIONAL)
            if kind == field.TYPE_MESSAGE:
                added.type_name = ".google.protobuf.Timestamp"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(TIMESTAMP.serialized_pb)
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"unary.{message.name}"))
        for message in file.message_type
    }


UNARY = _classes()


def unary(channel: grpc.Channel, method: str, request: object, answer: str) -> object:
    call = channel.unary_unary(
        SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=UNARY[answer].FromString,
    )
    return call(request, timeout=PATIENCE)


@pytest.fixture
def serve_at(tmp_path: Path) -> Iterator[Callable[[str], telemetry.Server]]:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    servers = []

    def serve(name: str) -> telemetry.Server:
        servers.append(telemetry.serve(f"unix:{directory}/{name}"))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def check(address: str) -> None:
    """Everything a stock manager calls works at the address."""
    with grpc.insecure_channel(target(address)) as channel:
        before = time.time()
        pong = unary(channel, "Ping", UNARY["Ping"](message="are you there?"), "Pong")
        assert pong.message == "are you there?"
        heartbeat = UNARY["Heartbeat"](session_id="some session")
        heartbeat.client_time.GetCurrentTime()
        # The second one is told in references to what the first one said.
        for _ in range(2):
            alive = unary(channel, "Heartbeat", heartbeat, "Alive")
            assert alive.session_valid
            for answer in (pong, alive):
                assert before - 1 <= answer.server_time.seconds <= time.time() + 1
    telemetry.emit("tool.result_size", {"bytes": 5})
    with Manager(address) as manager:
        assert name_of(manager.next()) == "tool.result_size"


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_of_any_name_is_reached(serve_at, name):
    check(serve_at(name).address)


def test_a_socket_named_from_the_working_directory_is_reached(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o700)
    with telemetry.serve("unix:here.sock"):
        check("unix:here.sock")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_reached(host):
    try:
        server = telemetry.serve(f"{host}:0", insecure=True)
    except OSError as error:
        pytest.skip(f"nobody can listen at {host} here: {error}")
    with server:
        check(server.address)


def test_an_authority_of_the_clients_own_is_taken(serve_at):
    server = serve_at("worker.sock")
    for authority in ("localhost", "localhost:80", "me@[::1]:80", "%", "a" * 4096, "%2F" * 1000):
        options = [("grpc.default_authority", authority)]
        with grpc.insecure_channel(target(server.address), options) as channel:
            assert unary(channel, "Heartbeat", UNARY["Heartbeat"](), "Alive").session_valid


def test_metadata_beside_the_authority_is_untouched_over_many_calls(serve_at):
    """Names and values that push the authority out of the table of what was said, and back in."""
    server = serve_at("per%cent @x")
    with grpc.insecure_channel(target(server.address)) as channel:
        call = channel.unary_unary(SERVICE + "Ping", response_deserializer=UNARY["Pong"].FromString)
        for turn in range(300):
            metadata = [(f"key-{turn}", "%/ :@" * 40), (f"key-{turn % 7}-bin", bytes(range(256)))]
            pong = call(UNARY["Ping"](message=str(turn)).SerializeToString(), metadata=metadata, timeout=PATIENCE)
            assert pong.message == str(turn)


def test_other_methods_are_unimplemented(serve_at):
    server = serve_at("worker.sock")
    with grpc.insecure_channel(target(server.address)) as channel:
        for method in ("ExecuteTool", "InitializeSession", "Heartbeats", "heartbeat", "Odd%20Name%"):
            with pytest.raises(grpc.RpcError) as raised:
                unary(channel, method, UNARY["Heartbeat"](), "Alive")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED, method
            assert method in raised.value.details()
