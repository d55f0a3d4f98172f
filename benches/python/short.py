"""What telemetry adds to a short script: at its beginning, and at its end.

Every figure is from fresh processes. A script tells on its standard output when its last statement ran;
its exit is the time from there until it is gone. With and without telemetry run in turn, and a figure is
the median of what a pair of them differs by. Times are a user's, by the wall clock, so they hold what else
the machine does; the CPU time beside them does not.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from report import Row, figure, progress, skipped, value_at_most

EVENTS = 20
"""Events of a script."""
PLAIN = f"""
import time
for i in range({EVENTS}):
    pass
print(time.monotonic_ns(), flush=True)
"""
"""The script without telemetry."""
TRACED = f"""
import time
import telemetry_py as telemetry
telemetry.start()
for i in range({EVENTS}):
    telemetry.emit("tool.result_size", {{"bytes": i}}, {{"tool": "search"}})
print(time.monotonic_ns(), flush=True)
"""
"""The script: it starts, emits and ends."""
BEGINNING = """
import time
began = time.perf_counter_ns()
import telemetry_py as telemetry
imported = time.perf_counter_ns()
telemetry.start()
started = time.perf_counter_ns()
print(imported - began, started - imported, flush=True)
"""
"""A script that says how long import and start took it."""

IMPORT = "import and start, a manager is there"
EXIT = "exit of a script of 20 events, a manager is there, more time"
LONELY = "exit of a script of 20 events, no manager, more time"


def rows(manager: Path, *, quick: bool) -> list[Row]:
    """T13, as far as it is about Python."""
    import telemetry_py as telemetry

    if not hasattr(telemetry, "start"):
        reason = "the package has no start()"
        return [skipped(bench, reason, ["T13"]) for bench in (IMPORT, EXIT, LONELY)]
    pairs = 5 if quick else 100
    with tempfile.TemporaryDirectory(prefix="telemetry-bench-") as directory:
        address = f"unix:{directory}/manager.sock"
        progress(f"python: {LONELY}")
        lonely = _exit(LONELY, address, pairs)
        with _managed(manager, address) as received:
            progress(f"python: {IMPORT}")
            began = _beginning(address, pairs)
            progress(f"python: {EXIT}")
            ended = _exit(EXIT, address, pairs)
            # Nothing may be lost for being quick.
            assert received(pairs * EVENTS) == pairs * EVENTS
    return [began, ended, lonely]


def _beginning(address: str, runs: int) -> Row:
    imports, starts = [], []
    for _ in range(runs):
        found = _run(BEGINNING, address)[0].split()
        imports.append(int(found[0]) / 1e6)
        starts.append(int(found[1]) / 1e6)
    both = sorted(map(sum, zip(imports, starts)))
    return figure(
        IMPORT,
        statistics.median(both),
        "ms",
        targets=["T13"],
        floor=[value_at_most(25)],
        moonshot=[value_at_most(15)],
        note=f"import {statistics.median(imports):.2f} ms, start() {statistics.median(starts):.2f} ms; "
        f"95 of 100 within {_p95(both):.2f} ms",
    )


def _exit(bench: str, address: str, pairs: int) -> Row:
    exits, totals, cpus = [], [], []
    for pair in range(pairs):
        scripts = (TRACED, PLAIN) if pair % 2 else (PLAIN, TRACED)
        found = {script: _timed(script, address) for script in scripts}
        exits.append(found[TRACED][0] - found[PLAIN][0])
        totals.append(found[TRACED][1] - found[PLAIN][1])
        cpus.append(found[TRACED][2] - found[PLAIN][2])
    return figure(
        bench,
        statistics.median(exits),
        "ms",
        targets=["T13"],
        floor=[value_at_most(20)],
        moonshot=[value_at_most(5)],
        note=f"95 of 100 within {_p95(exits):.2f} ms; the whole script takes "
        f"{statistics.median(totals):.2f} ms more, 95 of 100 within {_p95(totals):.2f} ms, and "
        f"{statistics.median(cpus):.2f} ms more CPU",
    )


def _timed(script: str, address: str) -> tuple[float, float, float]:
    """Milliseconds of the exit, of the whole process, and of its CPU."""
    spent = _cpu()
    began = time.monotonic_ns()
    told, ended = _run(script, address)
    return (ended - int(told)) / 1e6, (ended - began) / 1e6, _cpu() - spent


def _cpu() -> float:
    """Milliseconds of CPU that the processes which have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (usage.ru_utime + usage.ru_stime)


def _run(script: str, address: str) -> tuple[str, int]:
    """What a fresh interpreter says, and when it was gone."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "TELEMETRY_MANAGER": address},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        # Not until the end of the output: it may come before the end of the process.
        assert process.stdout is not None
        told = process.stdout.readline()
        code = process.wait()
        ended = time.monotonic_ns()
    assert code == 0, (script, code)
    return told, ended


@contextmanager
def _managed(manager: Path, address: str) -> Iterator[Any]:
    """A manager of ours that accepts at `address`; what is yielded waits for events and says how many it has."""
    with subprocess.Popen(
        [manager, "--role", "start-manager", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as playing:
        pipes: Any = playing
        assert pipes.stdout.readline() == "accepting\n"

        def received(events: int) -> int:
            pipes.stdin.write(f"received {events}\n")
            pipes.stdin.flush()
            return int(pipes.stdout.readline())

        yield received


def _p95(values: list[float]) -> float:
    return sorted(values)[len(values) * 95 // 100]
