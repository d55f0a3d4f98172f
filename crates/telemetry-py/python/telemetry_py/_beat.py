"""The beat that shows that Python runs: a thread that stamps a word ten times a second.

A thread that Python cannot stop looks at the stamp (``TELEMETRY_STALL_MS``). This one only stamps, and ends
with what was started.
"""

from __future__ import annotations

import sys

from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_INTERVAL = 0.1
"""Seconds between two stamps."""


def begin() -> None:
    """Start the thread if what runs is to be watched and has none in this process."""
    beat = native.heartbeat()
    if beat is None:
        return
    import _thread
    import time

    start, sleep = _thread.start_new_thread, time.sleep
    # Where these make greenlets, one that never ends would keep a program that waits for all of them, and
    # would tell when the loop is busy, not whether Python runs.
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        start, sleep = monkey.get_original("_thread", "start_new_thread"), monkey.get_original("time", "sleep")
    try:
        start(_beat, (beat, sleep))
    except RuntimeError:
        # No thread is to be had; nothing is watched before the first stamp.
        pass


def _beat(beat: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    """Stamp until that is not wanted any more."""
    while beat():
        sleep(_INTERVAL)
