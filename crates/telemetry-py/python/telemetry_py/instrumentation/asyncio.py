"""Event loops: how late they run what is due, and tasks whose errors nobody asks for."""

from __future__ import annotations

import functools
import time
import weakref
from typing import Any

from .._loader import NATIVE, emit
from . import _loops, excepthooks
from ._handle import Instrumentation, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

_LEAST = 0.01
"""Seconds between looks, and of a lag, at least."""

_UNRETRIEVED = "exception was never retrieved"
"""How a loop says that nobody asked a task or a future for its error."""


class _Probe:
    """Asks to be called by a loop at regular times, and sees how late that is."""

    __slots__ = ("_due", "_handle", "_interval", "_loop", "_threshold", "__weakref__")

    def __init__(self, loop: AbstractEventLoop, interval: float, threshold: float) -> None:
        # The loop keeps this; the other way round neither would ever go.
        self._loop, self._interval, self._threshold = weakref.ref(loop), interval, threshold
        self._again(loop)

    def _again(self, loop: AbstractEventLoop) -> None:
        self._due = loop.time() + self._interval
        self._handle: TimerHandle = loop.call_at(self._due, self._look)

    def _look(self) -> None:
        loop = self._loop()
        if loop is None:
            return
        lag = loop.time() - self._due
        if lag >= self._threshold:
            emit("python.asyncio.lagged", {"duration": int(lag * 1e9), "system_time": time.time_ns()})
        self._again(loop)

    def cancel(self) -> None:
        """Called from the loop's thread only, or when it does not run."""
        self._handle.cancel()


_probes: weakref.WeakKeyDictionary[Any, _Probe] = weakref.WeakKeyDictionary()
_settings = (0.1, 0.25)
_active: Instrumentation | None = None


def instrument_asyncio(threshold: float = 0.25, interval: float = 0.1) -> Instrumentation:
    """Emit when event loops are held up, and when the error of a task is lost.

    Every ``interval`` seconds each loop is to run a callback. If that is ``threshold`` seconds late or more,
    because something else did not let the loop run, ``python.asyncio.lagged`` says by how much. What holds a
    loop for both times together is always seen. It is for loops of ``asyncio`` from when they run next, and
    for the one that runs now, whoever made that.

    A task or future whose exception was never retrieved is a ``python.error.occurred``, as with
    ``instrument_excepthooks``, which tells of it once if both are on.

    A second call changes the times, for loops from when they run next. ``close()`` on the result ends it.
    Raises ``TypeError`` or ``ValueError`` for a time that is none or shorter than 0.01.

    Example::

        import asyncio, time

        async def main():
            await asyncio.sleep(0.02)
            time.sleep(0.1)                 # nothing else runs meanwhile
            await asyncio.sleep(0.02)

        with telemetry.instrument_asyncio(threshold=0.05, interval=0.01):
            asyncio.run(main())
        assert "python.asyncio.lagged" in memory.names()
    """
    global _active, _settings
    _settings = (
        seconds("instrument_asyncio", "interval", interval, _LEAST),
        seconds("instrument_asyncio", "threshold", threshold, _LEAST),
    )
    if _active is None or not _active.is_active:
        _active = Instrumentation(_install() if NATIVE else _nothing)
    return _active


def _nothing() -> None:
    pass


def _install() -> Callable[[], None]:
    stop = _loops.listen(_of_loop)
    put_back = _loops.replace("run_forever", _running)
    loop = _loops.running()
    if loop is not None:
        _begin(loop)

    def undo() -> None:
        stop()
        put_back()
        for reference in _probes.keyrefs():
            loop = reference()
            if loop is not None:
                _end_from_outside(loop)

    return undo


def _running(before: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(before)
    def run_forever(self: Any) -> None:
        if _active is None or not _active.is_active or self.is_closed():
            return before(self)
        _begin(self)
        try:
            return before(self)
        finally:
            _end(self)

    return run_forever


def _begin(loop: AbstractEventLoop) -> None:
    _end(loop)
    _probes[loop] = _Probe(loop, *_settings)


def _end(loop: Any) -> None:
    probe = _probes.pop(loop, None)
    if probe is not None:
        probe.cancel()


def _end_from_outside(loop: Any) -> None:
    """Ends the probe of a loop that may run in another thread."""
    if loop is _loops.running() or not loop.is_running():
        _end(loop)
        return
    try:
        loop.call_soon_threadsafe(_end, loop)
    except RuntimeError:
        # Closed in this very moment.
        _probes.pop(loop, None)


def _of_loop(context: dict[str, Any]) -> None:
    if excepthooks.is_active():
        return
    error = context.get("exception")
    if isinstance(error, BaseException) and _UNRETRIEVED in str(context.get("message", "")):
        excepthooks.report(type(error), error, error.__traceback__)


__all__ = ["instrument_asyncio"]
