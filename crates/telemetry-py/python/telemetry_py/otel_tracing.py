"""OpenTelemetry within the program, if its packages are there; all of it does nothing where they are not.

For programs that use OpenTelemetry's own spans beside telemetry, and in the place of the module of that name
in stock workers. Spans of telemetry itself reach OpenTelemetry through
:class:`telemetry_py.backends.OtelBackend`, or through a manager.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from ._context import (
    CORRELATION_HEADER,
    get_correlation_id,
    new_correlation_id,
    reset_correlation_id,
    set_correlation_id,
)

_SCOPE = "telemetry_py"


def setup_tracing(service_name: str | None = None, *, exporter: Any = None) -> bool:
    """Set a ``TracerProvider`` of OpenTelemetry's SDK for the program; say whether there is one now.

    One that the program has set stays. ``exporter`` gets the spans in batches; without one they are exported
    over OTLP if ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``) is set and the package
    ``opentelemetry-exporter-otlp`` is there, and otherwise nowhere. ``service_name`` is by default what
    ``OTEL_SERVICE_NAME`` says. Without the SDK it does nothing. Never raises.

    Example::

        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        assert telemetry.setup_tracing("shop", exporter=InMemorySpanExporter())
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return False
    try:
        if hasattr(trace.get_tracer_provider(), "add_span_processor"):
            return True
        named = {"service.name": service_name} if service_name else {}
        provider = TracerProvider(resource=Resource.create(named))
        exporter = exporter if exporter is not None else _otlp_exporter()
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
    except Exception:
        logging.getLogger(_SCOPE).warning("tracing is not set up", exc_info=True)
        return False
    return True


def _otlp_exporter() -> Any:
    """What the environment asks for; ``None`` for nothing and for what is not installed."""
    import os
    from importlib import import_module

    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return None
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    way = "grpc" if protocol == "grpc" else "http"
    try:
        return import_module(f"opentelemetry.exporter.otlp.proto.{way}.trace_exporter").OTLPSpanExporter()
    except ImportError:
        return None


def get_tracer(name: str = _SCOPE) -> Any:
    """A tracer of OpenTelemetry; without its packages, one whose spans do nothing.

    Example::

        with telemetry.get_tracer("shop").start_as_current_span("checkout") as span:
            span.set_attribute("items", 3)
    """
    try:
        from opentelemetry import trace
    except ImportError:
        return _NoTracer()
    return trace.get_tracer(name)


@contextmanager
def otel_span(
    name: str,
    *,
    context_metadata: Any = None,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """A span of OpenTelemetry around a block, the child of what ``context_metadata`` (the metadata of a call,
    a mapping or pairs) tells of its caller; else of the span in force.

    The correlation id of the context is its attribute ``correlation_id``. Yields the span; without the
    packages one that does nothing. What the block raises is recorded and goes on.

    Example::

        with telemetry.correlation("order-17"), telemetry.otel_span("checkout", attributes={"items": 3}) as span:
            span.add_event("paid")
    """
    with get_tracer().start_as_current_span(name, **_of_caller(context_metadata)) as span:
        id = get_correlation_id()
        if id:
            span.set_attribute("correlation_id", id)
        for key, value in (attributes or {}).items():
            span.set_attribute(str(key), value)
        yield span


def _of_caller(context_metadata: Any) -> dict[str, Any]:
    """The context of a caller, as an argument, if there is one that can be read."""
    if not context_metadata:
        return {}
    try:
        from opentelemetry import propagate

        pairs = context_metadata.items() if hasattr(context_metadata, "items") else context_metadata
        carrier = {_text(key).lower(): _text(value) for key, value in pairs}
        return {"context": propagate.extract(carrier)}
    except Exception:
        return {}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class _CorrelationFilter(logging.Filter):
    """Gives every record of a log the correlation id of its context, as ``record.correlation_id``; a ``-``
    where there is none.

    ``handler.addFilter(correlation_filter())``, or without the parentheses.

    Example::

        import io, logging

        lines = logging.StreamHandler(io.StringIO())
        lines.addFilter(telemetry.correlation_filter)
        lines.setFormatter(logging.Formatter("[%(correlation_id)s] %(message)s"))
        logging.getLogger("shop").addHandler(lines)
        with telemetry.correlation("order-17"):
            logging.getLogger("shop").warning("disk is full")
        assert lines.stream.getvalue().strip() == "[order-17] disk is full"
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            if not hasattr(record, "correlation_id"):
                record.correlation_id = get_correlation_id("-")
        except Exception:
            # A record that takes nothing.
            pass
        return True

    def __call__(self, record: logging.LogRecord | None = None) -> Any:
        return self if record is None else self.filter(record)


correlation_filter: _CorrelationFilter = _CorrelationFilter()


class _NoTracer:
    """A tracer whose spans do nothing."""

    def start_as_current_span(self, name: str, *_: Any, **__: Any) -> Any:
        return nullcontext(_NoSpan())

    def start_span(self, name: str, *_: Any, **__: Any) -> Any:
        return _NoSpan()


class _NoSpan:
    """A span that does nothing."""

    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def is_recording(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None


__all__ = [
    "CORRELATION_HEADER",
    "correlation_filter",
    "get_correlation_id",
    "get_tracer",
    "new_correlation_id",
    "otel_span",
    "reset_correlation_id",
    "set_correlation_id",
    "setup_tracing",
]
