"""A program under test: a command with everything that it starts, and requests to it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from patience import PATIENCE, until
from processes_seen import Process, of_session

PROGRAMS = Path(__file__).parent / "programs"

OWN_THREADS = ["telemetry", "telemetry-poll"]
"""The threads of a process that is connected."""


class Program:
    """A command in a session of its own, in the directory of the programs or another one."""

    def __init__(self, directory: Path, *arguments: str, cwd: Path = PROGRAMS, **environment: str) -> None:
        self.output = directory / f"output-{len(list(directory.glob('output-*')))}"
        """Where its output goes."""
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                arguments,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    def family(self) -> list[Process]:
        """It, and what it started."""
        return of_session(self.process.pid)

    def said(self) -> str:
        """The end of its output."""
        return self.output.read_text()[-4000:]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Asks it to end, and waits until it and all it started have; returns its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Waits until it and all it started have ended; returns its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.process.args} does not end:\n{self.said()}") from None
        until(lambda: not self.family(), lambda: f"left behind: {[p.command() for p in self.family()]}")
        return code

    def check_processes(self) -> None:
        """No process waits to be buried, and each that is connected has the two threads of telemetry."""
        until(
            lambda: all(process.state != "Z" for process in self.family()),
            lambda: f"zombies: {self.family()}",
        )
        until(
            lambda: all(process.own_threads() in ([], OWN_THREADS) for process in self.family()),
            lambda: f"threads: {[(process.pid, process.threads()) for process in self.family()]}",
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.family():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(PATIENCE)


class WebClient(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(path: Path) -> int:
    """One request on a connection of its own; returns the process that answered."""
    client = WebClient(path)
    try:
        client.request("GET", "/", headers={"Connection": "close"})
        answer = client.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return int(body)
    finally:
        client.close()


def requests(path: Path, number: int) -> list[int]:
    """So many requests, several at once; returns the processes that answered."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: request(path), range(number)))


def when_up(path: Path, said: Callable[[], str]) -> int:
    """The first request that is answered; what the server `said` if none is."""

    def look() -> int | None:
        try:
            return request(path)
        except (OSError, http.client.HTTPException):
            return None

    return until(look, said)


def requests_to_all(path: Path, workers: int, at_least: int) -> list[int]:
    """Requests until so many processes have answered, and so many requests were."""
    answered: list[int] = []

    def look() -> bool:
        answered.extend(requests(path, 8))
        return len(set(answered)) >= workers and len(answered) >= at_least

    until(look, lambda: f"only {set(answered)} answered, {workers} should")
    return answered


def requests_for(path: Path, seconds: float) -> list[int]:
    """Requests for so long, several at once."""
    answered: list[int] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answered.extend(requests(path, 200))
    return answered
