"""`configure`: settings from the program, in the place of variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import telemetry_py as telemetry
from acceptor import Acceptor
from telemetry_py._configure import SETTINGS
from telemetry_py._loader import native

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _as_before():
    yield
    telemetry.configure(**dict.fromkeys(SETTINGS))


def source(variable):
    (found,) = [(value, source) for name, value, source in native.settings()[0] if name == variable]
    return found


def test_every_variable_has_a_setting():
    sources = ROOT / "src/settings.rs", ROOT / "../telemetry-client/src/config/env.rs"
    named = set(re.findall(r'"(TELEMETRY_[A-Z_]+[A-Z])"', "".join(source.read_text() for source in sources)))
    # One of a manager that this process starts.
    assert named - {"TELEMETRY_LOG"} == set(SETTINGS.values())


def test_it_wins_over_the_variable_and_gives_way_to_it_again(monkeypatch):
    monkeypatch.setenv("TELEMETRY_EXIT_TIMEOUT_MS", "700")
    assert source("TELEMETRY_EXIT_TIMEOUT_MS") == ("700", "variable")
    telemetry.configure(exit_timeout_ms=10)
    telemetry.configure(strict=True)
    assert source("TELEMETRY_EXIT_TIMEOUT_MS") == ("10", "configure")
    telemetry.configure(exit_timeout_ms=None)
    assert source("TELEMETRY_EXIT_TIMEOUT_MS") == ("700", "variable")
    monkeypatch.delenv("TELEMETRY_EXIT_TIMEOUT_MS")
    assert source("TELEMETRY_EXIT_TIMEOUT_MS") == (None, "default")
    assert source("TELEMETRY_STRICT") == ("1", "configure")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sampling_rate", 1.5, "from 0 to 1"),
        ("sampling_rate", float("nan"), "from 0 to 1"),
        ("sampling_patterns", {"a.*": 2}, "rates from 0 to 1"),
        ("max_buffer", 0, "from 1 to"),
        ("max_buffer", -1, "from 1 to"),
        ("overflow", "block", "drop_newest or drop_oldest"),
        ("backend", "kafka", "none, connect, server, stderr, memory, grpc, otel, statsd"),
        ("backend", ["connect", "server"], "no more than one of connect and server"),
        ("manager", "m.sock", "unix:/path/to/manager.sock"),
        ("address", "somewhere", "unix:/path/to.sock"),
        ("on_fork", "explode", "reset, restart or disable"),
        ("exit_timeout_ms", 1.5, "milliseconds"),
        ("batch_delay_ms", "soon", "milliseconds"),
        ("manager_uid", "www-data", "the number of a user"),
        ("strict", "maybe", "1, true, yes, on"),
        ("disabled", 2, "1, true, yes, on"),
    ],
)
def test_a_wrong_value_names_the_setting_the_value_and_the_choices(name, value, said):
    with pytest.raises(ValueError) as caught:
        telemetry.configure(worker_id="w-1", **{name: value})
    text = str(caught.value)
    assert f"configure: {name}=" in text and said in text
    # All of a call or nothing, also where everything else is off.
    assert source("TELEMETRY_WORKER_ID") == (None, "default")
    with pytest.raises(ValueError):
        telemetry.configure(**{"disabled": True, name: value})


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"configure: .*deny"):
        telemetry.configure(deny=["["])


@pytest.mark.parametrize(
    ("name", "value"),
    [("backend", telemetry.MemoryBackend()), ("max_buffer", [1]), ("allow", ["a,b"]), ("allow", [1]), ("worker_id", b"w"), ("sampling_rate", {"a": 1})],
)
def test_a_wrong_type_is_refused(name, value):
    with pytest.raises(TypeError, match=f"configure: {name}="):
        telemetry.configure(**{name: value})


def test_a_wrong_name_is_refused_with_the_one_that_was_meant():
    with pytest.raises(TypeError, match="'maneger' is no setting; expected 'manager'"):
        telemetry.configure(maneger="unix:/m.sock")
    with pytest.raises(TypeError, match="expected one of address, allow"):
        telemetry.configure(quite_else=1)
    with pytest.raises(TypeError):
        telemetry.configure("unix:/m.sock")


def test_a_program_can_say_all_that_the_environment_can(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            f"""
            import telemetry_py as telemetry
            telemetry.configure(manager=["unix:/nowhere/m.sock", {manager.address!r}], worker_id="w-1", pool="p")
            telemetry.configure(deny=["secret.*", "other.*"], sampling_patterns={{"rare.*": 0}})
            telemetry.start()
            for name in ("secret.event", "rare.event", "a.b"):
                telemetry.emit(name)
            import time
            while not telemetry.stats()["clients"]:  # The first address is tried, then the other.
                time.sleep(0.001)
            assert telemetry.flush(30)
            stats = telemetry.stats()
            assert stats["dropped"] == {{"filtered": 1, "sampled_out": 1}} and stats["sent"] == 1, stats
            """,
            TELEMETRY_WORKER_ID="of-the-environment",
            TELEMETRY_MANAGER="unix:/not/this.sock",
        )
        assert result.returncode == 0, result.stderr
        who, name = manager.next()
        assert name == "a.b" and who["worker"] == "w-1" and who["pool"] == "p", who


def test_while_telemetry_runs_little_may_change(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            f"""
            import telemetry_py as telemetry
            telemetry.connect({manager.address!r})
            for name, value in dict(max_buffer=5, sampling_rate=0.5, worker_id="w", manager="unix:/m.sock", disabled=True).items():
                try:
                    telemetry.configure(**{{name: value}})
                except RuntimeError as error:
                    assert f"configure: {{name}} cannot change while telemetry is connected" in str(error), error
                else:
                    raise AssertionError(name)
            telemetry.configure(exit_timeout_ms=5, on_fork="disable", strict=False)
            telemetry.emit("a.b")
            import os
            child = os.fork()
            if not child:
                telemetry.emit("of.child")
                os._exit(telemetry.stats()["emitted"])
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            telemetry.shutdown(30)
            telemetry.configure(max_buffer=5, worker_id="w")
            """
        )
        assert result.returncode == 0, result.stderr


def test_after_the_first_event_the_queue_is_made_and_the_rest_may_change(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.emit("a.b")
        try:
            telemetry.configure(overflow="drop_oldest")
        except RuntimeError as error:
            assert "queue" in str(error)
        else:
            raise AssertionError
        telemetry.configure(deny="secret.*")
        telemetry.emit("secret.event")
        assert telemetry.stats()["dropped"] == {"filtered": 1}, telemetry.stats()
        telemetry.configure(deny=None)
        telemetry.emit("secret.event")
        assert telemetry.stats()["queued"] == 2
        """
    )
    assert result.returncode == 0, result.stderr


def test_it_can_turn_telemetry_off_and_on(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.configure(disabled=True)
        telemetry.emit("a.b")
        assert telemetry.stats()["emitted"] == 0 and not telemetry.is_enabled()
        telemetry.configure(disabled=False, backend="memory")
        telemetry.emit("a.b")
        assert telemetry.stats()["delivered"] == 1
        telemetry.configure(disabled=True)
        telemetry.emit("a.b")
        assert telemetry.stats()["emitted"] == 1
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("own", "others", "expected"), [("0", "true", 1), ("1", "false", 0), ("", "true", 0)])
def test_our_own_switch_wins_over_that_of_opentelemetry(python, own, others, expected):
    result = python(
        "import telemetry_py as telemetry; telemetry.emit('a.b'); print(telemetry.stats()['emitted'])",
        TELEMETRY_DISABLED=own,
        OTEL_SDK_DISABLED=others,
    )
    assert result.stdout == f"{expected}\n", result.stderr


def test_an_empty_text_is_a_default_and_not_the_variable(monkeypatch):
    monkeypatch.setenv("TELEMETRY_DENY", "a.*")
    telemetry.configure(deny="")
    assert source("TELEMETRY_DENY") == (None, "configure")


def test_an_argument_of_connect_wins(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            f"""
            import telemetry_py as telemetry
            telemetry.configure(manager="unix:/nowhere/m.sock")
            telemetry.connect({manager.address!r})
            telemetry.emit("a.b")
            assert telemetry.flush(30)
            """
        )
        assert result.returncode == 0, result.stderr
        assert manager.names(1) == ["a.b"]
