"""OpenTelemetry: what the real SDK exports."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

import pytest
import telemetry_py as telemetry

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OUTER = "00f067aa0ba902b7"
INNER = "b7ad6b7169203331"
BEGAN = 1_700_000_000_000_000_000


@dataclass
class Identity:
    phase: str
    span_id: str = OUTER
    parent_span_id: str = ""
    trace_id: str = TRACE


class Rig:
    def __init__(self):
        self.spans, self.logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
        tracers, loggers = TracerProvider(), LoggerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        self.backend = telemetry.OtelBackend(tracers, loggers)

    def emit(self, event, measurements, metadata, identity, correlation_id=""):
        assert self.backend.emit(event, measurements, metadata, correlation_id, identity) is True

    def exported(self):
        return {span.name: span for span in self.spans.get_finished_spans()}


@pytest.fixture
def rig():
    return Rig()


def test_a_start_and_its_stop_are_one_span_with_our_ids(rig):
    rig.emit("outer.work.start", {"system_time": BEGAN}, {"tool": "x"}, Identity("start"), "order-1")
    rig.emit("inner.work.start", {"system_time": BEGAN + 10}, {}, Identity("start", INNER, OUTER))
    assert rig.exported() == {}
    rig.emit("inner.work.stop", {"duration": 500}, {}, Identity("stop", INNER, OUTER))
    rig.emit("outer.work.stop", {"duration": 5_000, "rows": 3}, {"tool": "x"}, Identity("stop"), "order-1")
    inner, outer = rig.exported()["inner.work"], rig.exported()["outer.work"]
    for span, id in ((outer, OUTER), (inner, INNER)):
        assert f"{span.context.trace_id:032x}" == TRACE
        assert f"{span.context.span_id:016x}" == id
    assert outer.parent is None and f"{inner.parent.span_id:016x}" == OUTER
    assert (outer.start_time, outer.end_time) == (BEGAN, BEGAN + 5_000)
    assert dict(outer.attributes) == {"tool": "x", "rows": 3, "correlation_id": "order-1"}
    assert outer.status.is_unset


@pytest.mark.parametrize("phase", ["exception", "cancelled"])
def test_an_exception_is_an_error_with_its_event(rig, phase):
    rig.emit("a.work.start", {"system_time": BEGAN}, {}, Identity("start"))
    error = {"error_type": "ValueError", "error_message": "no such tool"}
    rig.emit("a.work.exception", {"duration": 7}, error, Identity(phase))
    span = rig.exported()["a.work"]
    assert not span.status.is_ok and span.status.description == "no such tool"
    (event,) = span.events
    assert event.name == "exception"
    assert dict(event.attributes) == {"exception.type": "ValueError", "exception.message": "no such tool"}


def test_an_event_inside_of_a_span_is_an_event_of_it(rig):
    rig.emit("a.work.start", {"system_time": BEGAN}, {}, Identity("start"))
    rig.emit("tool.result_size", {"bytes": 5}, {"tool": "x"}, Identity("inside"))
    rig.emit("a.work.stop", {"duration": 7}, {}, Identity("stop"))
    (event,) = rig.exported()["a.work"].events
    assert event.name == "tool.result_size" and dict(event.attributes) == {"bytes": 5, "tool": "x"}
    assert rig.logs.get_finished_logs() == ()


def test_an_event_without_an_open_span_is_a_log_with_what_ids_it_has(rig):
    rig.emit("tool.result_size", {"bytes": 5}, {}, None, "order-1")
    rig.emit("tool.result_size", {"bytes": 6}, {}, Identity("inside"))
    first, second = (found.log_record for found in rig.logs.get_finished_logs())
    assert first.event_name == "tool.result_size"
    assert dict(first.attributes) == {"bytes": 5, "correlation_id": "order-1"}
    assert not first.trace_id and not first.span_id
    assert (f"{second.trace_id:032x}", f"{second.span_id:016x}") == (TRACE, OUTER)


def test_an_end_whose_start_was_not_seen_is_a_span_all_the_same(rig):
    rig.emit("a.work.stop", {"duration": 1_000_000}, {}, Identity("stop", INNER, OUTER))
    span = rig.exported()["a.work"]
    assert span.end_time - span.start_time == 1_000_000
    assert (f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}") == (INNER, OUTER)


def test_open_spans_are_bounded_and_those_forgotten_still_end(rig, monkeypatch):
    import telemetry_py.backends.otel as module

    monkeypatch.setattr(module, "MAX_OPEN_SPANS", 10)
    for i in range(1, 31):
        rig.emit(f"work.n{i}.start", {"system_time": BEGAN}, {}, Identity("start", f"{i:016x}"))
    assert rig.backend.forgotten == 20 and len(rig.backend._open) == 10
    for i in range(1, 31):
        rig.emit(f"work.n{i}.stop", {"duration": 1}, {}, Identity("stop", f"{i:016x}"))
    assert len(rig.exported()) == 30 and len(rig.backend._open) == 0


def test_a_host_without_span_identity_gets_spans_of_their_ends(rig):
    rig.backend.emit("a.work.start", {"system_time": BEGAN}, {}, TRACE)
    rig.backend.emit("a.work.stop", {"duration": 1_000}, None, TRACE)
    rig.backend.emit("b.work.stop", {"duration": 1_000}, None, "order-1")
    spans = rig.exported()
    assert f"{spans['a.work'].context.trace_id:032x}" == TRACE
    assert spans["b.work"].context.trace_id != 0
    assert rig.logs.get_finished_logs() == ()


def test_the_ids_of_the_program_s_own_spans_are_left_alone(rig):
    tracers = rig.backend._tracer_provider
    rig.emit("a.work.start", {"system_time": BEGAN}, {}, Identity("start"))
    with tracers.get_tracer("program").start_as_current_span("own") as own:
        rig.emit("b.work.stop", {"duration": 1}, {}, Identity("stop", INNER))
    assert f"{own.context.trace_id:032x}" != TRACE
    assert rig.exported()["b.work"].parent is None


def test_our_spans_reach_the_sdk(rig):
    telemetry.set_backend(rig.backend)
    before = telemetry.stats()["dropped"]
    with telemetry.correlation(TRACE):
        with pytest.raises(ValueError), telemetry.span("tool.execution", {"tool": "x"}):
            telemetry.emit("tool.result_size", {"bytes": 5})
            raise ValueError("boom")
    span = rig.exported()["tool.execution"]
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.attributes["tool"] == "x" and span.status.description == "boom"
    assert telemetry.stats()["dropped"] == before
    inside = [event.name for event in span.events] + [found.log_record.event_name for found in rig.logs.get_finished_logs()]
    assert "tool.result_size" in inside


def test_many_threads_each_have_their_own_ids(rig):
    def work(n):
        for i in range(50):
            id = f"{n * 1000 + i + 1:016x}"
            rig.emit("a.work.start", {"system_time": BEGAN}, {"id": id}, Identity("start", id))
            rig.emit("a.work.stop", {"duration": 1}, {"id": id}, Identity("stop", id))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = rig.spans.get_finished_spans()
    assert len(spans) == 400
    assert all(f"{span.context.span_id:016x}" == span.attributes["id"] for span in spans)


def test_the_program_s_spans_of_our_scope_keep_ids_of_their_own(rig):
    tracers = rig.backend._tracer_provider
    tracer = tracers.get_tracer("telemetry_py")
    generator = tracer.id_generator
    made = []
    for i in range(1, 4):
        rig.emit("a.work.stop", {"duration": 1}, {}, Identity("stop", f"{i:016x}"))
        with tracer.start_as_current_span("own") as own:
            made.append((own.context.trace_id, own.context.span_id))
    assert tracers.get_tracer("telemetry_py").id_generator is generator
    exported = {(span.context.trace_id, span.context.span_id) for span in rig.spans.get_finished_spans()}
    assert len(set(made)) == 3 and len(exported) == 6
    assert all(trace_id != int(TRACE, 16) for trace_id, _ in made)


def test_a_host_without_identity_is_served_after_any_number_of_spans(rig):
    for i in range(1, sys.getrecursionlimit() + 100):
        rig.emit("a.work.stop", {"duration": 1}, {}, Identity("stop", f"{i:016x}"))
    assert rig.backend.emit("b.work.stop", {"duration": 1}, None, "order-1") is True
    assert rig.exported()["b.work"].context.trace_id != int(TRACE, 16)


def test_ids_stay_apart_when_threads_change_all_the_time(rig):
    telemetry.set_backend(rig.backend)
    made = []

    def work():
        for _ in range(150):
            with telemetry.span("a.work") as span:
                made.append((span.trace_id, span.span_id))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    exported = [(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in rig.spans.get_finished_spans()]
    assert len(made) == 1200 and sorted(exported) == sorted(made)


def test_a_resource_that_the_sdk_changes_is_that_of_our_spans_too(rig):
    tracers = rig.backend._tracer_provider
    rig.emit("a.work.stop", {"duration": 1}, {}, Identity("stop"))
    # What the SDK does in a forked child.
    tracers._update_resource(tracers.resource.create({"worker": "2"}))
    rig.emit("b.work.stop", {"duration": 1}, {}, Identity("stop", INNER))
    assert rig.exported()["b.work"].resource.attributes["worker"] == "2"


def test_a_forked_child_does_not_end_the_spans_of_its_parent(python):
    result = python(
        """
        import os, sys
        import telemetry_py as telemetry
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        telemetry.set_backend(telemetry.OtelBackend(provider))
        with telemetry.span("parent.work") as outer:
            child = os.fork()
            if child == 0:
                with telemetry.span("child.work"):
                    pass
        found = {span.name: span for span in exporter.get_finished_spans()}
        if child == 0:
            ok = set(found) == {"child.work"} and f"{found['child.work'].parent.span_id:016x}" == outer.span_id
            os.write(2, repr(sorted(found)).encode())
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert set(found) == {"parent.work"}, found
        """
    )
    assert result.returncode == 0, result.stderr


def test_flush_has_the_providers_export():
    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    telemetry.set_backend(telemetry.OtelBackend(tracers, LoggerProvider()))
    with telemetry.span("a.work"):
        pass
    assert exporter.get_finished_spans() == ()
    assert telemetry.flush(30)
    assert [span.name for span in exporter.get_finished_spans()] == ["a.work"]
    tracers.shutdown()


def test_without_a_provider_events_are_an_error_of_the_backend(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.start()
        with telemetry.span("a.work"):
            telemetry.emit("b.event")
        stats = telemetry.stats()
        assert stats["dropped"]["backend_error"] >= 2, stats
        assert "Provider" in stats["last_error"], stats
        """,
        TELEMETRY_BACKEND="otel",
    )
    assert result.returncode == 0, result.stderr


def test_the_package_is_imported_only_when_used_and_missed_in_words(python):
    result = python(
        """
        import sys
        sys.modules["opentelemetry"] = None
        import telemetry_py as telemetry
        telemetry.OtelBackend
        try:
            telemetry.OtelBackend()
        except ImportError as error:
            assert "pip install opentelemetry-sdk" in str(error)
        else:
            raise AssertionError
        """
    )
    assert result.returncode == 0, result.stderr


def test_the_provider_of_the_program_is_used_by_default(python):
    result = python(
        """
        import telemetry_py as telemetry
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        telemetry.set_backend(telemetry.OtelBackend())
        assert telemetry.setup_tracing("shop", exporter=exporter)
        assert trace.get_tracer_provider().resource.attributes["service.name"] == "shop"
        with telemetry.span("a.work"):
            pass
        assert telemetry.flush(30)
        assert [span.name for span in exporter.get_finished_spans()] == ["a.work"]
        assert telemetry.setup_tracing("other"), "what the program has set stays"
        assert trace.get_tracer_provider().resource.attributes["service.name"] == "shop"
        """
    )
    assert result.returncode == 0, result.stderr


def test_otel_span_continues_the_caller_s_trace(rig, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer", lambda name: rig.backend._tracer_provider.get_tracer(name))
    metadata = [("traceparent", f"00-{TRACE}-{OUTER}-01"), ("other", b"bytes")]
    with telemetry.correlation("order-1"):
        with telemetry.otel_span("rpc.work", context_metadata=metadata, attributes={"n": 1}) as span:
            assert trace.get_current_span() is span
    made = rig.exported()["rpc.work"]
    assert f"{made.context.trace_id:032x}" == TRACE and f"{made.parent.span_id:016x}" == OUTER
    assert dict(made.attributes) == {"correlation_id": "order-1", "n": 1}
    with pytest.raises(KeyError), telemetry.otel_span("rpc.other", context_metadata=object()):
        raise KeyError("x")
    assert rig.exported()["rpc.other"].events[0].name == "exception"


def test_tracing_without_the_packages_does_nothing(python):
    result = python(
        """
        import sys
        sys.modules["opentelemetry"] = None
        import telemetry_py as telemetry
        assert telemetry.setup_tracing("shop") is False
        with telemetry.otel_span("a.work", context_metadata={"traceparent": "x"}, attributes={"n": 1}) as span:
            span.set_attribute("k", "v")
            assert not span.is_recording()
        with telemetry.get_tracer("x").start_as_current_span("y") as span:
            span.add_event("z")
        """
    )
    assert result.returncode == 0, result.stderr
