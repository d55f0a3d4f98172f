"""Workers of other machines: certificates of `telemetry tls init`, a port of the real manager, nothing but variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE
from place import Place
from real_manager import Manager

ACCEPT = """
[tls]
cert = "{certificates}/manager.pem"
key = "{certificates}/manager.key"
client_ca = "{certificates}/ca.pem"
[accept]
listen = "127.0.0.1:0"
"""


def certificates(place: Place, *workers: str, hosts: tuple[str, ...] = ()) -> Path:
    """Those of a manager on this machine, or under these names, and of workers."""
    into = place.directory / "certificates"
    named = [argument for worker in workers for argument in ("--worker", worker)]
    named += [argument for host in hosts for argument in ("--host", host)]
    command = [os.environ["APPS_COMMAND"], "tls", "init", str(into), *named]
    made = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert made.returncode == 0, made.stderr
    assert oct((into / "ca.key").stat().st_mode & 0o777) == "0o600"
    return into


def port(manager: Manager, begins: str = "127.") -> str:
    """The address at which workers of other machines dial in."""
    for line in manager.process.stdout:
        if line.startswith(f"workers dial in at {begins}"):
            return line.split()[-1]
    raise AssertionError(manager.log())


def variables(into: Path, worker: str, address: str) -> dict[str, str]:
    return {
        "TELEMETRY_MANAGER": address,
        "TELEMETRY_TLS_CA": str(into / "ca.pem"),
        "TELEMETRY_TLS_CERT": str(into / f"{worker}.pem"),
        "TELEMETRY_TLS_KEY": str(into / f"{worker}.key"),
        "TELEMETRY_EXIT_TIMEOUT_MS": "10000",
    }


def test_a_script_of_another_machine_loses_nothing(place: Place) -> None:
    into = certificates(place, "web-1")
    with Manager(place.directory, ACCEPT.format(certificates=into)) as manager:
        environment = variables(into, "web-1", port(manager))
        for _ in range(5):
            with place.program(None, "python", "script.py", "20", **environment) as script:
                assert script.wait() == 0, script.said()
                assert script.said() == ""
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        assert {worker.split(":")[0] for worker in manager.workers} == {"web-1"}, manager.workers


def test_forked_children_dial_in_by_themselves(place: Place) -> None:
    into = certificates(place, "web-1")
    with Manager(place.directory, ACCEPT.format(certificates=into)) as manager:
        environment = variables(into, "web-1", port(manager))
        with place.program(None, "python", "processes.py", "process", "fork", "10", **environment) as program:
            assert program.wait() == 0, program.said()
        place.check_all_arrived(manager)
        assert all(worker.startswith("web-1:") for worker in manager.workers), manager.workers


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ({"TELEMETRY_TLS_CERT": "", "TELEMETRY_TLS_KEY": ""}, "set cert and key"),
        ({"TELEMETRY_TLS_SERVER_NAME": "elsewhere.example"}, 'is not for "elsewhere.example" but for'),
        ({"TELEMETRY_TLS_CA": ""}, "TELEMETRY_TLS_CA"),
    ],
)
def test_doctor_says_why_there_is_no_connection(place: Place, spoiled: dict[str, str], said: str) -> None:
    into = certificates(place, "web-1")
    with Manager(place.directory, ACCEPT.format(certificates=into)) as manager:
        environment = place.environment(None, **{**variables(into, "web-1", port(manager)), **spoiled})
        asked = subprocess.run(
            ["python", "-m", "telemetry_py", "doctor"], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert asked.returncode != 0 and said in asked.stdout + asked.stderr, asked.stdout + asked.stderr
        assert not manager.workers


def test_doctor_finds_nothing_wrong_with_what_is_right(place: Place) -> None:
    into = certificates(place, "web-1")
    with Manager(place.directory, ACCEPT.format(certificates=into)) as manager:
        environment = place.environment(None, **variables(into, "web-1", port(manager)))
        asked = subprocess.run(
            ["python", "-m", "telemetry_py", "doctor"], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert asked.returncode == 0 and "telemetry works" in asked.stdout, asked.stdout + asked.stderr
