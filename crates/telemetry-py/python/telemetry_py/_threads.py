"""Threads of Python that are ours. No fork finds one of them awake, not even a fork that Python knows nothing of
(``src/naps.rs``)."""

from __future__ import annotations

import os
import sys

from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _thread
    from collections.abc import Callable
    from typing import Any

_BEGINS_WITHIN = 0.1
"""Seconds that are waited for a thread to begin; it takes microseconds."""

_watches_forks = False


def start(run: Callable[[native.Naps], None]) -> native.Naps | None:
    """Start a thread that calls ``run`` with what it sleeps by; ``None`` if no thread is to be had."""
    import _thread

    global _watches_forks
    if not _watches_forks:
        _watches_forks = True
        os.register_at_fork(before=native.python_forks, after_in_parent=native.python_forked)
    start_new_thread, allocate_lock = _thread.start_new_thread, _thread.allocate_lock
    # Where this makes greenlets, one that never ends would keep a program that waits for all of them, and
    # one that sleeps would stop the others.
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        start_new_thread, allocate_lock = monkey.get_original("_thread", ["start_new_thread", "allocate_lock"])
    naps = native.Naps()
    begun = allocate_lock()
    begun.acquire()
    try:
        start_new_thread(_run, (run, naps, begun))
    except RuntimeError:
        naps.no_thread()
        return None
    # The system aborts the process if there is no memory for what a thread of its own has, when it first needs
    # it. So it needs that here, and not when memory has run out.
    begun.acquire(timeout=_BEGINS_WITHIN)
    return naps


def _run(run: Callable[[native.Naps], None], naps: native.Naps, begun: _thread.LockType) -> None:
    try:
        naps.begin()
    finally:
        begun.release()
    run(naps)
