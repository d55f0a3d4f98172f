"""The environment: strict where it is configured, silent where it is used."""

from __future__ import annotations

import pytest
import telemetry_py as telemetry


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TELEMETRY_BACKEND", "kafka", "none, server, stderr, memory"),
        ("TELEMETRY_BACKEND", "server,stderr", "none, server, stderr, memory"),
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
def test_an_error_names_variable_value_and_choices(monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError) as caught:
        telemetry.serve()
    text = str(caught.value)
    assert variable in text
    assert value in text
    assert expected in text


def test_an_invalid_pattern_is_refused(monkeypatch):
    monkeypatch.setenv("TELEMETRY_DENY", "[")
    with pytest.raises(ValueError, match="deny"):
        telemetry.serve()


@pytest.mark.parametrize("address", ["localhost", "tcp://x", "unix:", "127.0.0.1"])
def test_an_invalid_address_is_refused(address):
    with pytest.raises(ValueError, match="address"):
        telemetry.serve(address)


def test_an_unusable_address_is_an_os_error():
    with pytest.raises(OSError):
        telemetry.serve("unix:/proc/no/such.sock", timeout=0)


def test_an_address_beyond_loopback_is_refused():
    with pytest.raises(OSError, match="loopback"):
        telemetry.serve("0.0.0.0:0", timeout=0)


def test_an_invalid_environment_does_not_disturb_emit(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.emit("a.b")
        with telemetry.span("op"):
            pass
        assert not telemetry.is_enabled()
        """,
        TELEMETRY_BACKEND="kafka",
    )
    assert result.returncode == 0, result.stderr


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
        assert server.address.startswith("127.0.0.1:")
