"""The command of the package against a real manager: its events are seen, one is sent, all is well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from patience import PATIENCE, until
from place import Place
from real_manager import Manager

COMMAND = (sys.executable, "-m", "telemetry_py")


class Tail:
    """`tail` in a process of its own, once the manager has it as a viewer."""

    def __init__(self, manager: Manager, *arguments: str) -> None:
        before = _viewers(manager)
        self.process = subprocess.Popen(
            [*COMMAND, "tail", f"http://{manager.authority}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TELEMETRY_MANAGER": "unix:/not/needed.sock"},
            # A shell has the programs that it runs in the background ignore the signal, and so their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        until(lambda: _viewers(manager) > before, lambda: f"{self.process.poll()}")

    def line(self) -> str:
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.rstrip("\n")

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it had to say."""
        errors = self.process.communicate(timeout=PATIENCE)[1] if not self.process.stdout.closed else self.process.stderr.read()
        return self.process.wait(PATIENCE), errors

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()


def _viewers(manager: Manager) -> int:
    return sum(handler["id"].startswith("http-tap-") for handler in manager.get("/api/handlers"))


def emit(place: Place, manager: Manager, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "emit", *arguments], env=place.environment(manager), capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def manager(place: Place):
    with Manager(place.directory) as manager:
        yield manager


def test_what_emit_sends_is_what_tail_shows(place: Place, manager: Manager):
    with Tail(manager) as tail, Tail(manager, "--json", "--match", "*.apps.work") as as_json:
        sent = emit(place, manager, "apps.work", "-m", "tag=a b\n\x1b[31m", "--correlation-id", "order-1")
        assert sent.returncode == 0, sent.stderr
        assert f"sent to unix:{manager.socket}" in sent.stdout
        line = tail.line()
        while "apps.work" not in line:
            line = tail.line()
        assert "snakepit.python.apps.work" in line and "correlation_id=order-1" in line
        assert 'tag="a b' in line and "[31m" in line and line.isprintable()
        event = json.loads(as_json.line())
        assert event["name"] == "snakepit.python.apps.work" and event["metadata"]["tag"]
        for viewer in (tail, as_json):
            viewer.process.send_signal(signal.SIGINT)
            assert viewer.end() == (0, "")
    until(lambda: manager.arrived.total() == 1, manager.log)


def test_tail_ends_when_nobody_reads_it_though_nothing_comes(manager: Manager):
    with Tail(manager, "--match", "nothing.*") as tail:
        tail.process.stdout.close()
        assert tail.end() == (0, "")
    until(lambda: _viewers(manager) == 1, manager.log)


def test_tail_ends_with_its_manager(place: Place):
    with Manager(place.directory) as manager, Tail(manager, "--match", "nothing.*") as tail:
        assert manager.stop() == 0
        code, said = tail.end()
        assert code == 0 and "Traceback" not in said


def test_tail_reads_over_the_socket_and_shows_a_token_elsewhere(place: Place, manager: Manager):
    token = manager.run_dir / "token"
    ways = [f"unix:{manager.run_dir}/http.sock"], [f"http://{manager.authority}", "--token-file", str(token)]
    for way in ways:
        viewers = _viewers(manager)
        tail = subprocess.Popen([*COMMAND, "tail", *way, "--match", "*.apps.work"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            until(lambda: _viewers(manager) > viewers, manager.log)
            assert emit(place, manager, "apps.work", "-m", "tag=x").returncode == 0
            assert "apps.work" in tail.stdout.readline()
        finally:
            tail.kill()
            tail.wait(PATIENCE)
            tail.stdout.close()


def test_tail_says_what_a_manager_refuses(manager: Manager):
    result = subprocess.run([*COMMAND, "tail", manager.authority, "--match", "["], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2 and "[" in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_doctor_reaches_the_manager(place: Place, manager: Manager):
    result = subprocess.run([*COMMAND, "doctor"], env=place.environment(manager), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stdout + result.stderr
    until(lambda: manager.get("/api/workers") == [], manager.log)
    assert manager.unknown() == 0, manager.totals()
