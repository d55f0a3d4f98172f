"""Waiting until events are where they belong: those of the queue, and those that a backend holds back."""

from __future__ import annotations

import time

from ._loader import native
from ._quietly import quietly


def flush(timeout: float | None = 1.0, acknowledged: bool = False) -> bool:
    """Wait until what was emitted so far is written to the manager's socket; say whether that was done in
    ``timeout`` seconds, those of ``TELEMETRY_EXIT_TIMEOUT_MS`` for ``None``.

    A backend that holds events back is flushed, too. With nobody to send to, and nobody just being connected
    to, it does not wait.

    ``acknowledged`` waits for the manager's word that it has taken the events: after that a connection that
    breaks loses none of them. A manager that gives no such word, as that of Snakepit, makes the answer
    ``False`` as soon as anything was sent to it.

    Example::

        telemetry.emit("tool.result_size", {"bytes": 512})
        assert telemetry.flush(timeout=0.5)
    """
    began = time.monotonic()
    done = native.flush(timeout, quietly(bool, acknowledged) is True)
    backend = native.backend()
    call = quietly(getattr, backend, "flush", None)
    if callable(call):
        left = max(_seconds(timeout) - (time.monotonic() - began), 0.0)
        done = quietly(call, left) is not False and done
    return done


def shutdown(timeout: float | None = None) -> bool:
    """Send what is queued, stop what runs, and close the backend; say whether all was sent in ``timeout``
    seconds, by default those of ``TELEMETRY_EXIT_TIMEOUT_MS``.

    Events from then on are counted as dropped. A second call does nothing.

    Example::

        telemetry.emit("tool.result_size", {"bytes": 512})
        assert telemetry.shutdown(timeout=0.5)
    """
    done = native.shutdown(timeout)
    close = quietly(getattr, native.backend(), "close", None)
    if callable(close):
        quietly(close)
    return done


def _seconds(timeout: object) -> float:
    """A timeout; one second for what is none."""
    try:
        seconds = 1.0 if timeout is None else float(timeout)  # type: ignore[arg-type]
    except Exception:
        return 1.0
    return seconds if seconds == seconds else 1.0


__all__ = ["flush", "shutdown"]
