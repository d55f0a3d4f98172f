"""Who may take the events of a worker that serves: its own user, or who shows its token."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import telemetry_py as telemetry

STREAM = "/snakepit.bridge.BridgeService/StreamTelemetry"
TOKEN = "0123456789abcdef0123456789abcdef"

TAKES = """
import os, sys
import grpc
channel = grpc.insecure_channel(sys.argv[1])
call = channel.stream_stream("/snakepit.bridge.BridgeService/StreamTelemetry", request_serializer=bytes, response_deserializer=bytes)
try:
    print(len(next(call(iter([b""]), timeout=5, wait_for_ready=False))), "bytes", flush=True)
except grpc.RpcError as error:
    print(error.code().name, flush=True)
# The end of a channel of grpcio can wait for ever for a thread of its own.
os._exit(0)
"""
"""Another program that opens the stream and says what it got."""


CONNECTS = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""
"""One that only connects to a unix socket."""


def taken(address: str) -> str:
    """What another program of this user gets."""
    target = address if address.startswith("unix:") else f"ipv4:{address}"
    result = subprocess.run([sys.executable, "-c", TAKES, target], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/usr/bin/python3", os.X_OK), reason="only root can be somebody else")
def test_another_user_gets_nothing_from_a_worker_that_named_no_address() -> None:
    with telemetry.serve() as server:
        before = telemetry.stats()["sent"]
        telemetry.emit("a.b")
        path = server.address.removeprefix("unix:")
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        other = subprocess.run(["/usr/bin/python3", "-c", CONNECTS, path], user=65534, group=65534, capture_output=True, text=True, cwd="/")
        assert other.stdout == "PermissionError\n", other.stderr
        assert telemetry.stats()["sent"] == before
        assert taken(server.address).endswith("bytes"), "its own user does"
    assert not os.path.exists(path)


def test_a_port_is_not_served_to_everybody_by_accident(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with pytest.raises(ValueError, match="TELEMETRY_TOKEN_FILE.*insecure=True"):
        telemetry.serve("127.0.0.1:0")
    start = "import telemetry_py as telemetry\nprint(telemetry.serve().address or 'nowhere')"
    result = python(start, TELEMETRY_ADDRESS="127.0.0.1:0")
    assert (result.returncode, result.stdout) == (0, "nowhere\n"), result.stderr
    assert result.stderr.count("\n") == 1 and "TELEMETRY_INSECURE=1" in result.stderr, result.stderr
    result = python(start, TELEMETRY_ADDRESS="127.0.0.1:0", TELEMETRY_STRICT="1")
    assert result.returncode == 1 and "ValueError" in result.stderr, result.stderr
    result = python(start, TELEMETRY_ADDRESS="127.0.0.1:0", TELEMETRY_INSECURE="1")
    assert result.stdout.startswith("127.0.0.1:"), result.stderr
    assert result.stderr.count("\n") == 1 and "without a token" in result.stderr, result.stderr


def test_who_shows_no_token_gets_nothing_and_is_counted(token_file: Path) -> None:
    with telemetry.serve("127.0.0.1:0", token_file=token_file) as server:
        before = telemetry.stats()["sent"]
        telemetry.emit("a.b")
        assert taken(server.address) == "UNAUTHENTICATED"
        assert (telemetry.stats()["sent"], server.clients, server.unauthenticated) == (before, 0, 1)
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_stream(STREAM, request_serializer=bytes, response_deserializer=bytes)
            answer = call(iter([b""]), metadata=[("authorization", f"Bearer {TOKEN}")], timeout=30)
            assert len(next(answer)) > 0
            answer.cancel()


@pytest.mark.parametrize("problem", ["missing", "short"])
def test_a_file_without_a_token_is_refused_and_not_repeated(tmp_path: Path, problem: str) -> None:
    file = tmp_path / "token"
    if problem == "short":
        file.write_text("secret")
    with pytest.raises(ValueError, match="TELEMETRY_TOKEN_FILE") as refused:
        telemetry.serve("127.0.0.1:0", token_file=file)
    assert "secret" not in str(refused.value)


def test_a_token_at_a_descriptor_is_read_once_and_its_children_have_none() -> None:
    read, write = os.pipe()
    os.write(write, TOKEN.encode())
    os.close(write)
    program = """
import os, subprocess, sys
import telemetry_py as telemetry
with telemetry.serve("127.0.0.1:0") as server:
    assert not os.path.exists(f"/proc/self/fd/{sys.argv[1]}") or "pipe" not in os.readlink(f"/proc/self/fd/{sys.argv[1]}")
with telemetry.serve("127.0.0.1:0") as again:
    print(again.is_running)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(read)],
        env={**os.environ, "TELEMETRY_TOKEN_FD": str(read)},
        pass_fds=[read],
        capture_output=True,
        text=True,
        timeout=60,
    )
    os.close(read)
    assert (result.returncode, result.stdout, result.stderr) == (0, "True\n", "")
