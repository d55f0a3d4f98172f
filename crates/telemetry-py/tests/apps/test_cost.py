"""What it costs the host: nothing that a request would notice, and little at the start."""

from __future__ import annotations

import statistics
import time

from patience import PATIENCE
from place import Place
from program import OWN_THREADS, Program, request, when_up
from real_manager import Manager

REQUESTS = 200
STARTS = 40
SCRIPTS = 10
MOST_SECONDS_A_REQUEST = 0.005
MOST_SECONDS_TO_START = 0.025
MOST_SECONDS_TO_START_AND_END = 0.045

START = """
import time
def now():
    waited = int(open("/proc/thread-self/schedstat").read().split()[1])
    return time.perf_counter_ns() - waited
begun = now()
import telemetry_py as telemetry
telemetry.start()
print((now() - begun) / 1e9)
"""
"""Prints how long import and start take, without the time in which other processes had the processor."""


def threads_of(program: Program, pid: int) -> int:
    """How many one of its processes has."""
    (process,) = [process for process in program.family() if process.pid == pid]
    return len(process.threads())


def test_no_request_is_slowed_down_and_three_threads_are_all(place: Place) -> None:
    arguments = ("gunicorn", "--workers", "1", "--bind")
    off = place.directory / "off.sock"
    with (
        Manager(place.directory) as manager,
        place.program(manager, *arguments, f"unix:{place.web}", "web_wsgi:app") as with_it,
        place.program(manager, *arguments, f"unix:{off}", "web_wsgi:app", TELEMETRY_DISABLED="true") as without_it,
    ):
        took: dict[str, list[float]] = {}
        for server, path in ((with_it, place.web), (without_it, off)):
            when_up(path, server.said)
        for _ in range(REQUESTS):
            for path in (place.web, off):
                begun = time.perf_counter()
                request(path)
                took.setdefault(path.name, []).append(time.perf_counter() - begun)
        threads = [threads_of(server, request(path)) for server, path in ((with_it, place.web), (without_it, off))]
        # The one more is of Python: it shows that Python runs.
        assert threads[0] - threads[1] == len(OWN_THREADS) + 1, threads
        medians = {name: statistics.median(times) for name, times in took.items()}
        assert medians[place.web.name] - medians[off.name] < MOST_SECONDS_A_REQUEST, medians
        print(f"medians in ms: {({name: round(it * 1000, 3) for name, it in medians.items()})}")


def test_the_start_is_quick(place: Place) -> None:
    """The best of several: what else the machine does is not counted."""
    with Manager(place.directory) as manager:
        took: list[float] = []
        while len(took) < STARTS and (len(took) < 2 or min(took) >= MOST_SECONDS_TO_START):
            with place.program(manager, "python", "-c", START) as program:
                assert program.wait() == 0, program.said()
                took.append(float(program.said()))
        assert min(took) < MOST_SECONDS_TO_START, took
        print(f"import and start in ms: {sorted(round(it * 1000, 1) for it in took)}")


def test_where_there_is_no_manager_a_script_ends_as_soon_as_without_telemetry(place: Place) -> None:
    """Its twenty events have nowhere to go. Compared are the best of both: what else the machine does is not counted."""
    nobody = {"TELEMETRY_MANAGER": f"unix:{place.directory}/nobody.sock"}
    took: dict[str, list[float]] = {"nobody": [], "off": []}

    def more() -> float:
        return min(took["nobody"]) - min(took["off"])

    while len(took["off"]) < SCRIPTS or (len(took["off"]) < STARTS and more() >= MOST_SECONDS_TO_START_AND_END):
        for name, environment in (("nobody", nobody), ("off", {"TELEMETRY_DISABLED": "true"})):
            begun = time.perf_counter()
            with place.program(None, "python", "script.py", "0", **environment) as script:
                assert script.process.wait(PATIENCE) == 0, script.said()
                took[name].append(time.perf_counter() - begun)
    assert more() < MOST_SECONDS_TO_START_AND_END, took
    print(f"best in ms: {({name: round(min(times) * 1000, 1) for name, times in took.items()})}")
