"""What a manager has acknowledged is nobody else's any more; the rest is, when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from patience import until
from place import Place
from real_manager import Manager

PROGRAMS = Path(__file__).parent / "programs"
EVENTS = 20


def test_a_successor_gets_nothing_that_a_killed_manager_had_acknowledged(place: Place) -> None:
    with Manager(place.directory) as first:
        command = [sys.executable, "acknowledged.py"]
        environment = place.environment(first)
        with subprocess.Popen(command, cwd=PROGRAMS, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            assert program.stdin and program.stdout
            assert program.stdout.readline() == b"first\n"
            until(lambda: first.arrived.total() == EVENTS, lambda: place.tell(first))
            first.process.kill()
            first.process.wait()
            program.stdin.write(b"\n")
            program.stdin.flush()
            with Manager(place.directory) as second:
                assert program.stdout.readline() == b"second\n"
                program.stdin.write(b"\n")
                program.stdin.flush()
                assert program.wait() == 0
                until(lambda: first.arrived + second.arrived == place.truth(), lambda: place.tell(second))
                assert second.arrived.total() == EVENTS


def test_what_was_flushed_with_an_acknowledgement_is_dispatched(place: Place) -> None:
    script = (
        "import os, telemetry_py as telemetry; from witness import work\n"
        "telemetry.start()\n"
        "for _ in range(500): work()\n"
        "assert telemetry.flush(30, acknowledged=True)\n"
        "os._exit(0)"
    )
    with Manager(place.directory) as manager:
        for _ in range(10):
            with place.program(manager, "python", "-c", script, PYTHONPATH=os.fspath(PROGRAMS)) as program:
                assert program.wait() == 0, program.said()
        assert place.truth().total() == 5_000
        place.check_all_arrived(manager)
