"""Threads of Python that are ours. No fork finds one of them awake, not even a fork that Python knows nothing of
(``src/naps.rs``)."""

from __future__ import annotations

import sys

from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def start(run: Callable[[native.Naps], None]) -> native.Naps | None:
    """Start a thread that calls ``run`` with what it sleeps by; ``None`` if no thread is to be had."""
    start_new_thread = _start_new_thread()
    if start_new_thread is None:
        return None
    naps = native.Naps()
    try:
        start_new_thread(_run, (run, naps))
    except RuntimeError:
        naps.no_thread()
        return None
    naps.wait_for_begin()
    return naps


def _start_new_thread() -> Any:
    """What starts a thread of the system. gevent and eventlet have greenlets made in its place, one of which
    would stop all the others while it sleeps; ``None`` where somebody else did so."""
    import _thread

    builtin = type(len)
    found: Any = _thread.start_new_thread
    gevent: Any = sys.modules.get("gevent.monkey")
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if type(found) is not builtin and gevent is not None:
        found = gevent.get_original("_thread", "start_new_thread")
    if type(found) is not builtin and eventlet is not None:
        found = eventlet.original("_thread").start_new_thread
    return found if type(found) is builtin else None


def _run(run: Callable[[native.Naps], None], naps: native.Naps) -> None:
    naps.begin()
    run(naps)
