"""`python -m telemetry_py`: what it says, and its exit status."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys

import pytest
from acceptor import Acceptor, frame
from manager import PATIENCE


@pytest.fixture
def command():
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "telemetry_py", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


def test_help_is_there_for_everything(command):
    for arguments in ((), ("doctor",), ("tail",), ("emit",)):
        result = command(*arguments, "--help")
        assert result.returncode == 0 and "usage: python -m telemetry_py" in result.stdout, result.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("cook",), ("emit",), ("emit", "a.b", "novalue"), ("doctor", "--timeout", "0"), ("doctor", "--manager", "m.sock"), ("tail", "unix:m.sock"), ("tail", "127.0.0.1:x"), ("tail", "https://h:1")],
)
def test_a_wrong_command_line_is_status_2_and_short(command, arguments):
    result = command(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert "Traceback" not in result.stderr and 0 < len(result.stderr) < 600, result.stderr


def test_doctor_says_what_is_from_where_and_that_it_works(command, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = command("doctor", TELEMETRY_MANAGER=manager.address, TELEMETRY_WORKER_ID="w-1")
        assert result.returncode == 0, result.stdout + result.stderr
        for said in (f"TELEMETRY_MANAGER={manager.address}  (variable)", "TELEMETRY_WORKER_ID=w-1", "a manager answered", "telemetry works", "_native"):
            assert said in result.stdout, result.stdout
        assert manager.introductions.get(timeout=PATIENCE)["worker"] == "w-1"
        result = command("doctor", "--json", "--manager", manager.address, TELEMETRY_MANAGER="unix:/not/this.sock")
        assert result.returncode == 0, result.stdout
        report = json.loads(result.stdout)
        sources = {it["variable"]: (it["value"], it["source"]) for it in report["settings"]}
        assert sources["TELEMETRY_MANAGER"] == (manager.address, "argument")
        assert sources["TELEMETRY_MAX_BUFFER"] == (None, "default")
        assert report["native"]["loaded"] and os.path.samefile(report["python"]["executable"], sys.executable)
        assert report["backend"] == "connect" and report["status"] == 0


def test_doctor_says_why_there_is_no_connection(command, tmp_path):
    gone = command("doctor", TELEMETRY_MANAGER=f"unix:{tmp_path}/none.sock")
    assert gone.returncode == 2 and "nothing is there" in gone.stdout, gone.stdout
    refusal = frame({"answer": "refused", "reason": "no such pool"})
    with Acceptor(tmp_path / "refuses", refusal) as manager:
        result = command("doctor", TELEMETRY_MANAGER=manager.address)
        assert result.returncode == 2 and "no such pool" in result.stdout, result.stdout
    with Acceptor(tmp_path / "silent", None) as manager:
        result = command("doctor", "--timeout", "0.5", TELEMETRY_MANAGER=manager.address)
        assert result.returncode == 2 and "no answer within 0.5 s" in result.stdout, result.stdout


def test_doctor_names_a_socket_that_nobody_listens_at(command, tmp_path):
    directory = tmp_path / "m"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(directory / "manager.sock"))
    result = command("doctor", TELEMETRY_MANAGER=f"unix:{directory}/manager.sock")
    assert result.returncode == 2 and "nobody listens there" in result.stdout, result.stdout


def test_doctor_names_what_is_wrong_and_unknown(command):
    result = command("doctor", TELEMETRY_BACKEND="stderr", TELEMETRY_MAX_BUFFER="many", TELEMETRY_POLO="x")
    assert result.returncode == 1
    for said in ('TELEMETRY_MAX_BUFFER="many" is not allowed', "did you mean TELEMETRY_POOL?", "make StderrBackend: it can be made"):
        assert said in result.stdout, result.stdout
    assert result.stderr == ""


def test_doctor_says_that_nothing_is_configured_or_wanted(command):
    result = command("doctor")
    assert result.returncode == 1 and "set TELEMETRY_MANAGER" in result.stdout
    result = command("doctor", TELEMETRY_DISABLED="1")
    assert result.returncode == 0 and "backend       none" in result.stdout, result.stdout


def test_doctor_leaves_an_address_alone(command, tmp_path):
    result = command("doctor", TELEMETRY_ADDRESS=f"unix:{tmp_path}/w.sock")
    assert result.returncode == 0 and "the address is free" in result.stdout, result.stdout
    assert list(tmp_path.iterdir()) == []
    result = command("doctor", TELEMETRY_ADDRESS=f"unix:{tmp_path}/none/w.sock")
    assert result.returncode == 2 and f"{tmp_path}/none is not there" in result.stdout, result.stdout


def test_emit_sends_one_event_and_says_so(command, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = command("emit", "tool.result_size", "bytes=512", "-m", "tool=search", "--correlation-id", "order-1", TELEMETRY_MANAGER=manager.address)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"tool.result_size was sent to {manager.address}")
        assert "/api/quarantine" in result.stdout and "telemetry quarantine" not in result.stdout
        assert manager.names(1) == ["tool.result_size"]


def test_emit_writes_what_it_is_told(command):
    result = command("emit", "a.b", "n=1", "f=2.5", "--metadata", "k=v", "-m", "t=x=y", "--correlation-id", "order-1", TELEMETRY_BACKEND="stderr")
    assert result.returncode == 0 and "delivered to stderr" in result.stdout
    line = json.loads(result.stderr.removeprefix("TELEMETRY:"))
    del line["timestamp_ns"]
    assert line == {"event": "a.b", "measurements": {"n": 1, "f": 2.5}, "metadata": {"k": "v", "t": "x=y"}, "correlation_id": "order-1"}


@pytest.mark.parametrize("entry", ["tool=search", "bytes=", "bytes=5 MB", "bytes=nan", "bytes=-inf"])
def test_emit_refuses_a_measurement_that_is_no_number(command, entry):
    result = command("emit", "a.b", "n=1", entry, TELEMETRY_BACKEND="stderr")
    assert (result.returncode, result.stdout) == (2, "") and "TELEMETRY:" not in result.stderr, result.stderr
    assert repr(entry) in result.stderr and f"-m {shlex.quote(entry)}" in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({}, 2, "set TELEMETRY_MANAGER"),
        ({"TELEMETRY_MANAGER": "unix:/not/there.sock"}, 1, "No such file"),
        ({"TELEMETRY_BACKEND": "memory", "TELEMETRY_DENY": "a.*"}, 1, "filtered"),
        ({"TELEMETRY_BACKEND": "none"}, 2, "set TELEMETRY_MANAGER"),
    ],
)
def test_emit_says_why_it_was_not_sent(command, environment, status, said):
    result = command("emit", "a.b", **environment)
    assert (result.returncode, result.stdout) == (status, "") and said in result.stderr, result.stderr


def test_emit_names_an_invalid_name(command, tmp_path):
    result = command("emit", "not a name", TELEMETRY_BACKEND="memory")
    assert result.returncode == 1 and "invalid_name" in result.stderr


def test_tail_says_that_nothing_listens(command):
    result = command("tail", "127.0.0.1:9")
    assert result.returncode == 2 and "nothing listens there" in result.stderr
    result = command("tail", "unix:/not/this.sock")
    assert result.returncode == 2 and "No such file" in result.stderr


def test_tail_says_what_is_wrong_with_a_token_file_and_not_what_is_in_it(command, tmp_path):
    file = tmp_path / "token"
    file.write_text("my secret\n")
    for path, said in (file, "no token in it"), (tmp_path / "nowhere", "No such file"):
        result = command("tail", "127.0.0.1:9", "--token-file", str(path))
        assert result.returncode == 2 and said in result.stderr and str(path) in result.stderr
        assert "secret" not in result.stderr
