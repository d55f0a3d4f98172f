"""Two ways to do a thing, compared in one process so that what disturbs one disturbs the other.

Blocks are short (a fraction of a millisecond), in the order A B B A, and only the ratio within such
a pair of pairs is a figure; the median over many of them is robust against being preempted. The
collector is off during a block, for both sides alike.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ATTEMPTS = 3
"""How often the control is repeated while it is off."""
TOLERANCE = 0.03
"""How far the control may be off."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    pairs: int
    """A B B A rounds of one comparison."""
    block_ns: int
    """Aim for the length of one block."""
    most_events: int
    """Events that one block may record: reading them back takes far longer than recording them."""


FULL = Effort(pairs=200, block_ns=150_000, most_events=240)
QUICK = Effort(pairs=40, block_ns=100_000, most_events=160)


@dataclass
class Subject:
    """One thing to time: statements that are run in turn, so that inputs rotate."""

    name: str
    statements: list[str]
    names: dict[str, Any]
    """What the statements refer to."""
    before: Callable[[int], None] = field(default=lambda calls: None)
    """Runs untimed before each block of that many calls: makes room, takes away what piled up."""
    most: int = 1 << 30
    """Calls that one block may have."""

    def __post_init__(self) -> None:
        self._timer = timeit.Timer("\n".join(self.statements), timer=time.perf_counter_ns, globals=self.names)
        self._rounds = 1

    def block(self) -> int:
        """Nanoseconds of one block."""
        return self._timer.timeit(self._rounds)

    @property
    def calls(self) -> int:
        """Calls in one block."""
        return self._rounds * len(self.statements)

    def calibrate(self, effort: Effort) -> None:
        """Choose the number of calls in a block."""
        self._rounds = 1
        self.before(self.calls)
        self.block()
        most = max(1, self.most // len(self.statements))
        while self._rounds < most:
            self.before(self.calls)
            taken = max(1, self.block())
            if taken >= effort.block_ns:
                break
            self._rounds = min(most, max(self._rounds + 1, self._rounds * min(8, effort.block_ns // taken)))


@dataclass(frozen=True)
class Comparison:
    """Nanoseconds per call of both, and how many times as long the peer takes."""

    ours_ns: float
    peer_ns: float
    ratios: list[float]

    @property
    def ratio(self) -> dict[str, float]:
        """The ratio peer / ours: its median, and where the middle nine tenths of the pairs lie."""
        return spread(self.ratios)

    @property
    def price(self) -> dict[str, float]:
        """The ratio ours / peer."""
        return spread([1 / ratio for ratio in self.ratios])


def spread(ratios: list[float]) -> dict[str, float]:
    """Median, and the range without the twentieth at either end: what was preempted."""
    ordered = sorted(ratios)
    cut = len(ordered) // 20
    kept = ordered[cut : len(ordered) - cut]
    return {"median": statistics.median(ordered), "min": kept[0], "max": kept[-1]}


def compare(ours: Subject, peer: Subject, effort: Effort) -> Comparison:
    """Time both, A B B A, in blocks of about the same length."""
    for subject in (ours, peer):
        subject.calibrate(effort)
    gc.collect()
    ratios, times = [], ([], [])
    for _ in range(effort.pairs):
        a = b = 0
        for subject in (ours, peer, peer, ours):
            subject.before(subject.calls)
            taken = subject.block()
            if subject is ours:
                a += taken
            else:
                b += taken
        times[0].append(a / 2 / ours.calls)
        times[1].append(b / 2 / peer.calls)
        ratios.append(times[1][-1] / times[0][-1])
    return Comparison(statistics.median(times[0]), statistics.median(times[1]), ratios)


def control(make: Callable[[], Subject], effort: Effort) -> dict[str, Any]:
    """A thing against itself: shows whether a ratio can be believed here and now."""
    for attempt in range(1, ATTEMPTS + 1):
        ratio = compare(make(), make(), effort).ratio
        off = abs(ratio["median"] - 1)
        result = {
            "ratio": ratio["median"],
            "min": ratio["min"],
            "max": ratio["max"],
            "ok": off <= TOLERANCE,
            "attempts": attempt,
        }
        if off <= TOLERANCE:
            break
    return result


def pin() -> str:
    """Keep this thread on one core; says which, or why not."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned: this system cannot"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"core {core}"
