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


def decorate(template: Template, target: Any) -> Any:
    """Wrap ``target`` by what it is: generator, async generator, coroutine function, any other function, or
    a static or class method of these."""
    check(target)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(decorate(template, target.__func__))
    again = getattr(template, "_for_call", None) or (lambda args, kwargs: template._again())
    if inspect.isasyncgenfunction(target):
        call = _async_generator(again, target)
    elif inspect.iscoroutinefunction(target):
        call = _coroutine(again, target)
    elif inspect.isgeneratorfunction(target):
        call = _generator(again, target)
        if _code_flags(target) & inspect.CO_ITERABLE_COROUTINE:
            call = types.coroutine(call)
    else:
        call = _function(again, target)
    return _dressed(call, target)


def check(target: Any) -> None:
    """Raise ``TypeError`` for what is no function, nor a static or class method."""
    if issubclass(type(target), type):
        raise TypeError(f"telemetry.span decorates a function, not the class {target.__qualname__}; decorate its methods")
    if isinstance(target, (staticmethod, classmethod)):
        return check(target.__func__)
    if not callable(target):
        hint = "; decorate the function in it" if hasattr(type(target), "__get__") else ""
        raise TypeError(f"telemetry.span decorates a function, not an object of type {type(target).__name__}{hint}")
    if _name(target) is None:
        raise TypeError(
            f"telemetry.span decorates a function, and an object of type {type(target).__name__} has no name; "
            "decorate a method of it, or a function that calls it"
        )


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
                try:
                    sent = yield value
                except GeneratorExit:
                    span._enter()
                    try:
                        inner.close()
                    finally:
                        span._leave()
                    raise
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
                try:
                    sent = yield value
                except GeneratorExit:
                    span._enter()
                    try:
                        await inner.aclose()
                    finally:
                        span._leave()
                    raise
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
