"""The beat that shows that Python runs: a thread that stamps a word ten times a second.

A thread that Python cannot stop looks at the stamp (``TELEMETRY_STALL_MS``). This one only stamps, and ends
with what was started.
"""

from __future__ import annotations

import time

from . import _threads
from ._loader import native

_INTERVAL = 0.1
"""Seconds between two stamps."""


def begin() -> None:
    """Start the thread if what runs is to be watched and has none in this process. Where there can be none,
    there is no stamp, and nothing is watched."""
    beat = native.heartbeat()
    if beat is None:
        return

    def run(naps: native.Naps) -> None:
        while True:
            try:
                while beat() and naps.nap(_INTERVAL):
                    pass
                return
            except MemoryError:
                # Python runs, and there may be memory again.
                time.sleep(_INTERVAL)

    if _threads.start(run) is not None:
        # Python runs right now, and may not let the thread run before it is stuck.
        beat()
