"""Nothing is left behind: no memory, thread or descriptor after many events, no descriptor in another program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from acceptor import Acceptor
from manager import Manager, name_of
from test_stall import started

HERE = Path(__file__).parent

SAMPLE = {"emits": 200_000, "odd_emits": 10_000, "spans": 30_000, "otel_spans": 50_000, "left_open": 1_000, "streams": 200, "serves": 100, "connects": 50}
WHOLE = {"emits": 10_000_000, "odd_emits": 1_000_000, "spans": 1_000_000, "otel_spans": 1_000_000, "left_open": 100_000, "streams": 10_000, "serves": 1_000, "connects": 1_000}


@pytest.mark.parametrize(
    "what, times", [*SAMPLE.items(), *(pytest.param(*each, marks=pytest.mark.long) for each in WHOLE.items())]
)
def test_doing_the_same_over_and_over_leaves_nothing_behind(tmp_path, what, times):
    with Acceptor(tmp_path / "run") as manager:
        result = subprocess.run(
            [sys.executable, str(HERE / "leaks.py"), what, str(times), manager.address],
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)


def test_spans_that_nobody_left_do_not_fill_the_table_of_open_ones(tmp_path):
    program = f"""
    import gc, sys
    sys.path.insert(0, {str(HERE)!r})
    from leaks import left_open
    left_open(300, "")
    # A span that was entered and its context hold each other.
    gc.collect()
    with telemetry.span("still.seen"):
        ctypes.PyDLL(None).usleep(1_500_000)
    """
    worker, address = started(tmp_path, program, TELEMETRY_MAX_BUFFER="65536", TELEMETRY_STALL_MS="500")
    with worker:
        worker.line()
        with Manager(address) as manager:
            events = [event for event in manager.rest() if event.event_parts]
        assert worker.end() == 0, worker.errors
    told = [event for event in events if name_of(event) == "python.stall.started"]
    assert [event.metadata["open_spans"] for event in told] == ["still.seen"]


def test_many_events_leave_no_memory_behind(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.serve()
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096
        class Odd:
            def __str__(self):
                return "odd"
        def work(rounds):
            for i in range(rounds):
                telemetry.emit("a.b", {"count": i, "odd": Odd()}, {"key": f"value{i}", 1: None})
                with telemetry.span("op", {"i": str(i)}, f"id-{i}") as span:
                    span.set(more=i)
        work(5_000)
        before = resident()
        work(60_000)
        grown = resident() - before
        assert grown < 4 * 2**20, grown
        stats = telemetry.stats()
        assert stats["emitted"] == 3 * 65_000
        assert stats["queued"] + sum(stats["dropped"].values()) == stats["emitted"]
        """
    )
    assert result.returncode == 0, result.stderr


def test_an_unbounded_number_of_names_does_not_grow_memory(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.serve()
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096
        def work(start, end):
            for i in range(start, end):
                telemetry.emit(f"name.n{i}")
                with telemetry.span(f"op.n{i}"):
                    pass
        work(0, 8_000)
        before = resident()
        work(8_000, 30_000)
        assert resident() - before < 4 * 2**20, resident() - before
        """
    )
    assert result.returncode == 0, result.stderr


def test_another_program_inherits_no_descriptor(python):
    result = python(
        """
        import subprocess, sys, telemetry_py as telemetry
        program = "import os; print(len(os.listdir('/proc/self/fd')))"
        def descriptors():
            return subprocess.check_output([sys.executable, "-c", program], close_fds=False)
        before = descriptors()
        telemetry.serve()
        assert descriptors() == before
        """
    )
    assert result.returncode == 0, result.stderr
