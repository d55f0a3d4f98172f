"""Calls of gRPC as spans: all four kinds, both ways of serving, both ways of calling, and every end."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest
import telemetry_py as telemetry
from manager import PATIENCE
from telemetry_py.grpc_context import (
    AioSpanInterceptor,
    TelemetryClientInterceptor,
    SpanInterceptor,
    aio_client_interceptors,
)

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
ENDINGS = ("return", "raise", "abort", "code")


def seen() -> None:
    telemetry.emit("inside.call")


def finish(context, how):
    """Ends a call that threads serve."""
    if how == "raise":
        raise ValueError("no such thing")
    if how == "abort":
        context.abort(grpc.StatusCode.NOT_FOUND, "not here")
    if how == "code":
        context.set_code(grpc.StatusCode.FAILED_PRECONDITION)


class Sync:
    """Functions that threads run. A request says how to end; `wait` waits until its client is gone."""

    released = threading.Event()
    """Lets go whoever waits in `unary_unary`."""

    def unary_unary(self, request, context):
        seen()
        if request == b"wait":
            assert self.released.wait(PATIENCE)
        finish(context, request.decode())
        return b"one"

    def unary_stream(self, request, context):
        seen()
        yield b"one"
        if request == b"wait":
            yield from self._wait(context)
        finish(context, request.decode())
        yield b"two"

    def stream_unary(self, requests, context):
        seen()
        for request in requests:
            finish(context, request.decode())
        return b"one"

    def stream_stream(self, requests, context):
        seen()
        for request in requests:
            yield b"one"
            if request == b"wait":
                yield from self._wait(context)
            finish(context, request.decode())
            yield b"two"

    def _wait(self, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        while not gone.wait(0.001):
            yield b"more"


async def finish_async(context, how):
    if how == "abort":
        await context.abort(grpc.StatusCode.NOT_FOUND, "not here")
    finish(context, how)


class Async:
    """The same as functions that an event loop runs."""

    async def unary_unary(self, request, context):
        seen()
        if request == b"wait":
            await asyncio.Event().wait()
        await finish_async(context, request.decode())
        return b"one"

    async def unary_stream(self, request, context):
        seen()
        yield b"one"
        if request == b"wait":
            await asyncio.Event().wait()
        await finish_async(context, request.decode())
        yield b"two"

    async def stream_unary(self, requests, context):
        seen()
        async for request in requests:
            await finish_async(context, request.decode())
        return b"one"

    async def stream_stream(self, requests, context):
        seen()
        async for request in requests:
            yield b"one"
            if request == b"wait":
                await asyncio.Event().wait()
            await finish_async(context, request.decode())
            yield b"two"


class Writing(Async):
    """Streams of the other way: they write, and return nothing."""

    async def unary_stream(self, request, context):
        seen()
        await context.write(b"one")
        if request == b"wait":
            await asyncio.Event().wait()
        await finish_async(context, request.decode())
        await context.write(b"two")

    async def stream_stream(self, requests, context):
        seen()
        async for request in requests:
            await context.write(b"one")
            if request == b"wait":
                await asyncio.Event().wait()
            await finish_async(context, request.decode())
            await context.write(b"two")


def handlers(behaviours):
    found = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(behaviours, kind)) for kind in KINDS}
    return grpc.method_handlers_generic_handler("tests.Service", found)


class SyncServer:
    def __init__(self, behaviours, **options):
        self.server = grpc.server(ThreadPoolExecutor(8), interceptors=[SpanInterceptor(**options)])
        self.server.add_generic_rpc_handlers([handlers(behaviours)])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def stop(self):
        self.server.stop(None).wait(PATIENCE)


class AioServer:
    """A server with an event loop of its own, in a thread."""

    def __init__(self, behaviours, **options):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.address = self._run(self._start(behaviours, options))

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def _start(self, behaviours, options):
        self.server = grpc.aio.server(interceptors=[AioSpanInterceptor(**options)])
        self.server.add_generic_rpc_handlers([handlers(behaviours)])
        address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()
        return address

    def stop(self):
        self._run(self.server.stop(None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


SERVERS = {
    "threads": lambda **options: SyncServer(Sync(), **options),
    "aio": lambda **options: AioServer(Async(), **options),
    "aio writing": lambda **options: AioServer(Writing(), **options),
    "aio with threads": lambda **options: AioServer(Sync(), **options),
}


THREADS_OF_A_LOOP = "aio with threads"
"""Here gRPC itself does not answer a stream that aborts, as a rule, and tells no function of one that is given
up: its thread waits for ever, and callbacks are not called."""


@pytest.fixture(params=SERVERS)
def server(request, memory):
    made = SERVERS[request.param]()
    made.name = request.param
    yield made
    made.stop()


def call(channel, kind, word):
    """One call with one request; returns its status."""
    method = getattr(channel, kind)(f"/tests.Service/{kind}")
    request = iter([word]) if kind.startswith("stream") else word
    try:
        response = method(request, timeout=PATIENCE)
        return (list(response), grpc.StatusCode.OK)[1] if kind.endswith("stream") else grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


def ended(memory, number, begun=None):
    """The ends of so many calls, of those that have `begun` if others go on; the status arrives before the handler's function has returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [e for e in list(memory.events) if e.event in ("python.call.stop", "python.call.exception")]
        if len(found) >= number:
            break
        assert time.monotonic() < deadline, memory.names()
        time.sleep(0.001)
    assert (len(found), memory.names().count("python.call.start")) == (number, begun or number), memory.names()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_a_span_under_the_ids_of_its_caller(server, memory, kind):
    with grpc.insecure_channel(server.address) as plain, telemetry.correlation("abc"):
        channel = grpc.intercept_channel(plain, TelemetryClientInterceptor())
        assert call(channel, kind, b"return") == grpc.StatusCode.OK
    (end,) = ended(memory, 1)
    assert memory.names() == ["python.call.start", "inside.call", "python.call.stop"]
    assert {event.correlation_id for event in memory.events} == {"abc"}
    assert memory.events[0].metadata == {"command": f"tests.Service/{kind}"}
    assert end.metadata == {"command": f"tests.Service/{kind}", "result": "OK"}


@pytest.mark.parametrize("name", ["threads", "aio"])
def test_a_call_belongs_to_the_trace_of_its_caller(memory, name, monkeypatch):
    spans = []
    monkeypatch.setitem(globals(), "seen", lambda: spans.append(telemetry.current_span()))
    server = SERVERS[name]()
    try:
        with grpc.insecure_channel(server.address) as plain, telemetry.span("work") as work:
            channel = grpc.intercept_channel(plain, TelemetryClientInterceptor())
            for kind in KINDS:
                assert call(channel, kind, b"return") == grpc.StatusCode.OK
    finally:
        server.stop()
    assert [(span.trace_id, span.parent_span_id) for span in spans] == [(work.trace_id, work.span_id)] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_as_its_handler_did(server, memory, kind):
    can_abort = not (server.name == THREADS_OF_A_LOOP and kind.endswith("stream"))
    endings = [how for how in ENDINGS if how != "abort" or can_abort]
    with grpc.insecure_channel(server.address) as channel:
        statuses = {how: call(channel, kind, how.encode()) for how in endings}
    codes = grpc.StatusCode
    expected = {"return": codes.OK, "raise": codes.UNKNOWN, "abort": codes.NOT_FOUND, "code": codes.FAILED_PRECONDITION}
    assert statuses == {how: expected[how] for how in endings}
    found = {}
    for end in ended(memory, len(endings)):
        metadata = dict(end.metadata)
        assert metadata.pop("command") == f"tests.Service/{kind}"
        found[metadata.get("result") or metadata["error_category"]] = (end.event.rpartition(".")[2], metadata)
    assert found["OK"] == ("stop", {"result": "OK"})
    assert found["FAILED_PRECONDITION"] == ("stop", {"result": "FAILED_PRECONDITION"})
    assert found["UNKNOWN"] == (
        "exception",
        {"error_category": "UNKNOWN", "error_type": "ValueError", "error_message": "no such thing"},
    )
    assert not can_abort or found["NOT_FOUND"] == (
        "exception",
        {"error_category": "NOT_FOUND", "error_type": "RpcAborted", "error_message": "NOT_FOUND: not here"},
    )


@pytest.mark.parametrize("server", [name for name in SERVERS if name != THREADS_OF_A_LOOP], indirect=True)
@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_a_stream_that_its_client_gives_up_ends_cancelled(server, memory, kind):
    with grpc.insecure_channel(server.address) as channel:
        method = getattr(channel, kind)(f"/tests.Service/{kind}")
        responses = method(iter([b"wait"]) if kind.startswith("stream") else b"wait")
        assert next(responses) == b"one"
        assert memory.names().count("python.call.start") == 1
        responses.cancel()
    (end,) = ended(memory, 1)
    assert (end.event, end.metadata["error_type"]) == ("python.call.exception", "RpcCancelled")


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_a_stream_of_a_thread_that_its_client_gives_up_ends_cancelled_on_a_loop(python, kind):
    """In a process of its own: a thread of gRPC's stays behind, for which the end of Python would wait."""
    result = python(
        f"""
        import asyncio, os, grpc, grpc.aio
        import telemetry_py as telemetry
        from telemetry_py.grpc_context import AioSpanInterceptor

        memory = telemetry.MemoryBackend()
        telemetry.set_backend(memory)

        def endless(request, context):
            while True:
                yield b"more"

        async def main():
            server = grpc.aio.server(interceptors=[AioSpanInterceptor()])
            handler = grpc.{kind}_rpc_method_handler(endless)
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests.Service", {{"endless": handler}})])
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
                call = channel.{kind}("/tests.Service/endless")(iter([b""]) if "{kind}".startswith("stream") else b"")
                async for response in call:
                    break
                assert memory.names() == ["python.call.start"], memory.names()
                call.cancel()
                while len(memory.names()) < 2:
                    await asyncio.sleep(0.001)
            assert memory.names() == ["python.call.start", "python.call.exception"], memory.names()
            assert memory.events[-1].metadata["error_type"] == "RpcCancelled", memory.events
            print("ended", flush=True)
            os._exit(0)

        asyncio.run(main())
        """
    )
    assert (result.returncode, result.stdout) == (0, "ended\n"), result.stderr


@pytest.mark.parametrize("name", ["threads", THREADS_OF_A_LOOP])
def test_a_call_that_a_thread_works_on_is_a_span_until_it_returns_although_its_client_is_gone(memory, monkeypatch, name):
    monkeypatch.setattr(Sync, "released", threading.Event())
    server = SERVERS[name]()
    try:
        with grpc.insecure_channel(server.address) as channel:
            future = channel.unary_unary("/tests.Service/unary_unary").future(b"wait")
            while "inside.call" not in memory.names():
                time.sleep(0.001)
            future.cancel()
            # One more call, so that the server has heard of it before this one's end.
            for _ in range(3):
                assert call(channel, "unary_stream", b"return") == grpc.StatusCode.OK
        ended(memory, 3, begun=4)
        Sync.released.set()
        end = ended(memory, 4)[-1]
    finally:
        Sync.released.set()
        server.stop()
    assert (end.event, end.metadata["result"]) == ("python.call.stop", "CANCELLED")


def test_a_call_of_an_event_loop_that_its_client_gives_up_ends_cancelled(memory):
    server = AioServer(Async())
    try:
        with grpc.insecure_channel(server.address) as channel:
            future = channel.unary_unary("/tests.Service/unary_unary").future(b"wait")
            while "inside.call" not in memory.names():
                time.sleep(0.001)
            future.cancel()
        (end,) = ended(memory, 1)
    finally:
        server.stop()
    assert (end.event, end.metadata["error_type"]) == ("python.call.exception", "RpcCancelled")


@pytest.mark.parametrize("kind", KINDS)
def test_asynchronous_clients_carry_the_ids(server, memory, kind):
    async def main():
        async with grpc.aio.insecure_channel(server.address, interceptors=aio_client_interceptors()) as channel:
            method = getattr(channel, kind)(f"/tests.Service/{kind}")
            request = iter([b"return"]) if kind.startswith("stream") else b"return"
            metadata = (("own", "kept"),)
            with telemetry.correlation("abc"):
                if kind.endswith("stream"):
                    return [response async for response in method(request, metadata=metadata)]
                return [await method(request, metadata=metadata)]

    assert asyncio.run(main())[0] == b"one"
    ended(memory, 1)
    assert {event.correlation_id for event in memory.events} == {"abc"}


@pytest.mark.parametrize("name", ["threads", "aio"])
def test_calls_at_once_keep_their_ids_apart_and_leave_none_behind(memory, name):
    server = SERVERS[name]()

    def one(channel, number):
        with telemetry.correlation(f"r{number}"):
            return call(channel, KINDS[number % 4], b"return")

    try:
        with grpc.insecure_channel(server.address) as plain, ThreadPoolExecutor(8) as threads:
            channel = grpc.intercept_channel(plain, TelemetryClientInterceptor())
            assert set(threads.map(lambda n: one(channel, n), range(200))) == {grpc.StatusCode.OK}
            ended(memory, 200)
            assert call(plain, "unary_unary", b"return") == grpc.StatusCode.OK
            ended(memory, 201)
    finally:
        server.stop()
    by_id = {}
    for event in memory.events:
        by_id.setdefault(event.correlation_id, []).append(event.event)
    assert by_id.keys() == {f"r{number}" for number in range(200)} | {""}
    assert all(names == ["python.call.start", "inside.call", "python.call.stop"] for names in by_id.values())


@pytest.mark.parametrize("name", SERVERS)
def test_methods_that_are_left_out_or_unknown_make_no_span(memory, name):
    server = SERVERS[name](exclude=["/tests.Service/unary_un"])
    try:
        with grpc.insecure_channel(server.address) as channel:
            assert call(channel, "unary_unary", b"return") == grpc.StatusCode.OK
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                channel.unary_unary("/tests.Service/nothing")(b"", timeout=PATIENCE)
    finally:
        server.stop()
    assert memory.names() == ["inside.call"]


def test_an_id_that_no_header_can_hold_fails_no_call(memory):
    server = SyncServer(Sync())
    try:
        with grpc.insecure_channel(server.address) as plain, telemetry.correlation("a\nb\u20ac"):
            channel = grpc.intercept_channel(plain, TelemetryClientInterceptor())
            assert call(channel, "unary_unary", b"return") == grpc.StatusCode.OK
    finally:
        server.stop()
    assert memory.events[0].correlation_id == ""


def test_a_wrong_argument_is_told_at_once():
    with pytest.raises(TypeError, match="exclude"):
        SpanInterceptor(exclude="/tests")
