"""What event loops are told of, for all who listen.

The loops of ``asyncio`` are met where they run and where they handle what nobody else does; those of other
makers, such as uvloop, only if they run when somebody begins to listen.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import functools
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LOOP = asyncio.base_events.BaseEventLoop

_listeners: list[Callable[[dict[str, Any]], None]] = []
"""Who is told of what loops cannot hand to anybody."""

_patched: list[tuple[str, Any, Any]] = []
"""Methods of the class of loops: name, as it was, ours."""

_foreign: weakref.WeakSet[Any] = weakref.WeakSet()
"""Loops of other makers that have a handler of ours."""


def running() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def replace(name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put another method in the place of one of the class of loops; returns what puts it back, unless
    somebody has put another one there."""
    before = getattr(_LOOP, name)
    ours = make(before)
    setattr(_LOOP, name, ours)

    def undo() -> None:
        if _LOOP.__dict__.get(name) is ours:
            setattr(_LOOP, name, before)

    return undo


def listen(listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
    """Tell ``listener`` the context of each call of a loop's exception handler, before it is handled.
    Returns what ends that. Listeners must not raise."""
    if not _listeners and not _patched:
        before = _LOOP.call_exception_handler
        ours = _handling(before)
        _LOOP.call_exception_handler = ours  # type: ignore[method-assign]
        _patched.append(("call_exception_handler", before, ours))
    _listeners.append(listener)
    loop = running()
    if loop is not None and not isinstance(loop, _LOOP) and loop not in _foreign:
        _foreign.add(loop)
        loop.set_exception_handler(_handler_before(loop.get_exception_handler()))

    def stop() -> None:
        if listener in _listeners:
            _listeners.remove(listener)
        if _listeners:
            return
        for name, before, ours in _patched[:]:
            if _LOOP.__dict__.get(name) is ours:
                setattr(_LOOP, name, before)
                _patched.clear()

    return stop


def _tell(context: dict[str, Any]) -> None:
    for listener in tuple(_listeners):
        listener(context)


def _handling(before: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(before)
    def call_exception_handler(self: Any, context: dict[str, Any]) -> None:
        _tell(context)
        before(self, context)

    return call_exception_handler


def _handler_before(handler: Callable[..., Any] | None) -> Callable[[Any, dict[str, Any]], None]:
    def handle(loop: Any, context: dict[str, Any]) -> None:
        _tell(context)
        if handler is None:
            loop.default_exception_handler(context)
        else:
            handler(loop, context)

    return handle


__all__ = ["listen", "replace", "running"]
