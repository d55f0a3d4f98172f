"""The end of the process: what is queued gets a bounded time to be sent.

Nothing is registered before something runs, or a backend holds something back. Where the exit hooks run, the queue is flushed; what runs is
ended when the interpreter is gone, so that hooks and finalizers that run later still send. The time for
both is that of ``TELEMETRY_EXIT_TIMEOUT_MS``; it is not used up unless events are queued and a manager is
there, or just being connected to.

Children that others make end in other ways: those of ``multiprocessing`` and ``billiard`` run finalizers
of their own, and the workers of a pool of ``billiard``, as celery has, not even these.
"""

from __future__ import annotations

import os
import sys

from . import _beat
from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FAMILIES = ("multiprocessing", "billiard")
"""Packages that start processes which end without ``atexit``."""

_FIRST, _LAST = 100, -1_000_000
"""Priorities of what runs before and after all other finalizers of such a child."""

_registered: set[int] = set()
"""Processes, by pid, whose end is waited for; ``atexit`` hooks and this set are inherited by forks."""

_told: set[str] = set()
"""Families that call :func:`_at_start_of_child`, which is inherited as well."""


def at_exit() -> None:
    """Send what is queued; a forked child in which nothing runs has nothing to send."""
    if os.getpid() in _registered:
        native.flush_at_exit()
        _end_backend()


def _end_backend() -> None:
    """Have a backend that holds events back pass them on; what it gets from now on it does not hold back."""
    backend = native.backend()
    try:
        parts = (backend, *getattr(backend, "backends", ()))
    except Exception:
        parts = (backend,)
    for part in parts:
        try:
            at_exit = getattr(part, "at_exit", None)
            if callable(at_exit):
                at_exit()
        except Exception:
            # The end of a process is no place for the faults of a backend.
            pass


def register() -> None:
    """Make sure that :func:`at_exit` runs when this process ends, however that comes about, and that what
    was started is told that Python runs."""
    _beat.begin()
    pid = os.getpid()
    if pid in _registered:
        return
    if not _registered:
        import atexit

        if not native.close_at_exit():
            atexit.register(native.end_at_exit)
        atexit.register(at_exit)
    _registered.add(pid)
    for family in _FAMILIES:
        util = sys.modules.get(f"{family}.util")
        if util is None:
            continue
        if family not in _told:
            _told.add(family)
            # Such a child forgets all finalizers when it starts: those of its parent, and its own that it
            # has from the import of the main module.
            util.register_after_fork(_at_start_of_child, lambda start, family=family: start(family))
        _finalize(family)


def _at_start_of_child(family: str) -> None:
    """Register again what a child has forgotten; in one where nothing runs there is nothing to do yet."""
    if os.getpid() in _registered:
        _finalize(family)


def _finalize(family: str) -> None:
    """Have a child of ``family`` send at its end what it has."""
    process: Any = sys.modules.get(f"{family}.process")
    # Of the process that started it all there is none. While the main module is imported in a child, it is
    # not known yet; `_at_start_of_child` comes after that.
    if process is None or process.current_process()._parent_pid is None:
        return
    finalize = sys.modules[f"{family}.util"].Finalize
    finalize(None, at_exit, exitpriority=_FIRST)
    finalize(None, native.end_at_exit, exitpriority=_LAST)
    # A worker of a pool of billiard ends by `os._exit`, and this is all that it calls before.
    worker: Any = getattr(process.current_process(), "_target", None)
    if hasattr(worker, "on_exit"):
        worker.on_exit = _after(worker.on_exit)


def _after(on_exit: Callable[..., object] | None) -> Callable[..., None]:
    """A worker's ``on_exit`` that ends telemetry when the one that was there is done."""

    def both(*arguments: object) -> None:
        try:
            if on_exit is not None:
                on_exit(*arguments)
        finally:
            _end_backend()
            native.end_at_exit()

    return both
