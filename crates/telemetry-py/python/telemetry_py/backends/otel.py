"""Spans and logs of OpenTelemetry."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Protocol

from .._loader import native
from .._types import SpanIdentity
from .base import TelemetryBackend

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

SCOPE = "telemetry_py"
"""The name of the instrumentation scope."""

MAX_OPEN_SPANS = 4096
"""Spans that have begun and not ended. Beyond it the oldest is forgotten, and made of its end alone."""

_ENDS = (".stop", ".exception")


class GivesLoggers(Protocol):
    """A ``LoggerProvider`` of the SDK. Its own type stands in a module that OpenTelemetry calls private."""

    def get_logger(self, name: str, /) -> Any:
        """The logger of an instrumentation scope."""


class OtelBackend(TelemetryBackend):
    """Hands spans and other events to the SDK of OpenTelemetry, whose processors and exporters do the rest.

    The start and the end of a span become one span under our trace and span ids; its measurements and
    metadata are attributes. An event inside of a span that is open becomes an event of it, any other one a
    log record, with the ids of its span if it has any. Sampling is ours: a start that is not sent has no end
    either. A sampler of the SDK decides besides, by the trace id.

    ``tracer_provider`` and ``logger_provider`` are by default those of the program
    (``opentelemetry.trace.get_tracer_provider()``); where the program has set none, spans and logs go nowhere
    and are a ``backend_error``. Raises ``ImportError`` without the package ``opentelemetry-sdk``.

    Called by a host that tells of no spans, an end becomes a span that began ``duration`` before, in the trace
    of its correlation id if that is 32 hexadecimal digits.

    Example::

        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        telemetry.set_backend(telemetry.OtelBackend(provider))
        with telemetry.span("tool.execution", {"tool": "search"}):
            pass
        assert [span.name for span in spans.get_finished_spans()] == ["tool.execution"]
    """

    takes_span = True

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        logger_provider: GivesLoggers | None = None,
    ) -> None:
        try:
            import opentelemetry.sdk.trace  # noqa: F401
            from opentelemetry import _logs, trace
        except ImportError as error:
            raise ImportError(
                f"OtelBackend needs the package opentelemetry-sdk, which is not there ({error}); pip install opentelemetry-sdk"
            ) from None
        for name, provider, method in (("tracer_provider", tracer_provider, "get_tracer"), ("logger_provider", logger_provider, "get_logger")):
            if provider is not None and not callable(getattr(provider, method, None)):
                raise TypeError(f"OtelBackend: {name}={provider!r} is not allowed; expected one of the SDK, with a method {method}")
        self._trace: Any = trace
        self._logs: Any = _logs
        self._tracer_provider = tracer_provider
        self._logger_provider = logger_provider
        self._open: OrderedDict[str, Span] = OrderedDict()
        self._forgotten = native.Count()

    @property
    def forgotten(self) -> int:
        """Spans that were made of their end alone because too many were open."""
        return self._forgotten.value

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> bool | Exception:
        try:
            attributes = _attributes(measurements, metadata, correlation_id)
            if span is None:
                if event.endswith(_ENDS) and isinstance((measurements or {}).get("duration"), int):
                    self._end(event, attributes, None, correlation_id or "")
                elif not event.endswith(".start"):
                    self._log(event, attributes, None)
            elif span.phase == "start":
                self._start(event, attributes, span)
            elif span.phase == "inside":
                self._inside(event, attributes, span)
            else:
                self._end(event, attributes, span, "")
        except Exception as error:
            return error
        return True

    def flush(self, timeout: float = 1.0) -> bool:
        """Have the providers export what they hold."""
        done = True
        for provider in (self._tracers(), self._loggers()):
            try:
                flush = getattr(provider, "force_flush", None)
                if flush is not None:
                    done = bool(flush(max(int(timeout * 1000), 0))) and done
            except Exception:
                # One that cannot says so in its own log; the other has its turn.
                done = False
        return done

    def _tracers(self) -> Any:
        return self._trace.get_tracer_provider() if self._tracer_provider is None else self._tracer_provider

    def _loggers(self) -> Any:
        return self._logs.get_logger_provider() if self._logger_provider is None else self._logger_provider

    def close(self) -> None:
        """Forget the spans that are open; providers belong to the program."""
        self._open.clear()

    def _start(self, event: str, attributes: dict[str, Any], span: SpanIdentity) -> None:
        started = attributes.pop("system_time", None)
        self._open[span.span_id] = self._new(event.removesuffix(".start"), attributes, started, span, "")
        if len(self._open) > MAX_OPEN_SPANS:
            self._open.popitem(last=False)
            self._forgotten.add()

    def _inside(self, event: str, attributes: dict[str, Any], span: SpanIdentity) -> None:
        open_span = self._open.get(span.span_id)
        if open_span is None:
            self._log(event, attributes, span)
        else:
            open_span.add_event(event, attributes)

    def _end(self, event: str, attributes: dict[str, Any], span: SpanIdentity | None, correlation_id: str) -> None:
        duration = attributes.pop("duration", 0)
        if not isinstance(duration, int):
            duration = 0
        made = None if span is None else self._open.pop(span.span_id, None)
        now = time.time_ns()
        if made is None:
            operation = event.rpartition(".")[0]
            made = self._new(operation, attributes, now - duration, span, correlation_id)
            ended = now
        else:
            made.set_attributes(attributes)
            # The monotonic duration, not two looks at a clock that may have been set.
            began: int | None = getattr(made, "start_time", None)
            ended = now if began is None else began + duration
        if event.endswith(".exception"):
            described = {
                "exception.type": attributes.get("error_type", ""),
                "exception.message": attributes.get("error_message", ""),
            }
            made.add_event("exception", described, timestamp=ended)
            made.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(described["exception.message"])))
        made.end(end_time=ended)

    def _new(self, name: str, attributes: dict[str, Any], started: int | None, span: SpanIdentity | None, correlation_id: str) -> Span:
        """A span that has begun, under our ids."""
        from opentelemetry.context import Context

        tracer: Any = self._tracers().get_tracer(SCOPE)
        if not hasattr(tracer, "id_generator"):
            raise RuntimeError("OtelBackend: the program has set no TracerProvider of the SDK; call opentelemetry.trace.set_tracer_provider() or give it one")
        # The SDK gives everyone who asks for a scope the same tracer. A copy of it is ours alone, and has the
        # configuration and the resource of now.
        ours = copy(tracer)
        ours.id_generator = _Ids(tracer.id_generator, span, correlation_id)
        # Not in the context of the program's own spans: our parents are ours.
        context = Context()
        if span is not None and span.parent_span_id:
            context = self._within(span.trace_id, span.parent_span_id)
        made: Span = ours.start_span(name, context, attributes=attributes, start_time=started)
        return made

    def _log(self, event: str, attributes: dict[str, Any], span: SpanIdentity | None) -> None:
        provider: Any = self._loggers()
        if not hasattr(provider, "force_flush"):
            raise RuntimeError("OtelBackend: the program has set no LoggerProvider of the SDK; call opentelemetry._logs.set_logger_provider() or give it one")
        now = time.time_ns()
        record = self._logs.LogRecord(
            timestamp=now,
            observed_timestamp=now,
            context=None if span is None else self._within(span.trace_id, span.span_id),
            severity_text="INFO",
            severity_number=self._logs.SeverityNumber.INFO,
            body=event,
            attributes=attributes,
            event_name=event,
        )
        provider.get_logger(SCOPE).emit(record)

    def _within(self, trace_id: str, span_id: str) -> Context:
        """A context in which one of our spans is in force."""
        from opentelemetry.context import Context

        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        ids = self._trace.SpanContext(int(trace_id, 16), int(span_id, 16), False, flags)
        within: Context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(ids), Context())
        return within


class _Ids:
    """Says our ids where the SDK would make its own."""

    def __init__(self, others: Any, span: SpanIdentity | None, correlation_id: str) -> None:
        self._others = others
        self._span = span
        self._correlation_id = correlation_id

    def generate_span_id(self) -> int:
        made: int = self._others.generate_span_id() if self._span is None else int(self._span.span_id, 16)
        return made

    def generate_trace_id(self) -> int:
        if self._span is not None:
            return int(self._span.trace_id, 16)
        try:
            id = int(self._correlation_id, 16) if len(self._correlation_id) == 32 else 0
        except ValueError:
            id = 0
        made: int = id or self._others.generate_trace_id()
        return made

    def is_trace_id_random(self) -> bool:
        """Whether the lower bits may be taken for random; where ids come from elsewhere, nobody knows."""
        return False


def _attributes(
    measurements: Mapping[str, object] | None, metadata: Mapping[str, object] | None, correlation_id: str | None
) -> dict[str, Any]:
    """One mapping of all that an event says; of two entries with one key the measurement stays."""
    attributes: dict[str, Any] = {**(metadata or {}), **(measurements or {})}
    if correlation_id:
        attributes["correlation_id"] = correlation_id
    return attributes
