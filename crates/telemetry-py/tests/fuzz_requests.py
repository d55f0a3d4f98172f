"""What servers and libraries call of ours, with hostile requests: ASGI, WSGI, gRPC, logging, a stream's calls.

Whatever a request holds, the program's own code is called as without us, and what it does goes on: each request
is served twice, once by the program alone, and both must come to the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from typing import Any

import hostile_objects as hostile
import telemetry_py as telemetry
from hostile_objects import OWN, Endless, Tally, build
from telemetry_py import asgi, grpc_context, grpc_interceptor, wsgi
from telemetry_py import logging as handlers

MOST_EVENTS = 12
"""Events that one request may make."""

SHOWN = bool(os.environ.get("FUZZ_SHOWN"))
"""Whether outcomes are told of in full, to find out why two are not the same."""


class Own(Exception):
    """What the program's own code raises."""


def _come_to_an_end(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        return end.value


def _outcome(serve: Any) -> Any:
    """What it came to: a result, or the type of what was raised; ``None`` where that is nobody's business."""
    Tally.steps = 0
    try:
        return serve()
    except (*OWN, Endless):
        return None
    except BaseException as error:
        if SHOWN:
            traceback.print_exc()
        return type(error)


def _same(alone: Any, ours: Any, what: Any) -> None:
    """Compares two outcomes; one that was interrupted may be anything."""
    assert alone is None or ours is None or alone == ours, (alone, ours, what)


def _spoilt(choose: Any, good: dict[str, Any]) -> dict[str, Any]:
    """A mapping of which some values are anything at all, and some not there."""
    spoilt = dict(good)
    for key in good:
        roll = choose.random()
        if roll < 0.3:
            spoilt[key] = hostile.value(choose)
        elif roll < 0.35:
            del spoilt[key]
    return spoilt


def _headers(choose: Any) -> Any:
    kinds = (b"traceparent", b"x-snakepit-correlation-id", b"baggage", b"\xff", "text")
    if choose.random() < 0.2:
        return hostile.value(choose)
    pairs: list[Any] = [(choose.choice(kinds), hostile.value(choose)) for _ in range(choose.randint(0, 3))]
    return [*pairs, hostile.value(choose)] if choose.random() < 0.3 else pairs


def asgi_request(choose: Any) -> None:
    kind = choose.choice(("http", "websocket", "lifespan", hostile.recipe(choose)))
    good = {"path": "/x", "method": "GET", "root_path": "", "route": None, "path_params": {}, "path_template": None}
    scope = {"type": kind, **_spoilt(choose, {**good, "headers": _headers(choose), "telemetry_py.route": "/{id}"})}
    messages = [
        {"type": "http.response.start", **_spoilt(choose, {"status": 200, "headers": [(b"a", b"b")], "trailers": False})},
        {"type": choose.choice(("http.response.body", "websocket.close", "websocket.accept", hostile.recipe(choose))), **_spoilt(choose, {"body": b"", "more_body": False})},
    ]
    received = {"type": choose.choice(("http.request", "http.disconnect", "websocket.disconnect", hostile.recipe(choose)))}
    fails = choose.random() < 0.2
    route = hostile.recipe(choose)._replace(acts=(("__call__", choose.choice(("raise", "none", "long", "again"))),)) if choose.random() < 0.3 else None

    def serve(middleware: bool) -> Any:
        called: list[str] = []
        sent: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            called.append("app")
            await receive()
            for message in messages:
                await send(build(message))
            if fails:
                raise Own

        async def receive() -> Any:
            return build(received)

        async def send(message: Any) -> None:
            sent.append(len(sent))

        wrapped: Any = asgi.TelemetryMiddleware(app, route=build(route), exclude=["/healthz"], trust_caller=choose.random() < 0.8) if middleware else app
        try:
            _come_to_an_end(wrapped(build(scope), receive, send))
        except Own:
            called.append("failed")
        return called, len(sent)

    _same(_outcome(lambda: serve(False)), _outcome(lambda: serve(True)), (scope, messages, received))


def wsgi_request(choose: Any) -> None:
    good = {"PATH_INFO": "/x", "REQUEST_METHOD": "GET", "HTTP_TRACEPARENT": "rubbish", "HTTP_BAGGAGE": "a=b", "telemetry_py.route": "/{id}", "wsgi.file_wrapper": None, "HTTP_X_SNAKEPIT_CORRELATION_ID": "id"}
    environ = _spoilt(choose, good)
    body = choose.choice(([b"a", b"b"], hostile.value(choose)))
    status, headers = choose.choice(("200 OK", hostile.value(choose))), choose.choice(([("a", "b")], hostile.value(choose)))
    fails = choose.random() < 0.2

    def serve(middleware: bool) -> Any:
        called: list[str] = []

        def app(environ: Any, start_response: Any) -> Any:
            called.append("app")
            start_response(build(status), build(headers))
            if fails:
                raise Own
            return build(body)

        def start_response(status: Any, headers: Any, exc_info: Any = None) -> Any:
            called.append("started")

        wrapped: Any = wsgi.TelemetryMiddleware(app, trust_caller=choose.random() < 0.8) if middleware else app
        try:
            parts = wrapped(build(environ), start_response)
        except Own:
            return [*called, "failed"]
        try:
            called += [str(count) for count, _ in zip(range(5), parts)]
        except StopIteration:
            pass  # To whoever iterates over it, a body that says so when it is to begin is at its end.
        except Exception as error:
            called.append(type(error).__name__)
        finally:
            if middleware and hasattr(type(parts), "_exchange"):
                try:
                    parts.close()
                except Exception:
                    pass  # The body's own.
        return called

    _same(_outcome(lambda: serve(False)), _outcome(lambda: serve(True)), (environ, body, status, headers))


def record(choose: Any) -> None:
    """A record of a log that holds anything, in the handler and in both filters."""
    made = logging.LogRecord("some.logger", logging.INFO, "file.py", 1, build(hostile.value(choose)), None, None)
    made.args = build(hostile.value(choose))
    for name in ("levelname", "name", "exc_info", "levelno"):
        if choose.random() < 0.2:
            setattr(made, name, build(hostile.value(choose)))
    if choose.random() < 0.2:
        error = build(hostile.recipe(choose)._replace(base="Exception"))
        made.exc_info = (type(error), error, None)
    for take in (handlers.TelemetryHandler().handle, handlers.CorrelationFilter().filter, telemetry.correlation_filter):
        _unharmed(lambda: take(made))
        _unharmed(lambda: handlers.TelemetryHandler().emit(build(hostile.value(choose))))
        _unharmed(lambda: handlers.CorrelationFilter().filter(build(hostile.value(choose))))


def _unharmed(call: Any) -> None:
    Tally.steps = 0
    try:
        call()
    except OWN:
        pass


class Details:
    """What gRPC tells of a call, as another interceptor may have left it."""

    def __init__(self, choose: Any) -> None:
        held = {"method": "/a.B/C", "timeout": None, "metadata": (), "credentials": None, "invocation_metadata": ()}
        for name, value in _spoilt(choose, held).items():
            setattr(self, name, build(value))


def rpc(choose: Any) -> None:
    """A call that goes out and one that comes in."""
    details = Details(choose)
    handler = object() if choose.random() < 0.5 else None
    called: list[Any] = []

    def continuation(details: Any, *_request: Any) -> Any:
        called.append(details)
        return handler

    interceptor: Any
    if handler is None:
        interceptor = grpc_context.SpanInterceptor()
        result = _outcome(lambda: interceptor.intercept_service(continuation, details) is None)
        assert result in (True, None) and called, result
        interceptor = grpc_interceptor.SyncTelemetryInterceptor()
        _unharmed(lambda: interceptor.intercept_service(continuation, details))
    if all(hasattr(details, name) for name in ("method", "timeout", "credentials", "metadata")):
        interceptor = grpc_context.TelemetryClientInterceptor()
        called.clear()
        result = _outcome(lambda: interceptor.intercept_unary_unary(continuation, details, None) is handler)
        # Metadata that cannot be read gRPC could not read either.
        assert called or result is None or isinstance(_outcome(lambda: len([*details.metadata])), type), vars(details)


class Context:
    """The context of a call, as a server has it or not."""

    def __init__(self, choose: Any) -> None:
        for name in ("time_remaining", "invocation_metadata", "add_callback", "add_done_callback", "send_initial_metadata"):
            if choose.random() < 0.5:
                act = choose.choice((*hostile.ACTS, "none"))
                setattr(self, name, lambda *_, act=act: hostile.ACTS[act](None))


_loop: Any = None


def begin() -> None:
    """What all requests have in common."""
    global _loop
    _loop = asyncio.new_event_loop()


def stream(choose: Any) -> None:
    """Both kinds of calls of a stream, with hostile controls and a hostile context."""
    carried = telemetry.TelemetryStream(8)
    carried.emit("a.b", {"count": 1})
    controls = build(hostile.value(choose)) if choose.random() < 0.5 else [build(hostile.value(choose)) for _ in range(3)]
    context = Context(choose)
    if choose.random() < 0.3:
        # A thread hears these; what interrupts it is told of on stderr.
        call = carried.stream_sync_raw([b"\xff", b"", 7, None], context)
        _unharmed(lambda: _first(call))
    else:
        _unharmed(lambda: _loop.run_until_complete(_first_of(carried.stream_raw(controls, context))))
    carried.close()
    stats = carried.stats()
    assert stats["emitted"] == 1 == stats["accepted"] + sum(stats["dropped"].values()), stats


def _first(call: Any) -> None:
    # A deadline that is over has none.
    assert isinstance(next(call, b""), bytes)
    call.close()


async def _first_of(call: Any) -> None:
    assert isinstance(await anext(call, b""), bytes)
    await call.aclose()


KINDS = (asgi_request, wsgi_request, record, rpc, stream)


def one(choose: Any, count: Any) -> None:
    """One request of any kind."""
    kind = choose.choice(KINDS)
    count[kind.__name__] += 1
    kind(choose)
