"""Spans on their quick way into the queue, and what may come in between."""

from __future__ import annotations

import gc
import inspect
import threading

import pytest
import telemetry_py as telemetry
from hostile import Saying, Text, arrived
from manager import name_of


def test_metadata_is_read_at_the_start_and_at_the_end(roomy_server):
    metadata = {"tool": "x"}
    with telemetry.span("op", metadata, "id"):
        metadata["tool"] = "y"
        metadata[Text("more")] = Text("z")
    start, stop = arrived(roomy_server)
    assert dict(start.metadata) == {"tool": "x"}
    assert dict(stop.metadata) == {"tool": "y", "more": "z"}
    assert start.correlation_id == stop.correlation_id == "id"


def test_the_times_of_a_span_agree(roomy_server):
    with telemetry.span("op"):
        pass
    start, stop = arrived(roomy_server)
    assert start.timestamp_ns == start.measurements["system_time"].int_value
    assert stop.timestamp_ns - start.timestamp_ns == stop.measurements["duration"].int_value


def test_an_end_goes_where_the_start_went(roomy_server):
    with telemetry.span("op"):
        telemetry.set_backend(telemetry.MemoryBackend())
        gc.collect()
    telemetry.set_backend(telemetry.ServerBackend())
    assert [name_of(event) for event in arrived(roomy_server)] == ["op.start", "op.stop"]


def test_a_backend_replaced_while_a_span_starts_does_no_harm(roomy_server):
    def replace():
        telemetry.set_backend(None)
        telemetry.set_backend(telemetry.ServerBackend())
        gc.collect()
        return "replaced"

    for _ in range(10):
        with telemetry.span("op", {"first": "x", "key": Saying(replace)}):
            pass
    events = arrived(roomy_server)
    assert [name_of(event) for event in events] == ["op.start", "op.stop"] * 10
    assert all(dict(event.metadata) == {"first": "x", "key": "replaced"} for event in events)


def test_operations_are_told_by_their_text_whatever_object_they_are(roomy_server):
    names = [f"op.n{i % 5}" for i in range(1_000)]
    for name in names:
        with telemetry.span("".join(name)):
            pass
        with telemetry.span(Text(name)):
            pass
    events = [name_of(event) for event in arrived(roomy_server)]
    assert events == [f"{name}.{end}" for name in names for _ in range(2) for end in ("start", "stop")]


def test_spans_of_many_threads_keep_to_themselves(roomy_server):
    def work(thread):
        for i in range(300):
            with telemetry.span(f"op.t{thread}", {"i": str(i)}, f"id-{thread}") as span:
                span.measure(i=i)
                assert telemetry.get_correlation_id() == f"id-{thread}"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = arrived(roomy_server)
    assert len(events) == 4 * 300 * 2
    for n in range(4):
        mine = [event for event in events if event.correlation_id == f"id-{n}"]
        assert [name_of(event) for event in mine] == [f"op.t{n}.start", f"op.t{n}.stop"] * 300
        assert [event.metadata["i"] for event in mine] == [str(i) for i in range(300) for _ in range(2)]


def test_an_id_that_is_no_text_becomes_text(roomy_server):
    with telemetry.span("op", None, 42) as span:
        assert span.correlation_id == "42"
    assert {event.correlation_id for event in arrived(roomy_server)} == {"42"}


def test_the_function_makes_spans_and_has_a_signature():
    assert isinstance(telemetry.span("op"), telemetry.Span)
    assert str(inspect.signature(telemetry.span)) == (
        "(operation, metadata=None, correlation_id=None, *, measurements=None, record_stacktrace=None)"
    )


@pytest.mark.parametrize("call", [(), ("op", {}, "id", {}), ("op", {}, "id", {}, 1)])
def test_a_call_that_does_not_fit_is_refused(call):
    with pytest.raises(TypeError, match="span"):
        telemetry.span(*call)
    with pytest.raises(TypeError, match="span"):
        telemetry.span("op", tags={})
