"""What a worker program really emitted, kept outside of telemetry.

A worker writes the name of each event into a file before it emits it; the test holds that against what
its manager received.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

from manager import PATIENCE, Manager, name_of

PRELUDE = """
import os, sys
import telemetry_py as telemetry
_truth = os.open({truth!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def emit(name, _write=os.write, _emit=telemetry.emit):
    _write(_truth, name.encode() + b"\\n")
    _emit(name)
def wait():
    assert sys.stdin.readline() == "go\\n"
def attached():
    import time
    while telemetry.stats()["clients"] == 0:
        time.sleep(0.001)
"""


class Worker:
    """A process that runs a program with `emit`, which keeps the truth, `wait` for our word, and
    `attached`, which waits for a manager: without one the end does not wait."""

    def __init__(self, directory: Path, program: str, **environment: str) -> None:
        self.truth = directory / "truth"
        file = directory / "program.py"
        file.write_text(PRELUDE.format(truth=str(self.truth)) + textwrap.dedent(program))
        self.process = subprocess.Popen(
            [sys.executable, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def line(self) -> str:
        """The next line that it prints."""
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.strip()

    def go(self) -> None:
        """Ends its `wait`."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Waits for its end; returns what it ended with."""
        _, self.errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def emitted(self) -> list[str]:
        """The truth: what it emitted, in order."""
        return self.truth.read_text().split("\n")[:-1]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def received(manager: Manager) -> list[str]:
    """The names of what arrives until the stream ends; no event is missing before the last."""
    events = [event for event in manager.rest() if event.event_parts]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [name_of(event) for event in events]


def same(one: list[str], other: list[str]) -> bool:
    """Whether two lists hold the same, in any order."""
    return Counter(one) == Counter(other)
