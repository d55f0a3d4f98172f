"""The ids of spans for those who read nothing but the fields of the stock protocol: they do no harm there, and stand
in metadata where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import telemetry_py as telemetry
from manager import CLASSES, Manager, name_of
from telemetry_py._configure import SETTINGS

STOCK = Path(__file__).parent / "stock"
IDS = ("trace_id", "span_id", "parent_span_id")


@pytest.fixture
def span_ids() -> Iterator[None]:
    """Asks for them in metadata."""
    telemetry.configure(span_ids="metadata")
    yield
    telemetry.configure(**dict.fromkeys(SETTINGS))


def ids(metadata):
    return tuple(metadata.get(key, "") for key in IDS)


def work():
    """A tree with every phase in it; returns its spans by name."""
    spans = {}
    with telemetry.span("outer", {"tool": "a"}) as spans["outer"]:
        telemetry.emit("tool.result_size", {"bytes": 1}, {"tool": "a"})
        with pytest.raises(ValueError), telemetry.span("inner") as spans["inner"]:
            raise ValueError("no")
        spans["outer"].event("tool.result_size", {"bytes": 2})
    telemetry.emit("after.all", {"bytes": 1}, {"tool": "a"})
    return spans


def check(found, spans):
    """Whether the metadata of the events, by name, has the ids of their spans and nothing more."""
    of = {name: (span.trace_id, span.span_id, span.parent_span_id) for name, span in spans.items()}
    assert [(name, ids(metadata)) for name, metadata in found] == [
        ("outer.start", of["outer"]),
        ("tool.result_size", of["outer"]),
        ("inner.start", of["inner"]),
        ("inner.exception", of["inner"]),
        ("tool.result_size", of["outer"]),
        ("outer.stop", of["outer"]),
        ("after.all", ("", "", "")),
    ]
    # Without a parent there is no such key.
    for name, metadata in found:
        assert ("parent_span_id" in metadata) == (name.startswith("inner")), name
    assert dict(found[1][1]).keys() == {"tool", "trace_id", "span_id"}


def test_without_being_asked_metadata_has_no_ids(memory):
    work()
    assert not any(key in event.metadata for event in memory.events for key in IDS)


def test_they_are_metadata_for_a_backend_that_is_an_object(span_ids, memory):
    spans = work()
    check([(event.event, event.metadata) for event in memory.events], spans)


def test_they_are_metadata_on_the_wire(span_ids, roomy_server):
    spans = work()
    with Manager(roomy_server.address) as manager:
        events = manager.until("after.all")
    check([(name_of(event), dict(event.metadata)) for event in events], spans)
    assert all(f"{event.span.span_id:016x}" == event.metadata["span_id"] for event in events[:-1])


@pytest.mark.parametrize("as_part", [False, True], ids=["alone", "composite"])
async def test_they_are_there_once_in_a_stream_of_the_programs_own(span_ids, as_part):
    stream = telemetry.TelemetryStream(max_buffer=64, event_class=CLASSES["Event"])
    backend = telemetry.GrpcBackend(stream)
    telemetry.set_backend(telemetry.CompositeBackend(backend, telemetry.MemoryBackend()) if as_part else backend)
    spans = work()
    with telemetry.span("direct") as span:
        stream.emit("tool.result_size", {"bytes": 1})
    stream.close()
    events = [event async for event in stream.stream(None, None)]
    *events, _start, direct, _stop = events
    check([(name_of(event), dict(event.metadata)) for event in events], spans)
    assert ids(direct.metadata) == (span.trace_id, span.span_id, "")


def test_what_the_program_calls_so_goes_beside_them(span_ids, memory, ledger):
    with telemetry.span("op", {"span_id": "mine"}) as span:
        telemetry.emit("tool.result_size", {"bytes": 1}, {"trace_id": "mine"})
    telemetry.emit("tool.result_size", {"bytes": 1}, {"trace_id": "mine"})
    start, inside, stop, outside = (event.metadata for event in memory.events)
    assert start == stop == {"trace_id": span.trace_id, "span_id": span.span_id, "span_id_given": "mine"}
    assert inside == {"trace_id": span.trace_id, "span_id": span.span_id, "trace_id_given": "mine"}
    assert outside == {"trace_id": "mine"}
    assert ledger()["notes"] == {"coerced": 3}


def test_the_variable_asks_for_them_and_a_wrong_one_is_told(python):
    program = """
    import telemetry_py as telemetry
    memory = telemetry.MemoryBackend()
    telemetry.set_backend(memory)
    with telemetry.span("op"):
        pass
    print("span_id" in memory.events[0].metadata)
    """
    assert python(program, TELEMETRY_SPAN_IDS="metadata").stdout == "True\n"
    assert python(program, TELEMETRY_SPAN_IDS="wire").stdout == "False\n"
    wrong = python(program, TELEMETRY_SPAN_IDS="log")
    assert wrong.stdout == "False\n" and "expected wire or metadata" in wrong.stderr
    with pytest.raises(ValueError, match="span_ids=.*wire or metadata"):
        telemetry.configure(span_ids="log")


def test_they_can_be_asked_for_while_telemetry_runs(roomy_server):
    with telemetry.span("before"):
        pass
    telemetry.configure(span_ids="metadata")
    try:
        with telemetry.span("asked"):
            pass
    finally:
        telemetry.configure(span_ids=None)
    telemetry.emit("after.all")
    with Manager(roomy_server.address) as manager:
        found = [name_of(event) for event in manager.until("after.all") if "span_id" in event.metadata]
    assert found == ["asked.start", "asked.stop"]


def stock_event():
    """The class of a peer that has never heard of ids."""
    sys.path.insert(0, str(STOCK))
    try:
        from snakepit_bridge.snakepit_bridge_pb2 import TelemetryEvent
    finally:
        sys.path.remove(str(STOCK))
    return TelemetryEvent


def test_a_stock_manager_reads_every_event_and_what_it_does_not_know_does_no_harm(roomy_server):
    kind = stock_event()
    assert "span" not in kind.DESCRIPTOR.fields_by_name
    spans = work()
    with Manager(roomy_server.address, read=lambda message: (message, kind.FromString(message))) as manager:
        read = []
        while not read or name_of(read[-1][1]) != "after.all":
            read.append(manager.next())
    names = [name_of(event) for _, event in read]
    assert names == [
        "outer.start", "tool.result_size", "inner.start", "inner.exception", "tool.result_size", "outer.stop", "after.all",
    ]
    for message, event in read:
        assert event.timestamp_ns > 0 and event.measurements
        assert kind.FromString(event.SerializeToString()) == event
        # What it passes on still has all: ours read the ids behind it.
        assert CLASSES["Event"].FromString(event.SerializeToString()) == CLASSES["Event"].FromString(message)
    assert read[0][1].metadata == {"tool": "a"}
    behind = CLASSES["Event"].FromString(read[0][1].SerializeToString())
    assert behind.span.trace_id.hex() == spans["outer"].trace_id
