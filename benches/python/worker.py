"""Our worker under measurement: a served process, its manager, and the proof that nothing is lost.

Events are recorded while no stream is attached, the state in which the stand-in is cheapest too,
or with the manager attached. Between blocks, untimed, the manager reads what was recorded over the
real socket before the queue is full. At the end every event must have arrived and the ledger must
balance; otherwise the benchmark fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import telemetry_py as telemetry

CAPACITY = 6_000
"""Events that are left in the queue; below what its bytes allow for events of the benchmark."""
TIMEOUT = 60.0
"""Seconds after which something is wrong."""


class Worker:
    """This process as a worker, with a manager of its own."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="telemetry-bench-")
        os.environ["TELEMETRY_MAX_BUFFER"] = "65536"
        self._server = telemetry.serve(f"unix:{self._directory.name}/worker.sock")
        self._manager = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("manager.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._queued = 0
        self._recorded = 0
        self._elsewhere = 0
        self._sum = 0
        self.attached = False

    def before(self, calls: int, *, events: int, total: int) -> None:
        """Make room for the `events` of `calls` calls, whose measurement `count` sums up to
        `total`, and expect them. Waits for the queue to be empty if a stream is attached."""
        if self.attached:
            assert telemetry.flush(TIMEOUT)
        elif self._queued + events > CAPACITY:
            self.attach()
            self.detach()
        self._queued += events
        self._recorded += events
        self._sum += total

    def attach(self) -> None:
        """Have the manager open its stream."""
        self._order(f"attach {self._server.address}")
        self._wait_for_clients(1)
        self.attached = True

    def detach(self) -> list[int]:
        """Have the manager end its stream when it has read everything; returns what it has."""
        read = self._order(f"detach {self._recorded - self._elsewhere}")
        self._wait_for_clients(0)
        self.attached = False
        self._queued = 0
        return read

    @contextmanager
    def streaming_to(self, manager: Path) -> Iterator[None]:
        """Have `manager`, the program of the Rust suites, hold the stream instead: a manager of ours as
        a fleet has it, which checks and counts every event."""
        self.attach()
        self.detach()
        before = self._recorded
        with subprocess.Popen(
            [manager, "--role", "overhead-manager", self._server.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as playing:
            pipes: Any = playing
            assert pipes.stdout.readline() == "streaming\n"
            self.attached = True
            yield
            assert telemetry.flush(TIMEOUT)
            pipes.stdin.write(f"received {self._recorded - before}\n")
            pipes.stdin.flush()
            received = int(pipes.stdout.readline())
            assert received == self._recorded - before, (received, self._recorded - before)
        self._wait_for_clients(0)
        self.attached = False
        self._queued = 0
        self._elsewhere += received

    def close(self) -> str:
        """Check that all that was recorded has arrived; says what was checked."""
        self.attach()
        events, total = self.detach()
        stats = telemetry.stats()
        assert not any(stats["dropped"].values()), stats
        assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats
        assert stats["accepted"] == stats["sent"] + stats["queued"], stats
        assert stats["queued"] == 0, stats
        assert events + self._elsewhere == self._recorded == stats["emitted"], (events, self._recorded, stats)
        assert total == self._sum, (total, self._sum)
        self._manager.communicate()
        telemetry.shutdown()
        self._directory.cleanup()
        return f"{self._recorded} events: all arrived, sum of a measurement equal on both ends, ledger balanced"

    def _order(self, line: str) -> list[int]:
        """Give the manager a command and wait until it is done."""
        pipes: Any = self._manager
        pipes.stdin.write(line + "\n")
        pipes.stdin.flush()
        return [int(word) for word in pipes.stdout.readline().split()]

    def _wait_for_clients(self, clients: int) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self._server.clients != clients:
            assert time.monotonic() < deadline, f"{self._server.clients} clients instead of {clients}"
            time.sleep(0.0005)
