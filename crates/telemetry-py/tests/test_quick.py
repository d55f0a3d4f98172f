"""Events on their quick way into the queue, with inputs that want to throw them off it."""

from __future__ import annotations

import gc
import inspect

import pytest
import telemetry_py as telemetry
from hostile import Saying, Text, arrived
from manager import name_of


class Number(int):
    pass


class Mapping(dict):
    pass


def numbers(event):
    return {key: value.int_value or value.float_value or value.string_value for key, value in event.measurements.items()}


@pytest.mark.parametrize("at", range(4))
def test_an_entry_of_another_type_anywhere_changes_nothing_but_its_way(roomy_server, at):
    measurements = {f"m{i}": i + 1 for i in range(4)}
    measurements[f"m{at}"] = Number(at + 1)
    metadata = {f"d{i}": f"v{i}" for i in range(4)}
    metadata[f"d{at}"] = Text(f"v{at}")
    telemetry.emit("a.b", measurements, {f"d{i}": f"v{i}" for i in range(4)}, "id")
    telemetry.emit("a.b", {f"m{i}": i + 1 for i in range(4)}, metadata, "id")
    telemetry.emit(Text("a.b"), Mapping(measurements), Mapping(metadata), Text("id"))
    events = arrived(roomy_server)
    assert len(events) == 3
    for event in events:
        assert name_of(event) == "a.b"
        assert event.correlation_id == "id"
        assert numbers(event) == {"m0": 1, "m1": 2, "m2": 3, "m3": 4}
        assert dict(event.metadata) == {"d0": "v0", "d1": "v1", "d2": "v2", "d3": "v3"}


def test_values_at_the_edges_arrive(roomy_server):
    telemetry.emit("a.b", {"a": -(2**63), "b": 2**63 - 1, "c": 10**400, "d": 5e-324, "e": True, "\ud800": 1}, {"t": False, "n": -1, "f": 0.5})
    (event,) = arrived(roomy_server)
    assert event.measurements["a"].int_value == -(2**63)
    assert event.measurements["b"].int_value == 2**63 - 1
    assert event.measurements["c"].float_value > 1e308
    assert event.measurements["d"].float_value == 5e-324
    assert event.measurements["e"].int_value == 1
    assert event.measurements["\ufffd"].int_value == 1
    assert dict(event.metadata) == {"t": "False", "n": "-1", "f": "0.5"}


def test_a_number_that_is_none_is_counted(roomy_server):
    before = telemetry.stats()["dropped"].get("invalid_value", 0)
    for value in (float("nan"), float("inf")):
        telemetry.emit("a.b", {"key": value})
    assert arrived(roomy_server) == []
    assert telemetry.stats()["dropped"]["invalid_value"] == before + 2


def test_the_backend_can_be_replaced_in_the_midst_of_an_event(roomy_server):
    def replace():
        telemetry.set_backend(None)
        telemetry.set_backend(telemetry.MemoryBackend())
        telemetry.set_backend(telemetry.ServerBackend())
        gc.collect()
        return "replaced"

    for _ in range(10):
        telemetry.emit("a.b", {"m": 1}, {"first": "x", "key": Saying(replace), "last": "y"})
    events = arrived(roomy_server)
    assert [dict(event.metadata) for event in events] == [{"first": "x", "key": "replaced", "last": "y"}] * 10


def test_serving_anew_in_the_midst_of_an_event_does_no_harm(roomy_server, tmp_path):
    def renew():
        roomy_server.close(0)
        telemetry.serve()
        return "renewed"

    telemetry.emit("a.b", None, {"key": Saying(renew)})
    telemetry.emit("a.b", None, {"key": "after"})
    telemetry.shutdown()
    stats = telemetry.stats()
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())


def test_an_event_in_the_midst_of_an_event(roomy_server):
    def emit():
        for i in range(2_000):
            telemetry.emit(f"inner.e{i}", {"i": i}, {"key": "value"})
        return "outer"

    telemetry.emit("a.b", {"m": Saying(emit), "n": 1}, {"key": "kept"}, "id")
    *inner, outer = arrived(roomy_server)
    assert [name_of(event) for event in inner] == [f"inner.e{i}" for i in range(2_000)]
    assert (name_of(outer), numbers(outer), dict(outer.metadata)) == ("a.b", {"m": "outer", "n": 1}, {"key": "kept"})


def test_a_dict_that_changes_while_it_is_read_does_no_harm(roomy_server):
    metadata = {}

    def change():
        metadata.clear()
        metadata.update({f"other{i}": Text("x") for i in range(30)})
        gc.collect()
        return "changed"

    metadata.update(a="1", b=Saying(change), c="3")
    telemetry.emit("a.b", None, metadata)
    (event,) = arrived(roomy_server)
    assert dict(event.metadata) == {"a": "1", "b": "changed", "c": "3"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_goes_through_and_the_event_is_counted(roomy_server, error):
    def interrupt():
        raise error

    before = telemetry.stats()["dropped"].get("invalid_value", 0)
    with pytest.raises(error):
        telemetry.emit("a.b", {"m": 1}, {"key": Saying(interrupt)})
    assert arrived(roomy_server) == []
    assert telemetry.stats()["dropped"]["invalid_value"] == before + 1


def test_names_are_told_by_their_text_whatever_object_they_are(roomy_server):
    names = [f"a.n{i % 7}" for i in range(3_000)]
    for i, name in enumerate(names):
        # A new object each time, some at the address of one that is gone.
        telemetry.emit("".join(name), {"i": i})
        telemetry.emit(name[:2] + name[2:], {"i": i})
    events = arrived(roomy_server)
    assert [name_of(event) for event in events] == [name for name in names for _ in range(2)]


def test_more_names_than_are_kept_arrive_all_the_same(roomy_server):
    names = [f"many.n{i}" for i in range(6_000)]
    for name in names:
        telemetry.emit(name)
        telemetry.emit(name)
    assert [name_of(event) for event in arrived(roomy_server)] == [name for name in names for _ in range(2)]


def test_an_id_of_the_context_is_found(roomy_server):
    telemetry.emit("a.b")
    token = telemetry.set_correlation_id("of-context")
    telemetry.emit("a.b")
    telemetry.emit("a.b", None, None, "given")
    telemetry.set_correlation_id("half\ud800pair")
    telemetry.emit("a.b")
    telemetry.reset_correlation_id(token)
    telemetry.emit("a.b")
    assert [event.correlation_id for event in arrived(roomy_server)] == ["", "of-context", "given", "half\ufffdpair", ""]


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((), {"metadata": {}}),
        (("a.b", None, None, None, None), {}),
        (("a.b",), {"event": "a.b"}),
        (("a.b", {}), {"measurements": {}}),
        (("a.b",), {"tags": {}}),
    ],
)
def test_a_call_that_does_not_fit_is_refused_on_and_off(memory, on, args, kwargs):
    if not on:
        telemetry.set_backend(None)
    with pytest.raises(TypeError, match="emit"):
        telemetry.emit(*args, **kwargs)
    assert memory.events == []


def test_keywords_in_any_order(roomy_server):
    telemetry.emit(correlation_id="id", metadata={"b": "c"}, event="a.b", measurements={"a": 1})
    telemetry.emit("a.b", metadata={"b": "c"})
    first, second = arrived(roomy_server)
    assert (numbers(first), dict(first.metadata), first.correlation_id) == ({"a": 1}, {"b": "c"}, "id")
    assert (numbers(second), dict(second.metadata), second.correlation_id) == ({}, {"b": "c"}, "")


def test_the_function_has_a_signature():
    assert str(inspect.signature(telemetry.emit)) == "(event, measurements=None, metadata=None, correlation_id=None)"
    assert telemetry.emit.__module__ == "telemetry_py._native"
