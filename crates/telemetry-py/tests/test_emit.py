"""What `emit` takes, and that nothing it is given gets out as an exception."""

from __future__ import annotations

import enum
import gc
import threading

import pytest
import telemetry_py as telemetry


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Indexed:
    def __index__(self) -> int:
        return 7


class Floaty:
    def __float__(self) -> float:
        return 1.5


class Text(str):
    pass


class Number(enum.IntEnum):
    ONE = 1


def only(memory: telemetry.MemoryBackend) -> telemetry.backends.MemoryEvent:
    assert len(memory.events) == 1
    return memory.events[0]


def test_an_event_arrives_whole(memory):
    telemetry.emit("a.b", {"count": 1, "ratio": 0.5}, {"tool": "x"}, "id-1")
    assert only(memory) == ("a.b", {"count": 1, "ratio": 0.5}, {"tool": "x"}, "id-1")


def test_none_is_empty(memory):
    telemetry.emit("a.b", None, None, None)
    assert only(memory) == ("a.b", {}, {}, "")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (True, 1),
        (3, 3),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, float(2**63)),
        (1.25, 1.25),
        ("text", "text"),
        (Text("text"), "text"),
        (Number.ONE, 1),
        (Indexed(), 7),
        (Floaty(), 1.5),
        (None, "None"),
        (b"x", "x"),
        ([1], "[1]"),
        ("a\ud800b", "a\ufffdb"),
        (Broken(), "<unprintable Broken>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_measurements_become_numbers_or_text(memory, given, taken):
    telemetry.emit("a.b", {"key": given})
    value = only(memory).measurements["key"]
    assert value == taken
    assert type(value) is type(taken)


def test_an_integer_beyond_floats_is_the_largest_float(memory):
    telemetry.emit("a.b", {"key": 10**400})
    assert only(memory).measurements["key"] > 1e308
    assert telemetry.stats()["notes"]["coerced"] >= 1


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("text", "text"),
        (3, "3"),
        (-(2**63), str(-(2**63))),
        (2**70, str(2**70)),
        (True, "True"),
        (0.1, "0.1"),
        (None, "None"),
        ("\udcff", "\ufffd"),
        (Broken(), "<unprintable Broken>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_becomes_text(memory, given, taken):
    telemetry.emit("a.b", None, {"key": given})
    assert only(memory).metadata == {"key": taken}


def test_keys_that_are_no_text_become_text(memory):
    telemetry.emit("a.b", {1: 1, None: 2, "\ud800": 3, Broken(): 4}, {2.5: "x", ("t",): "y"})
    event = only(memory)
    assert event.measurements == {"1": 1, "None": 2, "\ufffd": 3, "<unprintable Broken>": 4}
    assert event.metadata == {"2.5": "x", "('t',)": "y"}


@pytest.mark.parametrize("rubbish", [1, "text", [("a", 1)], object(), b"", {1, 2}], ids=["int", "str", "list", "object", "bytes", "set"])
def test_what_is_no_mapping_counts_as_empty(memory, rubbish):
    telemetry.emit("a.b", rubbish, rubbish)
    assert only(memory)[:3] == ("a.b", {}, {})


def test_other_mappings_are_read(memory):
    import collections
    import types

    telemetry.emit("a.b", types.MappingProxyType({"a": 1}), collections.OrderedDict(b="c"))
    assert only(memory)[:3] == ("a.b", {"a": 1}, {"b": "c"})


def test_a_mapping_that_raises_counts_as_empty(memory):
    class Raising(dict):
        def items(self):
            raise ValueError("no items")

    telemetry.emit("a.b", Raising(a=1), {"b": "c"})
    assert only(memory)[:3] == ("a.b", {}, {"b": "c"})


@pytest.mark.parametrize("name", [None, 5, "", "a..b", "a b", "x." * 9, "\ud800", b"a.b"], ids=repr)
def test_an_invalid_name_is_counted_not_raised(memory, name):
    before = telemetry.stats()["dropped"].get("invalid_name", 0)
    telemetry.emit(name, {"count": 1})
    assert memory.events == []
    assert telemetry.stats()["dropped"]["invalid_name"] == before + 1


def test_a_dict_that_changes_while_it_is_read_is_read_as_it_was(memory):
    measurements = {}

    class Meddler:
        def __str__(self):
            measurements.clear()
            measurements.update({f"new{i}": i for i in range(1000)})
            gc.collect()
            return "meddled"

    measurements.update(a=1, b=Meddler(), c=3)
    telemetry.emit("a.b", measurements)
    assert only(memory).measurements == {"a": 1, "b": "meddled", "c": 3}


def test_a_dict_changed_by_another_thread_does_no_harm(memory):
    shared = {f"key{i}": i for i in range(8)}
    done = threading.Event()

    def change():
        i = 0
        while not done.is_set():
            shared[f"other{i % 20}"] = Text("x") if i % 3 else i
            shared.pop(f"other{(i + 7) % 20}", None)
            i += 1

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(2000):
        telemetry.emit("a.b", shared, shared)
    done.set()
    thread.join()
    assert len(memory.events) == 2000


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_goes_through(memory, error):
    class Interrupting:
        def __str__(self):
            raise error

    with pytest.raises(error):
        telemetry.emit("a.b", None, {"key": Interrupting()})
    telemetry.emit("a.b")
    assert memory.names() == ["a.b"]


def test_a_disabled_call_reads_no_argument():
    class Untouchable(dict):
        def items(self):
            raise KeyboardInterrupt

        __iter__ = keys = items

    telemetry.set_backend(None)
    telemetry.emit("a.b", Untouchable(a=1), Untouchable(b=2), object())


class Answering:
    """A backend that does what it is told."""

    def __init__(self, answer):
        self.answer = answer

    def emit(self, event, measurements, metadata, correlation_id):
        return self.answer()


def fail(error):
    def raises():
        raise error

    return raises


def dropped(reason):
    return telemetry.stats()["dropped"].get(reason, 0)


@pytest.mark.parametrize("told", [fail, lambda error: lambda: error], ids=["raised", "returned"])
def test_what_keeps_a_backend_from_an_event_is_counted_and_shown(told):
    telemetry.set_backend(Answering(told(RuntimeError("backend down"))))
    before, internal, delivered = dropped("backend_error"), dropped("internal_error"), telemetry.stats()["delivered"]
    telemetry.emit("a.b")
    assert dropped("backend_error") == before + 1
    assert dropped("internal_error") == internal
    assert telemetry.stats()["delivered"] == delivered
    assert telemetry.stats()["last_error"] == "RuntimeError: backend down"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_a_backend_must_not_swallow_goes_through_and_is_counted(error):
    telemetry.set_backend(Answering(fail(error())))
    before = dropped("backend_error")
    with pytest.raises(error):
        telemetry.emit("a.b")
    assert dropped("backend_error") == before + 1
    assert telemetry.stats()["last_error"] == error.__name__


@pytest.mark.parametrize("answer", [None, True, 0, "", [], "False"])
def test_only_false_itself_says_that_there_was_no_room(answer):
    telemetry.set_backend(Answering(lambda: answer))
    full, delivered = dropped("queue_full"), telemetry.stats()["delivered"]
    telemetry.emit("a.b")
    assert (dropped("queue_full"), telemetry.stats()["delivered"]) == (full, delivered + 1)
    telemetry.set_backend(Answering(lambda: False))
    telemetry.emit("a.b")
    assert (dropped("queue_full"), telemetry.stats()["delivered"]) == (full + 1, delivered + 1)


def test_there_is_no_last_error_at_first(python):
    result = python("import telemetry_py as t; t.emit('a.b'); assert t.stats()['last_error'] is None")
    assert result.returncode == 0, result.stderr


class Unprintable(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError(), "ValueError"),
        (ValueError("\x1b[2J\n"), r"ValueError: \u{001B}[2J\u{000A}"),
        (OSError(9, "no\ud800"), "OSError: [Errno 9] no\ufffd"),
        (ValueError("password=hunter2, user=me"), "ValueError: password=[redacted], user=me"),
        (ValueError("{'api_key': 'hunter2'}"), "ValueError: {'api_key': [redacted]"),
        (ValueError("authorization: Bearer hunter2"), "ValueError: authorization: [redacted] [redacted]"),
        (Unprintable(), "Unprintable: <unprintable Unprintable>"),
    ],
)
def test_the_last_error_is_fit_to_be_shown(error, shown):
    telemetry.set_backend(Answering(fail(error)))
    telemetry.emit("a.b")
    assert telemetry.stats()["last_error"] == shown


def test_the_last_error_is_short():
    telemetry.set_backend(Answering(fail(ValueError("x" * 100_000))))
    telemetry.emit("a.b")
    assert len(telemetry.stats()["last_error"]) <= 256


def test_a_full_memory_backend_says_so():
    backend = telemetry.MemoryBackend(limit=3)
    telemetry.set_backend(backend)
    full, delivered = dropped("queue_full"), telemetry.stats()["delivered"]
    for _ in range(5):
        telemetry.emit("a.b")
    assert (len(backend.events), backend.dropped) == (3, 2)
    assert (dropped("queue_full") - full, telemetry.stats()["delivered"] - delivered) == (2, 3)


def test_a_backend_that_emits_does_not_recurse():
    class Chatty:
        calls = 0

        def emit(self, event, measurements, metadata, correlation_id):
            self.calls += 1
            telemetry.emit("inner.event")

    backend = Chatty()
    telemetry.set_backend(backend)
    before = telemetry.stats()["dropped"].get("reentrant", 0)
    telemetry.emit("a.b")
    assert backend.calls == 1
    assert telemetry.stats()["dropped"]["reentrant"] == before + 1


def test_an_object_without_emit_is_refused():
    with pytest.raises(TypeError, match="emit"):
        telemetry.set_backend(object())


def test_secrets_do_not_reach_a_backend(memory):
    telemetry.emit("a.b", None, {"authorization": "Bearer x", "tool": "y"})
    assert only(memory).metadata == {"authorization": "[redacted]", "tool": "y"}


def test_long_text_is_cut_and_noted(memory):
    before = telemetry.stats()["notes"].get("truncated", 0)
    telemetry.emit("a.b", None, {"key": "é" * 5000})
    assert len(only(memory).metadata["key"].encode()) <= 1024
    assert telemetry.stats()["notes"]["truncated"] == before + 1


def test_the_ledger_balances(memory):
    for i in range(100):
        telemetry.emit("a.b" if i % 2 else "not valid", {"count": i})
    stats = telemetry.stats()
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())
    assert stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"]


def test_emit_from_a_finalizer(memory):
    class Emitting:
        def __del__(self):
            telemetry.emit("a.deleted")

    cycle = Emitting()
    cycle.self = cycle
    del cycle
    gc.collect()
    assert memory.names() == ["a.deleted"]


def test_keywords_and_positions_mean_the_same(memory):
    telemetry.emit(event="a.b", measurements={"a": 1}, metadata={"b": "c"}, correlation_id="d")
    assert only(memory) == ("a.b", {"a": 1}, {"b": "c"}, "d")


def test_a_backend_gets_what_the_wire_would(memory):
    before = telemetry.stats()["dropped"].get("too_many_fields", 0)
    telemetry.emit("a.b", {f"key{i}": i for i in range(33)})
    telemetry.emit("a.b", None, {f"key{i}": i for i in range(33)})
    assert memory.events == []
    assert telemetry.stats()["dropped"]["too_many_fields"] == before + 2
    telemetry.emit("a.b", {f"key{i}": i for i in range(32)}, None, "é" * 100)
    assert len(only(memory).measurements) == 32
    assert only(memory).correlation_id == "é" * 64
