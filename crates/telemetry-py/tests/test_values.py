"""What values become that are no plain numbers or texts, and what of an exception is shown."""

from __future__ import annotations

import datetime
import enum
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath

import pytest
import telemetry_py as telemetry
from hostile import arrived

UTC = datetime.timezone.utc


class Color(enum.Enum):
    RED = 1
    NAME = "red"
    NESTED = ("a", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Mood(str, enum.Enum):
    GOOD = "good"


class Stamp(datetime.datetime):
    def __str__(self):
        return "not this"


CASES = [
    (datetime.timedelta(seconds=1, microseconds=5), 1_000_005_000, "0:00:01.000005"),
    (datetime.timedelta(days=-1), -86_400_000_000_000, "-1 day, 0:00:00"),
    (datetime.timedelta.max, float(datetime.timedelta.max // datetime.timedelta(microseconds=1) * 1000), str(datetime.timedelta.max)),
    (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00"),
    (Stamp(2026, 1, 2), "2026-01-02T00:00:00", "2026-01-02T00:00:00"),
    (datetime.date(2026, 1, 2), "2026-01-02", "2026-01-02"),
    (datetime.time(3, 4), "03:04:00", "03:04:00"),
    (Decimal("1.5"), 1.5, "1.5"),
    (Fraction(1, 4), 0.25, "1/4"),
    (Color.RED, 1, "Color.RED"),
    (Color.NAME, "red", "Color.NAME"),
    (Color.NESTED, "Color.NESTED", "Color.NESTED"),
    (Level.HIGH, 3, str(Level.HIGH)),
    (Mood.GOOD, "good", "good"),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007"),
    (PurePosixPath("/a/b"), "/a/b", "/a/b"),
    (b"caf\xc3\xa9 \xff", "café \ufffd", "café \ufffd"),
    (bytearray(b"ab"), "ab", "ab"),
    (True, 1, "True"),
    (None, "None", "None"),
]


@pytest.mark.parametrize(("value", "measured", "text"), CASES, ids=[f"{type(case[0]).__name__}-{i}" for i, case in enumerate(CASES)])
def test_a_value_becomes_what_it_stands_for(memory, value, measured, text):
    telemetry.emit("a.b", {"value": value}, {"value": value})
    (event,) = memory.events
    assert event.measurements["value"] == measured
    assert type(event.measurements["value"]) is type(measured)
    assert event.metadata["value"] == text


def test_on_the_wire_it_is_the_same(roomy_server):
    telemetry.emit("a.b", {"time": datetime.timedelta(seconds=2), "day": datetime.date(2026, 1, 2), "color": Color.RED})
    (event,) = arrived(roomy_server)
    assert event.measurements["time"].int_value == 2_000_000_000
    assert event.measurements["day"].string_value == "2026-01-02"
    assert event.measurements["color"].int_value == 1


def test_scalars_of_numpy_become_plain_ones(memory):
    numpy = pytest.importorskip("numpy")
    values = {
        "yes": numpy.bool_(True),
        "no": numpy.bool_(False),
        "int": numpy.int32(-5),
        "long": numpy.uint64(2**63),
        "float": numpy.float32(0.5),
        "double": numpy.float64(0.25),
        "single": numpy.array(7),
        "delta": numpy.timedelta64(3, "ms"),
        "time": numpy.datetime64("2026-01-02T03:04"),
    }
    telemetry.emit("a.b", values, {"yes": values["yes"]})
    (event,) = memory.events
    assert event.measurements == {
        "yes": 1,
        "no": 0,
        "int": -5,
        "long": float(2**63),
        "float": 0.5,
        "double": 0.25,
        "single": 7,
        "delta": 3_000_000,
        "time": "2026-01-02T03:04",
    }
    assert event.metadata == {"yes": "True"}
    assert type(event.measurements["yes"]) is int


def test_bytes_of_any_size_cost_little(memory):
    telemetry.emit("a.b", {}, {"body": bytes(50_000_000)})
    (event,) = memory.events
    assert len(event.metadata["body"]) == 1024


def test_a_hostile_time_is_text(memory):
    class Broken(datetime.datetime):
        def isoformat(self, *_):
            raise RuntimeError

        def __str__(self):
            return "broken"

    class Wrong(datetime.timedelta):
        days = property(lambda self: "many")

        def __str__(self):
            return "wrong"

    telemetry.emit("a.b", {"broken": Broken(2026, 1, 2), "wrong": Wrong(1)})
    assert memory.events[0].measurements == {"broken": "broken", "wrong": "wrong"}


def test_no_module_is_imported_for_a_value(python):
    result = python(
        """
        import sys, telemetry_py as telemetry
        class Odd:
            pass
        loaded = {"datetime", "enum", "numpy"} & set(sys.modules)
        for _ in range(2):
            telemetry.emit("a.b", {"odd": Odd()}, {"odd": Odd()})
        assert {"datetime", "enum", "numpy"} & set(sys.modules) == loaded
        import datetime
        telemetry.set_backend(memory := telemetry.MemoryBackend())
        telemetry.emit("a.b", {"delta": datetime.timedelta(seconds=1)})
        assert memory.events[-1].measurements == {"delta": 10**9}
        """
    )
    assert result.returncode == 0, result.stderr


def test_what_is_measured_is_not_replaced(memory):
    noted = telemetry.stats()["notes"].get("coerced", 0)
    with pytest.raises(ValueError):
        with telemetry.span("op", {"error_type": "mine", "tool": "x"}, measurements={"system_time": 1, "duration": 2}) as span:
            span.measure(duration=3, system_time=4)
            raise ValueError("real")
    start, end = memory.events
    assert start.measurements["system_time"] > 10**18
    assert start.measurements["system_time_given"] == 1 and start.measurements["duration"] == 2
    assert start.metadata == {"error_type": "mine", "tool": "x"}
    assert end.measurements["duration"] == span.elapsed_ns
    assert end.measurements["duration_given"] == 3 and end.measurements["system_time"] == 4
    assert end.metadata == {"error_type": "ValueError", "error_message": "real", "error_type_given": "mine", "tool": "x"}
    assert telemetry.stats()["notes"]["coerced"] == noted + 3


def test_on_the_wire_what_is_measured_is_not_replaced(roomy_server):
    with telemetry.span("op", measurements={"system_time": "mine"}) as span:
        span.measure(duration=-1)
    start, stop = arrived(roomy_server)
    assert start.measurements["system_time"].int_value > 10**18
    assert start.measurements["system_time_given"].string_value == "mine"
    assert stop.measurements["duration"].int_value == span.elapsed_ns
    assert stop.measurements["duration_given"].int_value == -1


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("login as ada password=hunter2 failed", "login as ada password=[redacted] failed"),
        ("401 for Bearer abcdef0123456789", "401 for Bearer [redacted]"),
        ("cannot reach postgres://ada:hunter2@db:5432/x", "cannot reach postgres://ada:[redacted]@db:5432/x"),
        ("key AKIAIOSFODNN7EXAMPLE is revoked", "key [redacted] is revoked"),
        ("no such tool: search", "no such tool: search"),
    ],
)
@pytest.mark.parametrize("way", ["raised", "recorded"])
def test_a_message_of_an_exception_tells_no_secret(memory, message, shown, way):
    noted = telemetry.stats()["notes"].get("redacted", 0)
    try:
        with telemetry.span("op") as span:
            if way == "raised":
                raise ConnectionError(message)
            span.record_exception(ConnectionError(message))
    except ConnectionError as error:
        assert str(error) == message
    assert memory.events[-1].metadata == {"error_type": "ConnectionError", "error_message": shown}
    assert telemetry.stats()["notes"].get("redacted", 0) == noted + (message != shown)


def raising(depth, message="deep"):
    if depth:
        raising(depth - 1, message)
    raise ValueError(message)


def test_a_traceback_is_recorded_on_request_and_its_innermost_frames_are_kept(memory):
    with pytest.raises(ValueError):
        with telemetry.span("op", record_stacktrace=True):
            raising(300)
    text = memory.events[-1].metadata["traceback"]
    lines = text.split("\n")
    assert 2 <= len(lines) <= 32 and len(text.encode()) <= 1024
    assert all(line.startswith(f'File "{__file__}", line ') and line.endswith("in raising") for line in lines)
    assert f"line {raising.__code__.co_firstlineno + 3}," in lines[-1]


def test_a_traceback_is_off_by_default_and_goes_with_what_is_recorded_by_hand(memory):
    for switch in (None, False, True):
        with telemetry.span("op", record_stacktrace=switch) as span:
            try:
                raising(0)
            except ValueError as error:
                span.record_exception(error)
        assert ("traceback" in memory.events[-1].metadata) is bool(switch)


def test_a_traceback_tells_no_secret(memory):
    code = compile("raise ValueError", "postgres://ada:hunter2@db/module.py", "exec")
    with pytest.raises(ValueError):
        with telemetry.span("op", record_stacktrace=True):
            exec(code)
    assert "hunter2" not in memory.events[-1].metadata["traceback"]
    assert "[redacted]" in memory.events[-1].metadata["traceback"]


def test_a_decorated_function_keeps_the_wish(memory):
    @telemetry.span("op", record_stacktrace=True)
    def work():
        raise ValueError

    with pytest.raises(ValueError):
        work()
    assert "in work" in memory.events[-1].metadata["traceback"]


@pytest.mark.parametrize(("value", "recorded"), [("1", True), ("off", False), ("maybe", False)])
def test_the_environment_asks_for_tracebacks(python, value, recorded):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.set_backend(memory := telemetry.MemoryBackend())
        for switch in (None, False):
            try:
                with telemetry.span("op", record_stacktrace=switch):
                    raise ValueError
            except ValueError:
                print("traceback" in memory.events[-1].metadata)
        """,
        TELEMETRY_RECORD_STACKTRACE=value,
    )
    assert result.stdout.split() == [str(recorded), "False"]
    assert ("TELEMETRY_RECORD_STACKTRACE" in result.stderr) is (value == "maybe"), result.stderr


def test_a_switch_without_truth_is_none_at_all(memory):
    class Unsure:
        def __bool__(self):
            raise RuntimeError

    with pytest.raises(ValueError):
        with telemetry.span("op", record_stacktrace=Unsure()):
            raise ValueError
    assert "traceback" not in memory.events[-1].metadata


def test_the_program_asks_for_tracebacks_while_it_runs(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.set_backend(memory := telemetry.MemoryBackend())
        for wish in (True, False, None):
            telemetry.configure(record_stacktrace=wish)
            try:
                with telemetry.span("op"):
                    raise ValueError
            except ValueError:
                print("traceback" in memory.events[-1].metadata)
        """
    )
    assert result.stdout.split() == ["True", "False", "False"], result.stderr
