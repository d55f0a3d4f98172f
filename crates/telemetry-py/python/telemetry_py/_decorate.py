"""A span as a decorator: each call, or each run of a generator, is a span of its own.

Generators run in their callers' contexts, so each step enters the span and leaves it again.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

from ._loader import Span


def decorate(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` by what it is: generator, async generator, coroutine function or any
    other callable."""
    if not callable(function):
        raise TypeError(f"span as a decorator needs a function, not {type(function).__name__}")
    if inspect.isasyncgenfunction(function):
        return _async_generator(template, function)
    if inspect.iscoroutinefunction(function):
        return _coroutine(template, function)
    if inspect.isgeneratorfunction(function):
        return _generator(template, function)
    return _function(template, function)


def _function(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with template._again():
            return function(*args, **kwargs)

    return call


def _coroutine(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with template._again():
            return await function(*args, **kwargs)

    return call


def _generator(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = template._again()
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


def _async_generator(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = template._again()
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
