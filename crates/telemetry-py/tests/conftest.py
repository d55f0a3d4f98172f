"""Fixtures: telemetry that is off before and after each test, a memory backend, fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import telemetry_py as telemetry
from ledger import since
from taker import LOOKS, Taker, Worker


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in list(os.environ):
        if variable.startswith(("TELEMETRY_", "OTEL_")):
            monkeypatch.delenv(variable)
    # A machine that is busy with other things stalls any program, and that is an event.
    monkeypatch.setenv("TELEMETRY_STALL_MS", "0")
    yield
    telemetry.set_backend(None)


@pytest.fixture
def memory() -> telemetry.MemoryBackend:
    backend = telemetry.MemoryBackend()
    telemetry.set_backend(backend)
    return backend


@pytest.fixture
def ledger() -> Callable[[], dict[str, Any]]:
    """What was counted since the test began."""
    before = telemetry.stats()
    return lambda: since(before)


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a process of its own."""

    def run(program: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def beside_stock(python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[str], None]:
    """Runs a program that can import the small stock package, and expects it to succeed."""

    def run(program: str) -> None:
        result = python(program, PYTHONPATH=str(Path(__file__).parent / "stock"))
        assert result.returncode == 0, result.stderr

    return run


@pytest.fixture
def alone(python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[str], None]:
    """Runs a program that cannot."""

    def run(program: str) -> None:
        result = python(program)
        assert result.returncode == 0, result.stderr

    return run


@pytest.fixture
def roomy_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[telemetry.Server]:
    """A server with a queue that no test fills."""
    monkeypatch.setenv("TELEMETRY_MAX_BUFFER", "65536")
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with telemetry.serve(f"unix:{directory}/worker.sock") as server:
        yield server


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    taker = Taker(tmp_path)
    yield taker
    taker.close()


@pytest.fixture
def worker() -> Iterator[Callable[..., Worker]]:
    """Starts programs that are told what to do over their standard streams."""
    started: list[Worker] = []

    def start(program: str, **environment: str) -> Worker:
        program = LOOKS + textwrap.dedent(program)
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
