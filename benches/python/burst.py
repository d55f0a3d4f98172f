"""How much of a burst from Python the worker's queue takes, by its bound of events.

    python benches/python/burst.py EVENTS ROUNDS MANAGER

is one worker, in a process of its own because its settings are those of the process: it bursts before it
has a stream, gets one after 100 ms, and then bursts ROUNDS times with it attached. It prints one line,
`lost_without median_lost_attached most_lost_attached`. The bound is `TELEMETRY_MAX_BUFFER`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BOUNDS = [1_024, 4_096, 8_192, 16_384]
"""Events that the queue may hold; its bytes are always 1 MiB."""
BURSTS = [2_000, 5_000, 10_000]
"""Events of a burst."""
UNATTENDED = 0.1
"""Seconds until the stream comes."""
REST = 0.05
"""Seconds after a burst, so that the telemetry thread sleeps when the next one begins."""
TIMEOUT = 30.0
"""Seconds after which something is wrong."""


def table(manager: Path, *, quick: bool) -> dict[str, Any]:
    """Run a worker for every bound and burst."""
    bounds, rounds = (BOUNDS[2:3], 2) if quick else (BOUNDS, 21)
    rows = []
    for bound in bounds:
        cells = [str(bound)]
        for events in BURSTS:
            found = subprocess.run(
                [sys.executable, __file__, str(events), str(rounds), manager],
                env={**os.environ, "TELEMETRY_MAX_BUFFER": str(bound)},
                stdout=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT,
                check=True,
            )
            without, median, most = found.stdout.split()
            cells.append(f"{without} / {median} ({most})")
        rows.append(cells)
    return {
        "title": "Python: events of a burst that were lost, no stream for 100 ms / attached (most), by the "
        "bound of the queue",
        "columns": ["events", *(f"lost of {events}" for events in BURSTS)],
        "rows": rows,
    }


def main() -> None:
    """Be the worker."""
    import telemetry_py as telemetry

    events, rounds, manager = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    # Names and keys that the manager knows: it notes nothing odd.
    measurements = [{"duration": 123_456 + i, "count": i} for i in range(16)]
    metadata = [{"tool": tool, "operation": "read"} for tool in ("search", "parse", "hash", "list")]
    ids = [f"{i:032x}" for i in range(16)]

    def burst() -> int:
        before = sum(telemetry.stats()["dropped"].values())
        emit = telemetry.emit
        for i in range(events):
            emit("tool.execution.stop", measurements[i & 15], metadata[i & 3], ids[i & 15])
        return sum(telemetry.stats()["dropped"].values()) - before

    with tempfile.TemporaryDirectory(prefix="telemetry-bench-") as directory:
        server = telemetry.serve(f"unix:{directory}/worker.sock")
        without = burst()
        time.sleep(UNATTENDED)
        with subprocess.Popen(
            [manager, "--role", "overhead-manager", server.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as playing:
            pipes: Any = playing
            assert pipes.stdout.readline() == "streaming\n"
            attached = []
            for _ in range(rounds):
                assert telemetry.flush(TIMEOUT)
                time.sleep(REST)
                attached.append(burst())
            assert telemetry.flush(TIMEOUT)
            stats = telemetry.stats()
            pipes.stdin.write(f"received {stats['sent']}\n")
            pipes.stdin.flush()
            received = int(pipes.stdout.readline())
            assert received == stats["sent"] == stats["accepted"], (received, stats)
            assert stats["emitted"] == events * (rounds + 1) == received + without + sum(attached), stats
        telemetry.shutdown()
    print(without, int(statistics.median(attached)), max(attached))


if __name__ == "__main__":
    main()
