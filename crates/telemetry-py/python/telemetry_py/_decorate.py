"""A span as a decorator: each call, or each run of a generator, is a span of its own.

Generators run in their callers' contexts, so their spans leave the context's correlation id alone.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from ._loader import Span, span

_MAX_SEGMENTS = 7
"""Of the name of an operation; the events of a span have one more."""
_MAX_SEGMENT_CHARS = 64


def bare(target: Any) -> Any:
    """``@span`` without parentheses: the operation is called as what it is in its module."""
    check(target)
    return decorate(span(_operation(target)), target)


def decorate(template: Span, target: Any) -> Any:
    """Wrap ``target`` by what it is: generator, async generator, coroutine function, any other function, or
    a static or class method of these."""
    check(target)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(decorate(template, target.__func__))
    if inspect.isasyncgenfunction(target):
        call = _async_generator(template, target)
    elif inspect.iscoroutinefunction(target):
        call = _coroutine(template, target)
    elif inspect.isgeneratorfunction(target):
        call = _generator(template, target)
        if _code_flags(target) & inspect.CO_ITERABLE_COROUTINE:
            call = types.coroutine(call)
    else:
        call = _function(template, target)
    return _dressed(call, target)


def check(target: Any) -> None:
    """Raise ``TypeError`` for what is no function, nor a static or class method."""
    if isinstance(target, type):
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
        elif isinstance(target, functools.partial):
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


def _function(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with template._again():
            return function(*args, **kwargs)

    return call


def _coroutine(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with template._again():
            return await function(*args, **kwargs)

    return call


def _generator(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = template._again()
        span._start()
        try:
            result = yield from function(*args, **kwargs)
        except BaseException:
            span.__exit__(*sys.exc_info())
            raise
        span.__exit__(None, None, None)
        return result

    return call


def _async_generator(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = template._again()
        span._start()
        inner = function(*args, **kwargs)
        try:
            # What is sent, thrown or closed from outside reaches the wrapped generator as it would
            # without the span; `async for` would lose it.
            value = await anext(inner)
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    value = await inner.athrow(error)
                else:
                    value = await inner.asend(sent)
        except StopAsyncIteration:
            span.__exit__(None, None, None)
        except BaseException:
            span.__exit__(*sys.exc_info())
            raise

    return call
