"""Functions around those that serve calls of gRPC: each call is a span that ends once, however it ends."""

from __future__ import annotations

import inspect
from asyncio import Task
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc
import grpc.aio

import telemetry_py as telemetry

from ._request import Request

OPERATION = "python.call"


class RpcAborted(Exception):
    """What ends the span of a call that was aborted by its handler."""


class RpcCancelled(Exception):
    """What ends the span of a call that its client has given up."""


def synchronous(
    behaviour: Callable[..., Any], metadata: Iterable[Any], command: str, streams: bool, task: Task[Any] | None = None
) -> Callable[..., Any]:
    """A function around one that a thread runs, for the task of an event loop if there is one; called there."""
    fate = None if task is None else _Fate(task)

    def unary(request: Any, context: Any) -> Any:
        context = _readable(context, fate)
        call = Request(metadata, OPERATION, {"command": command})
        try:
            response = call.run(behaviour, request, context)
        except BaseException as error:
            call.end(_outcome(call.span, context, error))
            raise
        call.end(_outcome(call.span, context, None))
        return response

    def stream(request: Any, context: Any) -> Iterator[Any]:
        context = _readable(context, fate)
        call = Request(metadata, OPERATION, {"command": command})
        # A server drops what it iterates over when the client is gone, sooner or later.
        (context.add_callback if fate is None else fate.when_over)(lambda: call.end(RpcCancelled()))
        try:
            responses = call.run(lambda: iter(behaviour(request, context)))
            while True:
                try:
                    response = call.run(next, responses)
                except StopIteration:
                    break
                yield response
        except GeneratorExit:
            close = getattr(responses, "close", None)
            if close is not None:
                call.run(close)
            call.end(RpcCancelled())
            raise
        except BaseException as error:
            call.end(_outcome(call.span, context, error))
            raise
        call.end(_outcome(call.span, context, None))

    return stream if streams else unary


def asynchronous(behaviour: Callable[..., Any], metadata: Iterable[Any], command: str, streams: bool) -> Callable[..., Any]:
    """A function around one that an event loop runs, in a task that is the call's own."""

    async def unary(request: Any, context: Any) -> Any:
        with telemetry.extract(metadata):
            span = telemetry.span(OPERATION, {"command": command})
            span.__enter__()
            try:
                # It may also be one that writes a stream and returns nothing.
                response = await behaviour(request, context)
            except BaseException as error:
                _end(span, _outcome(span, context, error))
                raise
            _end(span, _outcome(span, context, None))
            return response

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        with telemetry.extract(metadata):
            span = telemetry.span(OPERATION, {"command": command})
            span.__enter__()
            # A task that is cancelled while it sends leaves the generator where it is. A span that has
            # ended does not end again.
            context.add_done_callback(lambda _context: _end(span, RpcCancelled()))
            responses = behaviour(request, context)
            try:
                async for response in responses:
                    yield response
            except GeneratorExit:
                await responses.aclose()
                _end(span, RpcCancelled())
                raise
            except BaseException as error:
                _end(span, _outcome(span, context, error))
                raise
            _end(span, _outcome(span, context, None))

    return stream if streams and inspect.isasyncgenfunction(behaviour) else unary


class _Fate:
    """Whether the task of a call is over. What a thread does for it may not be: gRPC lets the thread wait for
    ever that has the next piece of a stream whose client is gone, and calls no callback."""

    __slots__ = ("_then", "is_over")

    def __init__(self, task: Task[Any]) -> None:
        self.is_over = False
        self._then: Callable[[], None] | None = None
        task.add_done_callback(self._end)

    def _end(self, _task: Task[Any]) -> None:
        self.is_over = True
        if self._then is not None:
            self._then()

    def when_over(self, then: Callable[[], None]) -> None:
        """Has `then` called, from any thread, and perhaps twice."""
        self._then = then
        if self.is_over:
            then()


class _Remembering:
    """The context of a function that a thread runs for an event loop: it can be told a status, but not asked."""

    __slots__ = ("_code", "_context", "_details", "_fate")

    def __init__(self, context: Any, fate: _Fate | None) -> None:
        self._context = context
        self._fate = fate
        self._code: Any = None
        self._details: Any = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def is_active(self) -> bool:
        return self._fate is None or not self._fate.is_over

    def code(self) -> Any:
        return self._code

    def details(self) -> Any:
        return self._details

    def set_code(self, code: Any) -> None:
        self._code = code
        self._context.set_code(code)

    def set_details(self, details: Any) -> None:
        self._details = details
        self._context.set_details(details)

    def abort(self, code: Any, details: Any = "", *more: Any, **named: Any) -> Any:
        self._code, self._details = code, details
        return self._context.abort(code, details, *more, **named)


def _readable(context: Any, fate: _Fate | None) -> Any:
    """A context that can be asked for its status."""
    return context if hasattr(context, "code") else _Remembering(context, fate)


def _end(span: telemetry.Span, error: BaseException | None) -> None:
    span.__exit__(None if error is None else type(error), error, None)


def _outcome(span: telemetry.Span, context: Any, error: BaseException | None) -> BaseException | None:
    """What a call ends with: nothing, what its handler raised, or that it was aborted."""
    try:
        return _told(span, context, error)
    except Exception:
        # Other interceptors may put a context of their own in the place of gRPC's; the call goes on.
        return error


def _told(span: telemetry.Span, context: Any, error: BaseException | None) -> BaseException | None:
    status = _status(context)
    if error is None:
        gone = hasattr(context, "is_active") and not context.is_active()
        span.set(result="CANCELLED" if gone else status)
        return None
    is_bare = type(error) is Exception and not error.args and status != "OK"
    if is_bare or isinstance(error, grpc.aio.AbortError):
        details = context.details()
        text = details.decode(errors="replace") if isinstance(details, bytes) else str(details or "")
        span.set(error_category=status)
        return RpcAborted(f"{status}: {text}")
    if not isinstance(error, Exception):
        span.set(error_category="CANCELLED")
        return RpcCancelled() if type(error).__name__ == "CancelledError" else error
    span.set(error_category="UNKNOWN")
    return error


def _status(context: Any) -> str:
    """The name of the status that a handler has set, or that of success."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return str(code.name)
    for known in grpc.StatusCode:
        if known.value[0] == code:
            return str(known.name)
    return "OK"
