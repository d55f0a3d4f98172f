"""The end by a signal: what is queued is sent before it takes its course."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from ._ending import flush, shutdown
from ._loader import NATIVE

_ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU")
"""Signals that end a program which does nothing about them, and that one can do something about."""


def flush_on_signal(*signals: int) -> None:
    """Send what is queued when one of ``signals`` arrives, by default ``SIGTERM``.

    For a program whose end is somebody else's signal: Python ends at once then, and exit hooks do not
    run. What the signal did before, it does afterwards. Where it ended the program, telemetry is shut
    down within the time of ``TELEMETRY_EXIT_TIMEOUT_MS`` and the program ends by the signal, its exit
    status is that of the signal. Where there is a handler of the program, the queue is flushed in that
    time and the handler called; telemetry goes on, for the handler may take its time or not end the
    program at all. A signal that is ignored stays ignored; as the first process of a container a
    program without a handler is not ended by it either, and is merely flushed.

    Call it in the main thread, once, after the program has set its own handlers; it may come before
    ``serve``, and a second call changes nothing. A forked child keeps it and sends its own events.
    Like any handler of Python it runs when the main thread runs Python code.

    Raises ``TypeError`` for what is no signal number, ``ValueError`` for a signal that does not end a
    program, ``RuntimeError`` outside the main thread. Then no handler has been set.

    Example::

        import signal

        telemetry.flush_on_signal()                                     # SIGTERM
        telemetry.flush_on_signal(signal.SIGTERM, signal.SIGHUP)
    """
    chosen = [_checked(number) for number in signals] or [signal.SIGTERM]
    import threading

    if threading.get_ident() != threading.main_thread().ident:
        raise RuntimeError("flush_on_signal sets handlers of signals, which Python allows in the main thread only; call it there")
    if not NATIVE:
        return
    handlers = {}
    for number in chosen:
        before = signal.getsignal(number)
        if before is None:
            raise ValueError(f"flush_on_signal: {number.name} has a handler that was not set by Python code, so it cannot be kept")
        if before is not signal.SIG_IGN and not isinstance(before, _Handler):
            handlers[number] = _Handler(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Handler:
    """Ends telemetry, then does what the signal did before."""

    def __init__(self, before: Callable[[int, FrameType | None], Any] | int) -> None:
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            flush(None)
            self._before(number, frame)
            return
        if os.getpid() == 1:
            # The system spares the first process what it does not handle.
            flush(None)
            return
        shutdown()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _checked(number: object) -> signal.Signals:
    """A signal that may be asked for."""
    allowed = ", ".join(_ENDING)
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"flush_on_signal: {number!r} is no signal; expected one of {allowed} of the module signal")
    if number not in {getattr(signal, name, None) for name in _ENDING}:
        raise ValueError(f"flush_on_signal: signal {number!r} is not allowed; expected one of {allowed}")
    return signal.Signals(number)
