"""Uses every face once, with the standard library and this package alone: ``python exercise.py``.

It runs under any interpreter, and prints what became of its events.
"""

from __future__ import annotations

import asyncio
import io
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import telemetry_py as telemetry
from telemetry_py import asgi, wsgi
from telemetry_py.logging import CorrelationFilter, TelemetryHandler
from telemetry_py.testing import capture


def api() -> None:
    telemetry.emit("a.b", {"count": 1, "share": 0.5}, {"key": "value"}, "id")
    telemetry.counter("cache.miss", table="users")
    with telemetry.timed("cache.load"), telemetry.correlation("id"):
        assert telemetry.get_correlation_id() == "id" or not telemetry.NATIVE
    with telemetry.suppress():
        telemetry.emit("never.seen")
    telemetry.reset_correlation_id(telemetry.set_correlation_id("other"))


def spans() -> None:
    @telemetry.span
    def function() -> int:
        return 1

    @telemetry.instrument(capture_args=True)
    def generator(size: int):  # type: ignore[no-untyped-def]
        yield from range(size)

    @telemetry.span("async.work")
    async def coroutine() -> None:
        async with telemetry.span("inner"):
            await asyncio.sleep(0)

    function()
    list(generator(3))
    asyncio.run(coroutine())
    try:
        with telemetry.span("failing", record_stacktrace=True) as span:
            span.set(key="value")
            span.measure(size=1)
            raise ValueError("password=hunter2")
    except ValueError:
        pass


def carriers() -> None:
    with telemetry.span("outer"):
        environ = telemetry.outgoing_environ({})
        with telemetry.extract(telemetry.inject({})), ThreadPoolExecutor(1) as pool:
            pool.submit(telemetry.wrap_context(telemetry.emit), "a.b").result()
    program = "import telemetry_py as t; t.emit('a.b'); print(*(name for name, _ in t.outgoing_metadata()))"
    told = subprocess.run([sys.executable, "-c", program], env={**os.environ, **environ}, stdout=subprocess.PIPE, check=True)
    assert told.stdout == (b"traceparent\n" if telemetry.NATIVE else b"\n"), told.stdout


def instrumented() -> None:
    handles = [
        telemetry.instrument_excepthooks(),
        telemetry.instrument_executors(),
        telemetry.instrument_asyncio(),
        telemetry.instrument_runtime(interval=60),
    ]
    asyncio.run(asyncio.sleep(0))
    thread = threading.Thread(target=telemetry.emit, args=("a.b",))
    thread.start()
    thread.join()
    for handle in handles:
        handle.close()


def servers() -> None:
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> None:
        pass

    async def send(message) -> None:  # type: ignore[no-untyped-def]
        pass

    scope = {"type": "http", "path": "/", "method": "GET", "headers": []}
    asyncio.run(asgi.TelemetryMiddleware(app)(scope, receive, send))
    body = wsgi.TelemetryMiddleware(lambda environ, start: start("200 OK", []) or [b""])({"PATH_INFO": "/"}, lambda *_: None)
    list(body)
    getattr(body, "close", lambda: None)()


def logs() -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(CorrelationFilter())
    handler.addFilter(telemetry.correlation_filter)
    logger = logging.getLogger("exercise")
    logger.handlers = [handler, TelemetryHandler()]
    logger.warning("disk is %d %% full", 91)
    logger.handlers = []


def backends() -> None:
    with open(os.devnull, "w") as null:
        stream = telemetry.TelemetryStream(16)
        parts = [telemetry.MemoryBackend(), telemetry.StderrBackend(null.fileno()), telemetry.GrpcBackend(stream), telemetry.StatsdBackend()]
        before = telemetry.get_backend()
        telemetry.set_backend(telemetry.CompositeBackend(*parts))
        telemetry.emit("a.b", {"count": 1})
        telemetry.flush(0)
        telemetry.set_backend(before)
    if telemetry.NATIVE:
        call = stream.stream_sync_raw([], None)
        assert isinstance(next(call), bytes)
        call.close()
    stream.close()
    with capture() as captured:
        telemetry.emit("a.b")
    assert captured.names() == (["a.b"] if telemetry.NATIVE else [])


def in_child() -> None:
    telemetry.emit("a.b")


def children() -> None:
    child = multiprocessing.get_context("spawn").Process(target=in_child)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        with telemetry.serve(f"unix:{directory}/worker.sock"):
            for face in (api, spans, carriers, instrumented, servers, logs, backends, children):
                face()
            telemetry.flush(0)
        # And once more, after an end.
        with telemetry.serve():
            api()
        stats = telemetry.stats()
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats
    assert not stats["dropped"].get("internal_error"), stats
    print(stats["emitted"], "native" if telemetry.NATIVE else "nothing")


if __name__ == "__main__":
    main()
