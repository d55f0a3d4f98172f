"""The end of the process: what is queued gets a bounded time to be sent.

Nothing is registered before there is a server. Where the exit hooks run, the queue is flushed; the
server is closed when the interpreter is gone, so that hooks and finalizers that run later still
send. The time for both is that of ``TELEMETRY_EXIT_TIMEOUT_MS``; it is not used up unless events are
queued and a manager is attached.
"""

from __future__ import annotations

import os
import sys

from ._loader import native

_LAST = -1_000_000
"""Priority of what runs after all other finalizers of a multiprocessing child."""

_registered: set[int] = set()
"""Processes, by pid, in which the hook is registered; an ``atexit`` hook is inherited by forks."""


def at_exit() -> None:
    """Send what is queued; a forked child that never served has nothing to send."""
    if os.getpid() in _registered:
        native.flush_at_exit()


def register() -> None:
    """Make sure that :func:`at_exit` runs when this process ends."""
    pid = os.getpid()
    if pid in _registered:
        return
    if _is_multiprocessing_child():
        # Such a child may end without `atexit`, and forgets its parent's finalizers. The program's
        # own ones are to run before the last of ours.
        from multiprocessing.util import Finalize

        Finalize(None, at_exit, exitpriority=100)
        Finalize(None, native.shutdown, exitpriority=_LAST)
    elif not _registered:
        import atexit

        if not native.close_at_exit():
            atexit.register(native.shutdown)
        atexit.register(at_exit)
    _registered.add(pid)


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
