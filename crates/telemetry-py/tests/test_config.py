"""The environment: told of where it is wrong, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import telemetry_py as telemetry
from manager import PATIENCE

WRONG = pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TELEMETRY_BACKEND", "kafka", "none, connect, server, stderr, memory"),
        ("TELEMETRY_BACKEND", "server,connect", "none, connect, server, stderr, memory"),
        ("TELEMETRY_DISABLED", "maybe", "1, true, yes, on, 0, false, no or off"),
        ("TELEMETRY_ADDRESS", "somewhere", "unix:/path/to.sock"),
        ("TELEMETRY_MAX_BUFFER", "0", "from 1 to"),
        ("TELEMETRY_MAX_BUFFER", "many", "from 1 to"),
        ("TELEMETRY_OVERFLOW", "block", "drop_newest or drop_oldest"),
        ("TELEMETRY_SAMPLING_RATE", "1.5", "from 0 to 1"),
        ("TELEMETRY_SAMPLING_RATE", "nan", "from 0 to 1"),
        ("TELEMETRY_SAMPLING_PATTERNS", "python.*", "glob=rate"),
        ("TELEMETRY_ON_FORK", "explode", "reset, restart or disable"),
        ("TELEMETRY_EXIT_TIMEOUT_MS", "-1", "milliseconds"),
        ("TELEMETRY_RESOURCE_INTERVAL_MS", "fast", "milliseconds"),
    ],
)


@WRONG
@pytest.mark.parametrize("call", ["start()", "connect()", "serve()", "set_backend(telemetry.ServerBackend())", "emit('a.b')"])
def test_what_is_wrong_is_said_once_and_has_its_default(python, variable, value, expected, call):
    result = python(
        f"""
        import telemetry_py as telemetry
        telemetry.emit("early.event")
        for _ in range(3):
            telemetry.{call}
        telemetry.emit("late.event")
        assert telemetry.stats()["queued"] >= 2, telemetry.stats()
        """,
        **{variable: value, "PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if variable in line and value in line]
    assert len(lines) == 1 and expected in lines[0] and lines[0].startswith("telemetry: "), result.stderr


@WRONG
@pytest.mark.parametrize("call", ["start", "connect", "serve"])
def test_in_strict_mode_an_error_names_variable_value_and_choices(monkeypatch, variable, value, expected, call):
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("TELEMETRY_STRICT", "1")
    with pytest.raises(ValueError) as caught:
        getattr(telemetry, call)()
    text = str(caught.value)
    assert variable in text
    assert value in text
    assert expected in text


def test_a_variable_that_nobody_knows_is_said_with_the_one_that_was_meant(python):
    program = "import telemetry_py as telemetry; telemetry.start(); telemetry.start()"
    result = python(program, TELEMETRY_MANGER="unix:/m.sock", TELEMETRY_QUITE_ELSE="1")
    assert result.returncode == 0
    meant, unknown, _nothing = result.stderr.splitlines()
    assert "TELEMETRY_MANGER" in meant and "did you mean TELEMETRY_MANAGER?" in meant
    assert "TELEMETRY_QUITE_ELSE" in unknown and "mean" not in unknown
    result = python(program, TELEMETRY_MANGER="unix:/m.sock", TELEMETRY_STRICT="1")
    assert result.returncode == 1 and "ValueError" in result.stderr


def test_an_invalid_pattern_is_refused(monkeypatch):
    monkeypatch.setenv("TELEMETRY_DENY", "[")
    monkeypatch.setenv("TELEMETRY_STRICT", "1")
    with pytest.raises(ValueError, match="deny"):
        telemetry.serve()


@pytest.mark.parametrize(
    "spoil",
    [
        "sys.stderr = None",
        "sys.stderr.close()",
        "os.close(2)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "read, write = os.pipe(); os.dup2(write, 2); os.close(read); signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
        # Nobody reads it, and it is full.
        "read, write = os.pipe(); os.set_blocking(write, False); fill(write); os.set_blocking(write, True); os.dup2(write, 2)",
        "sys.stderr = type('Broken', (), {'fileno': lambda self: 1 / 0, 'write': lambda self, text: 1 / 0, 'flush': lambda self: None})()",
    ],
)
def test_a_stderr_that_takes_nothing_does_no_harm(tmp_path, spoil):
    program = f"""
import os, signal, sys
def fill(pipe):
    try:
        while True:
            os.write(pipe, bytes(4096))
    except BlockingIOError:
        pass
{spoil}
import telemetry_py as telemetry
telemetry.start()
telemetry.emit("a.b")
print(telemetry.stats()["queued"])
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "TELEMETRY_MAX_BUFFER": "many"},
    )
    assert (result.returncode, result.stdout) == (0, "1\n")


def test_a_stderr_of_the_program_gets_the_lines(monkeypatch, capsys):
    monkeypatch.setenv("TELEMETRY_POLO", "x")
    with telemetry.serve():
        pass
    assert "TELEMETRY_POLO" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["localhost", "tcp://x", "unix:", "127.0.0.1"])
def test_an_invalid_address_is_refused(address):
    with pytest.raises(ValueError, match="address"):
        telemetry.serve(address)


def test_an_unusable_address_is_an_os_error():
    with pytest.raises(OSError):
        telemetry.serve("unix:/proc/no/such.sock")


@pytest.mark.parametrize("variable", ["TELEMETRY_ADDRESS", "TELEMETRY_MANAGER"])
@pytest.mark.parametrize("call", ["start", "serve"])
def test_an_unusable_address_of_the_environment_is_said(python, variable, call):
    # A port of a manager needs TLS; the other one can be reached from elsewhere.
    result = python(
        f"""
        import telemetry_py as telemetry
        for _ in range(2):
            telemetry.{call}()
        telemetry.emit("a.b")
        assert telemetry.stats()["queued"] == 1
        """,
        **{variable: "0.0.0.0:4317"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == 1 and "0.0.0.0:4317" in result.stderr, result.stderr


def test_an_address_beyond_loopback_is_refused():
    with pytest.raises(OSError, match="loopback"):
        telemetry.serve("0.0.0.0:0")


@pytest.mark.parametrize("variable", ["TELEMETRY_DISABLED", "OTEL_SDK_DISABLED"])
def test_disabled_wins(python, variable):
    result = python(
        """
        import telemetry_py as telemetry
        server = telemetry.serve()
        assert server.address == "" and server.clients == 0
        telemetry.emit("a.b")
        assert telemetry.stats()["emitted"] == 0
        assert server.close()
        """,
        **{variable: "true", "TELEMETRY_BACKEND": "server"},
    )
    assert result.returncode == 0, result.stderr


def test_the_environment_is_the_policy_until_a_manager_comes(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.serve()
        for name in ("secret.event", "rare.event", "other.event"):
            telemetry.emit(name)
        stats = telemetry.stats()
        assert stats["dropped"] == {"filtered": 1, "sampled_out": 1}, stats
        assert stats["queued"] == 1
        """,
        TELEMETRY_DENY="secret.*",
        TELEMETRY_SAMPLING_PATTERNS="rare.*=0",
    )
    assert result.returncode == 0, result.stderr


def test_with_a_server_backend_events_before_serve_wait(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.emit("early.event")
        telemetry.serve()
        assert telemetry.stats()["queued"] == 1
        """,
        TELEMETRY_BACKEND="server",
    )
    assert result.returncode == 0, result.stderr


def test_empty_means_unset(monkeypatch):
    for name in ("BACKEND", "ADDRESS", "MAX_BUFFER", "SAMPLING_RATE", "DENY", "DISABLED"):
        monkeypatch.setenv(f"TELEMETRY_{name}", "")
    with telemetry.serve() as server:
        assert server.address.startswith("unix:/")
