"""A span as a decorator: each call, or each run of a generator, is a span of its own.

Generators run in their callers' contexts, so their spans leave the context's correlation id alone.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol


class Template(Protocol):
    """What spans of calls are made after: a :class:`Span` or something that is used like one."""

    def _again(self) -> Any:
        """One like it that has not begun."""


_Again = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""Makes the span of a call from its arguments."""


def decorate(template: Template, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` by what it is: generator, async generator, coroutine function or any
    other callable."""
    if not callable(function):
        raise TypeError(f"span as a decorator needs a function, not {type(function).__name__}")
    again = getattr(template, "_for_call", None) or (lambda args, kwargs: template._again())
    if inspect.isasyncgenfunction(function):
        return _async_generator(again, function)
    if inspect.iscoroutinefunction(function):
        return _coroutine(again, function)
    if inspect.isgeneratorfunction(function):
        return _generator(again, function)
    return _function(again, function)


def _function(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with again(args, kwargs):
            return function(*args, **kwargs)

    return call


def _coroutine(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with again(args, kwargs):
            return await function(*args, **kwargs)

    return call


def _generator(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = again(args, kwargs)
        span._start()
        try:
            result = yield from function(*args, **kwargs)
        except BaseException:
            span.__exit__(*sys.exc_info())
            raise
        span.__exit__(None, None, None)
        return result

    return call


def _async_generator(again: _Again, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = again(args, kwargs)
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
