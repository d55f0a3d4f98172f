"""Streams in real gRPC servers: with an event loop and with threads, cut and taken up again."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import telemetry_py as telemetry
from manager import CLASSES, Manager, name_of
from raw_call import PATIENCE, TOGGLE_ON, RawCall

sys.path.insert(0, str(Path(__file__).parent / "stock"))
from snakepit_bridge import snakepit_bridge_pb2 as pb2  # noqa: E402
from snakepit_bridge import snakepit_bridge_pb2_grpc as pb2_grpc  # noqa: E402

sys.path.pop(0)

TOGGLE_OFF = b"\x0a\x00"
RUBBISH = b"\xff\xff\xff"


class AioBridge:
    """The servicer of a host with an event loop."""

    def __init__(self, stream: telemetry.TelemetryStream) -> None:
        self.stream = stream

    async def Ping(self, request: Any, context: Any) -> Any:
        return pb2.PingResponse(message=request.message)

    async def StreamTelemetry(self, requests: Any, context: Any) -> Any:
        async for event in self.stream.stream(requests, context):
            yield event


class SyncBridge:
    """The servicer of a host with threads."""

    def __init__(self, stream: telemetry.TelemetryStream) -> None:
        self.stream = stream

    def Ping(self, request: Any, context: Any) -> Any:
        return pb2.PingResponse(message=request.message)

    def StreamTelemetry(self, requests: Any, context: Any) -> Any:
        return self.stream.stream_sync(requests, context)


@asynccontextmanager
async def aio_server(stream: telemetry.TelemetryStream, interceptors: Any = (), bridge: Any = None) -> Any:
    server = grpc.aio.server(interceptors=interceptors)
    pb2_grpc.add_BridgeServiceServicer_to_server(bridge or AioBridge(stream), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    stream.close()
    await server.stop(grace=PATIENCE)


@contextmanager
def sync_server(stream: telemetry.TelemetryStream, interceptors: Any = (), bridge: Any = None) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(8), interceptors=interceptors)
    pb2_grpc.add_BridgeServiceServicer_to_server(bridge or SyncBridge(stream), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        stream.close()
        server.stop(grace=PATIENCE).wait()


@contextmanager
def in_thread(stream: telemetry.TelemetryStream) -> Iterator[int]:
    """A server with an event loop in a thread of its own, so that both kinds are asked alike."""
    started: ThreadPoolExecutor = ThreadPoolExecutor(1)
    loop = asyncio.new_event_loop()
    started.submit(loop.run_forever)
    serving = aio_server(stream)
    try:
        port = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(PATIENCE)
        try:
            yield port
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        started.shutdown()
        loop.close()


BOTH = pytest.mark.parametrize("server", [in_thread, sync_server], ids=["aio", "threads"])
Serve = Callable[[telemetry.TelemetryStream], Any]


def made(**options: Any) -> telemetry.TelemetryStream:
    return telemetry.TelemetryStream(event_class=pb2.TelemetryEvent, **options)


def counts(messages: list[bytes]) -> list[int]:
    events = [CLASSES["Event"].FromString(message) for message in messages]
    return [event.measurements["n"].int_value for event in events]


@BOTH
def test_a_grpc_client_gets_every_event_as_the_hosts_class(server: Serve) -> None:
    stream = made()
    stream.emit("tool.result_size", {"n": 1, "ratio": 0.5, "text": "t"}, {"tool": "search"}, "c-1")
    with server(stream) as port, Manager(f"127.0.0.1:{port}") as manager:
        event = manager.next()
        stream.emit("apps.work", {"n": 2})
        assert name_of(manager.next()) == "apps.work"
    assert name_of(event) == "tool.result_size"
    assert event.measurements["ratio"].float_value == 0.5
    assert event.measurements["text"].string_value == "t"
    assert (dict(event.metadata), event.correlation_id, event.sequence) == ({"tool": "search"}, "c-1", 1)


@BOTH
def test_headers_come_before_there_is_any_event(server: Serve) -> None:
    stream = made()
    with server(stream) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        release = threading.Event()

        def controls() -> Iterator[bytes]:
            yield TOGGLE_ON
            release.wait(PATIENCE)

        call = channel.stream_stream("/snakepit.bridge.BridgeService/StreamTelemetry")(controls(), timeout=PATIENCE)
        call.initial_metadata()
        assert stream.stats()["emitted"] == 0
        release.set()
        call.cancel()


@BOTH
def test_deadline_after_deadline_loses_nothing(server: Serve) -> None:
    """Emits go on from two threads while call after call reaches its deadline; each event arrives once."""
    stream = made(max_buffer=1 << 16)
    rounds, ended = 6, threading.Event()
    emitted = [0, 0]

    def produce(which: int) -> None:
        while not ended.wait(0.0005):
            stream.emit("apps.work", {"n": 2 * emitted[which] + which})
            emitted[which] += 1

    seen: list[int] = []
    with server(stream) as port:
        with ThreadPoolExecutor(2) as threads:
            for which in range(2):
                threads.submit(produce, which)
            try:
                for _ in range(rounds):
                    call = RawCall(port, "500m")
                    call.wait()
                    seen += counts(call.messages)
                    assert call.messages, "a call without events has not tried it"
                    call.close()
            finally:
                ended.set()
        # The rest waits for the next one.
        rest = RawCall(port, None)
        rest.wait_for(sum(emitted) - len(seen))
        seen += counts(rest.messages)
        rest.close()
    assert sorted(seen) == sorted([2 * n for n in range(emitted[0])] + [2 * n + 1 for n in range(emitted[1])])
    assert stream.dropped_count == 0


@BOTH
def test_a_call_that_is_cut_while_its_manager_does_not_read_loses_nothing(server: Serve) -> None:
    stream = made()
    for n in range(100):
        stream.emit("apps.work", {"n": n})
    with server(stream) as port:
        stalled = RawCall(port, "300m", window=0)
        stalled.wait()
        stalled.close()
        assert stalled.messages == []
        assert stream.stats()["sent"] > 0, "nothing was in hand when it was cut"
        call = RawCall(port, None)
        call.wait_for(100)
        call.close()
    assert counts(call.messages) == list(range(100))


@BOTH
def test_a_manager_that_goes_away_without_a_word_leaves_the_queue(server: Serve) -> None:
    stream = made()
    with server(stream) as port:
        call = RawCall(port, None)
        stream.emit("apps.work", {"n": 0})
        call.wait_for(1)
        call.close()
        wait_until(lambda: stream.stats()["streams"] == 0)
        for n in range(1, 50):
            stream.emit("apps.work", {"n": n})
        again = RawCall(port, None)
        # What was being written when it went cannot be known, so that may come twice.
        wait_until(lambda: 49 in counts(again.messages))
        again.close()
    assert sorted(set(counts(call.messages + again.messages))) == list(range(50))


@BOTH
def test_the_newest_call_takes_the_events_and_the_older_one_ends(server: Serve) -> None:
    stream = made()
    with server(stream) as port:
        older = RawCall(port, None)
        stream.emit("apps.work", {"n": 0})
        older.wait_for(1)
        newer = RawCall(port, None)
        assert older.wait() == "trailers"
        older.close()
        for n in range(1, 20):
            stream.emit("apps.work", {"n": n})
        newer.wait_for(19)
        newer.close()
    assert (counts(older.messages), counts(newer.messages)) == ([0], list(range(1, 20)))


@BOTH
def test_closing_with_a_full_queue_sends_it_and_ends_the_call(server: Serve) -> None:
    stream = made(max_buffer=16)
    for n in range(40):
        stream.emit("apps.work", {"n": n})
    assert (stream.dropped_count, stream.stats()["queued"]) == (24, 16)
    with server(stream) as port:
        stream.close()
        call = RawCall(port, None)
        assert call.wait() == "trailers"
        call.close()
    assert counts(call.messages) == list(range(16))
    stream.emit("apps.work", {"n": 99})
    assert stream.stats()["dropped"] == {"queue_full": 24, "not_running": 1}


def test_a_control_that_cannot_be_read_ends_neither_control_nor_events() -> None:
    """Not even where the host deserializes it, in a server with an event loop; one with threads ends the call."""
    stream = made()
    with in_thread(stream) as port:
        call = RawCall(port, None, controls=(TOGGLE_ON, RUBBISH, TOGGLE_OFF))
        wait_until(lambda: not stream.enabled)
        call.say(TOGGLE_ON)
        wait_until(lambda: stream.enabled)
        stream.emit("apps.work", {"n": 1})
        call.wait_for(1)
        call.close()
    assert stream.stats()["control_error"]


async def test_an_interceptor_carries_the_stream_without_the_servicer() -> None:
    class Stock(AioBridge):
        async def StreamTelemetry(self, requests: Any, context: Any) -> Any:
            raise AssertionError("the servicer was asked")
            yield

    stream = telemetry.TelemetryStream()
    from telemetry_py.grpc_interceptor import TelemetryInterceptor

    async with aio_server(stream, [TelemetryInterceptor(stream, answers=["Heartbeat"])], Stock(stream)) as port:
        call = await asyncio.to_thread(RawCall, port, None, controls=(TOGGLE_ON, RUBBISH, TOGGLE_OFF))
        while stream.enabled:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(call.say, TOGGLE_ON)
        while not stream.enabled:
            await asyncio.sleep(0.001)
        stream.emit("apps.work", {"n": 7})
        await asyncio.to_thread(call.wait_for, 1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await _ping(channel, "hi") == "hi"
            heartbeat = channel.unary_unary("/snakepit.bridge.BridgeService/Heartbeat")
            assert (await heartbeat(b""))[-2:] == b"\x10\x01"
        await asyncio.to_thread(call.close)
    assert counts(call.messages) == [7]
    assert "could not be read" in (stream.stats()["control_error"] or "")


async def _ping(channel: Any, text: str) -> str:
    ping = channel.unary_unary("/snakepit.bridge.BridgeService/Ping", response_deserializer=pb2.PingResponse.FromString)
    answer = await ping(pb2.PingRequest(message=text).SerializeToString())
    return str(answer.message)


def test_an_interceptor_for_threads_carries_the_stream_and_answers_what_nobody_does() -> None:
    from telemetry_py.grpc_interceptor import SyncTelemetryInterceptor

    stream = telemetry.TelemetryStream()
    server = grpc.server(
        ThreadPoolExecutor(4), interceptors=[SyncTelemetryInterceptor(stream, answers=["Ping", "Heartbeat"])]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        call = RawCall(port, None, controls=(RUBBISH, TOGGLE_OFF))
        wait_until(lambda: not stream.enabled)
        call.say(TOGGLE_ON)
        wait_until(lambda: stream.enabled)
        stream.emit("apps.work", {"n": 7})
        call.wait_for(1)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ping = channel.unary_unary(
                "/snakepit.bridge.BridgeService/Ping", response_deserializer=pb2.PingResponse.FromString
            )
            answer = ping(pb2.PingRequest(message="hé").SerializeToString(), timeout=PATIENCE)
            assert answer.message == "hé" and answer.server_time.seconds > 1_700_000_000
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/snakepit.bridge.BridgeService/Execute")(b"", timeout=PATIENCE)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        call.close()
    finally:
        stream.close()
        server.stop(grace=PATIENCE).wait()
    assert counts(call.messages) == [7]


def test_an_interceptor_refuses_to_answer_what_it_does_not_know() -> None:
    from telemetry_py.grpc_interceptor import TelemetryInterceptor

    with pytest.raises(ValueError, match="Execute.*expected some of Ping, Heartbeat"):
        TelemetryInterceptor(telemetry.TelemetryStream(), answers=["Execute"])


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for what nobody tells."""
    tries = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        tries.wait(0.005)
    raise AssertionError("it did not come about")
