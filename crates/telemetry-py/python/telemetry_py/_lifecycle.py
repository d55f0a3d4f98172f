"""The end of the process: what is queued gets a bounded time to be sent.

Nothing is registered before there is a server. The time is that of ``TELEMETRY_EXIT_TIMEOUT_MS``;
it is not used up unless events are queued and a manager is attached.
"""

from __future__ import annotations

import os
import sys

from ._loader import native

_registered: set[int] = set()
"""Processes, by pid, in which the hook is registered; an ``atexit`` hook is inherited by forks."""


def at_exit() -> None:
    """End serving, however little time there is; a forked child that never served has nothing to
    end."""
    if os.getpid() in _registered:
        native.shutdown()


def register() -> None:
    """Make sure that :func:`at_exit` runs when this process ends."""
    pid = os.getpid()
    if pid in _registered:
        return
    if _is_multiprocessing_child():
        # Such a child ends without `atexit`, and forgets its parent's finalizers.
        from multiprocessing.util import Finalize

        Finalize(None, at_exit, exitpriority=100)
    elif not _registered:
        import atexit

        atexit.register(at_exit)
    _registered.add(pid)


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
