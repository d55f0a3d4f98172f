"""Names that the manager does not take, as a program learns of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import telemetry_py as telemetry
from manager import PATIENCE, Manager


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_names_that_are_not_taken_are_said_once(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with telemetry.serve(f"unix:{directory}/worker.sock") as server, Manager(server.address) as manager:
        telemetry.emit("inferense.start")
        manager.until("inferense.start")
        assert telemetry.stats()["rejected"] == {}
        for _ in range(2):
            manager.reject(inferense_start="inference.start")
            manager.reject(own_name="")
        wait(lambda: len(telemetry.stats()["rejected"]) == 2)
        assert telemetry.stats()["rejected"] == {"inferense.start": "inference.start", "own.name": None}
        for _ in range(3):
            telemetry.emit("inferense.start")
            telemetry.emit("own.name")
    said = capfd.readouterr().err.splitlines()
    assert said == [
        "telemetry: 'inferense.start' is not in the manager's catalog; did you mean 'inference.start'?",
        "telemetry: 'own.name' is not in the manager's catalog",
    ]


def test_what_is_no_name_is_not_said(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with telemetry.serve(f"unix:{directory}/worker.sock") as server, Manager(server.address) as manager:
        manager.reject(**{"a\x1b[2J": "b", "": "", "other_name": "c\nd"})
        wait(lambda: len(telemetry.stats()["rejected"]) == 1)
        telemetry.emit("other.name")
    assert capfd.readouterr().err == "telemetry: 'other.name' is not in the manager's catalog\n"
