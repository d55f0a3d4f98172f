"""A span as a decorator: each call, or each run of a generator, is a span of its own.

Generators run in their callers' contexts, so each step enters the span and leaves it again.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Protocol

from ._loader import span


class Template(Protocol):
    """What spans of calls are made after: a :class:`Span` or something that is used like one."""

    def _again(self) -> Any:
        """One like it that has not begun."""


_Again = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""Makes the span of a call from its arguments."""

_MAX_SEGMENTS = 7
"""Of the name of an operation; the events of a span have one more."""
_MAX_SEGMENT_CHARS = 64


def bare(target: Any) -> Any:
    """``@span`` without parentheses: the operation is called as what it is in its module."""
    check(target)
    return decorate(span(_operation(target)), target)


def decorate(template: Template, target: Any, by: str = "telemetry.span") -> Any:
    """Wrap ``target`` by what it is: generator, async generator, coroutine function, any other function, an object
    that is called like one of these, or a static or class method of these. ``by`` is who was asked to."""
    _check(target, by)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(decorate(template, target.__func__, by))
    again = getattr(template, "_for_call", None) or (lambda args, kwargs: template._again())
    called = _called(target)
    if any(map(inspect.isasyncgenfunction, called)):
        call = _async_generator(again, target)
    elif any(map(inspect.iscoroutinefunction, called)):
        call = _coroutine(again, target)
    elif any(map(inspect.isgeneratorfunction, called)):
        call = _generator(again, target)
        if _code_flags(called[-1]) & inspect.CO_ITERABLE_COROUTINE:
            call = types.coroutine(call)
    else:
        call = _function(again, target)
    return _dressed(call, target)


def check(target: Any) -> None:
    """Raise ``TypeError`` for what is no function, nor a static or class method, or has no name."""
    _check(target, "telemetry.span")
    if _name(target) is None:
        raise TypeError(
            f"telemetry.span decorates a function, and an object of type {type(_innermost(target)).__name__} has no name; "
            "give the span one, or decorate a method of it"
        )


def _check(target: Any, by: str) -> None:
    if issubclass(type(target), type):
        raise TypeError(f"{by} decorates a function, not the class {target.__qualname__}; decorate its methods")
    if isinstance(target, (staticmethod, classmethod)):
        return _check(target.__func__, by)
    if not callable(target):
        hint = "; decorate the function in it" if hasattr(type(target), "__get__") else ""
        raise TypeError(f"{by} decorates a function, not an object of type {type(target).__name__}{hint}")


def _called(target: Any) -> tuple[Any, ...]:
    """What tells the kind of a function: itself, and of an object that is none, what its class runs for it."""
    inner = _innermost(target)
    if inspect.isroutine(inner) or isinstance(inner, type):
        return (target,)
    return (target, getattr(type(inner), "__call__", None))


def _innermost(target: Any) -> Any:
    """The function in methods and partials."""
    while True:
        if isinstance(target, (staticmethod, classmethod)):
            target = target.__func__
        elif isinstance(target, partial):
            target = target.func
        else:
            return target


def _name(target: Any) -> str | None:
    """The name of a function within its module; ``None`` of what is none."""
    target = _innermost(target)
    for attribute in ("__qualname__", "__name__"):
        name = getattr(target, attribute, None)
        if isinstance(name, str) and not isinstance(target, type):
            return name
    return target.__qualname__ if isinstance(target, type) else None


def _operation(target: Any) -> str:
    """The name of a function as an event may be called."""
    segments = [
        "".join(char if char.isascii() and (char.isalnum() or char == "-") else "_" for char in segment.strip("<>"))
        for segment in (_name(target) or "").split(".")
        if segment not in ("", "<locals>")
    ]
    return ".".join(segment[:_MAX_SEGMENT_CHARS] or "_" for segment in segments[-_MAX_SEGMENTS:]) or "_"


def _code_flags(target: Any) -> int:
    """How the code of a function is marked."""
    code = getattr(_innermost(target), "__code__", None)
    return code.co_flags if isinstance(code, types.CodeType) else 0


def _dressed(call: Callable[..., Any], target: Any) -> Callable[..., Any]:
    """What is called instead of ``target``, with its name, its documentation and its signature."""
    functools.update_wrapper(call, target)
    inner = _innermost(target)
    if inner is not target:
        # A partial has no name, and the documentation of its class.
        for attribute in functools.WRAPPER_ASSIGNMENTS:
            try:
                setattr(call, attribute, getattr(inner, attribute))
            except (AttributeError, TypeError):
                pass
    if _name(inner) is None:
        # An object is not named, but its class is.
        call.__name__ = call.__qualname__ = type(inner).__name__
    return call


def _function(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with again(args, kwargs):
            return function(*args, **kwargs)

    return call


def _coroutine(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with again(args, kwargs):
            return await function(*args, **kwargs)

    return call


def _generator(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = again(args, kwargs)
        span._start()
        inner = function(*args, **kwargs)
        step: Callable[[], Any] = partial(next, inner)
        try:
            while True:
                span._enter()
                try:
                    value = step()
                finally:
                    span._leave()
                    # It may hold an exception, whose traceback holds this frame.
                    del step
                # A close is a `GeneratorExit` that is thrown; what goes on behind one is for the caller to judge.
                try:
                    sent = yield value
                except BaseException as error:
                    step = partial(inner.throw, error)
                else:
                    step = partial(next, inner) if sent is None else partial(inner.send, sent)
        except StopIteration as end:
            span.__exit__(None, None, None)
            return end.value
        except BaseException:
            span.__exit__(*sys.exc_info())
            raise

    return call


def _async_generator(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = again(args, kwargs)
        span._start()
        inner = function(*args, **kwargs)
        step: Awaitable[Any] = anext(inner)
        try:
            # What is sent, thrown or closed from outside reaches the wrapped generator as it would
            # without the span; `async for` would lose it.
            while True:
                span._enter()
                try:
                    value = await step
                finally:
                    span._leave()
                    del step
                try:
                    sent = yield value
                except BaseException as error:
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)
        except StopAsyncIteration:
            span.__exit__(None, None, None)
        except BaseException:
            span.__exit__(*sys.exc_info())
            raise

    return call
