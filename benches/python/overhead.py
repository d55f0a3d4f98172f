"""What spans add to the CPU time of a worker that does a millisecond of work per call.

Too little to be told from noise by comparing runs with and without (that is done as well, and
noted), so the parts are measured where they arise: the time from the call of `span` to the start of
the work and from its end to the end of the block, with caches as the work left them, and the CPU
time that other threads of the process used, which is our sending.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import telemetry_py as telemetry
from worker import Worker

WORK_NS = 1_000_000
"""Work per call."""
METADATA = {"tool": "search", "model": "small"}


@dataclass(frozen=True)
class Overhead:
    """Shares of the CPU time of the work, in percent."""

    calls: float
    """Spent in starting and ending spans."""
    sending: float
    """Spent by other threads."""
    compared: float
    """The median of runs with spans against runs without."""

    @property
    def total(self) -> float:
        """All that spans add."""
        return self.calls + self.sending


def measure(worker: Worker, manager: Path, rounds: int, calls: int) -> Overhead:
    """Run `calls` calls without, with, with, without spans, `rounds` times, our `manager` attached."""
    with worker.streaming_to(manager):
        return _measure(worker, rounds, calls)


def _measure(worker: Worker, rounds: int, calls: int) -> Overhead:
    steps = _calibrate()
    in_calls = in_others = in_work = 0
    ratios = []
    for _ in range(rounds):
        plain = with_spans = 0
        for spanned in (False, True, True, False):
            worker.before(calls, events=2 * calls if spanned else 0, total=0)
            process, thread = time.process_time_ns(), time.thread_time_ns()
            spent = _spanned(steps, calls) if spanned else _plain(steps, calls)
            # What was recorded last is still to be sent, and belongs to the price.
            assert telemetry.flush(10)
            process, thread = time.process_time_ns() - process, time.thread_time_ns() - thread
            if spanned:
                with_spans += process
                in_calls += spent
                in_others += max(0, process - thread)
                in_work += thread - spent
            else:
                plain += process
        ratios.append(with_spans / plain)
    return Overhead(
        calls=100 * in_calls / in_work,
        sending=100 * in_others / in_work,
        compared=100 * (statistics.median(ratios) - 1),
    )


def _work(steps: int) -> int:
    """Something that takes CPU time and touches memory."""
    table = {}
    for step in range(steps):
        table[step & 1023] = str(step)
    return len(table)


def _calibrate() -> int:
    """Steps of one call's work."""
    steps = 1_000
    taken = min(_timed(steps) for _ in range(20))
    return max(1, steps * WORK_NS // taken)


def _timed(steps: int) -> int:
    start = time.thread_time_ns()
    _work(steps)
    return time.thread_time_ns() - start


def _plain(steps: int, calls: int) -> int:
    for _ in range(calls):
        _work(steps)
    return 0


def _spanned(steps: int, calls: int) -> int:
    """Nanoseconds outside of the work; includes two readings of the clock per call."""
    clock, span = time.perf_counter_ns, telemetry.span
    times = []
    for _ in range(calls):
        called = clock()
        with span("tool.execution", METADATA):
            started = clock()
            _work(steps)
            ended = clock()
        times.append(clock() - ended + started - called)
    # A call that was preempted says nothing about spans; the median stands for all.
    return int(statistics.median(times) * calls)
