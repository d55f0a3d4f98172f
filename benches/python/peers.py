"""The libraries that a Python program would use instead, each made ready for its cheapest call.

Nothing leaves the process, except that statsd sends to a socket of the benchmark. A library that is
not installed raises ImportError.
"""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Callable

from measure import Subject

TOOLS = ["search", "fetch", "index", "rank"]
"""Inputs rotate over these."""


class Null(io.TextIOBase):
    """Where text goes that nobody wants."""

    def write(self, text: str) -> int:
        return len(text)


def otel_span() -> Subject:
    """A span with two attributes; batch processor, an exporter that drops everything."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class NullExporter(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(NullExporter()))
    names = {"tracer": provider.get_tracer("bench")}
    names |= {f"d{i}": {"tool": tool, "model": "small"} for i, tool in enumerate(TOOLS)}
    return Subject(
        "opentelemetry-sdk span",
        [f"with tracer.start_as_current_span('tool.execution.{tool}', attributes=d{i}): pass" for i, tool in enumerate(TOOLS)],
        names,
    )


def otel_histogram() -> Subject:
    """A histogram with two attributes and a reader that nobody asks."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    histogram = MeterProvider([InMemoryMetricReader()]).get_meter("bench").create_histogram("duration")
    names = {"record": histogram.record}
    names |= {f"d{i}": {"tool": tool, "model": "small"} for i, tool in enumerate(TOOLS)}
    return Subject("opentelemetry-sdk histogram", [f"record({i}.5, d{i})" for i in range(len(TOOLS))], names)


def prometheus() -> Subject:
    """A histogram with two labels."""
    from prometheus_client import CollectorRegistry, Histogram

    histogram = Histogram("duration", "A duration.", ["tool", "model"], registry=CollectorRegistry())
    return Subject(
        "prometheus_client labels().observe()",
        [f"labels('{tool}', 'small').observe({i}.5)" for i, tool in enumerate(TOOLS)],
        {"labels": histogram.labels},
    )


def statsd() -> Subject:
    """A timing in one datagram to a socket of this process."""
    from statsd import StatsClient

    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    client = StatsClient("127.0.0.1", receiver.getsockname()[1])

    def empty(_calls: int) -> None:
        try:
            while receiver.recv(1024):
                pass
        except BlockingIOError:
            pass

    return Subject(
        "statsd timing over UDP",
        [f"timing('tool.execution.{tool}', {i}.5)" for i, tool in enumerate(TOOLS)],
        {"timing": client.timing},
        before=empty,
        most=200,
    )


def stdlib_logging() -> Subject:
    """An info line with two values, formatted, to a stream that drops it."""
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(Null())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.handlers = [handler]
    return Subject(
        "logging.info",
        [f"info('executed %s in %d', '{tool}', {i})" for i, tool in enumerate(TOOLS)],
        {"info": logger.info},
    )


def structlog() -> Subject:
    """An info event with four keys as JSON, to a stream that drops it."""
    import structlog as package

    logger = package.wrap_logger(
        package.PrintLogger(Null()),
        processors=[
            package.processors.add_log_level,
            package.processors.TimeStamper(fmt="iso"),
            package.processors.JSONRenderer(),
        ],
    ).bind()
    return Subject(
        "structlog info",
        [f"info('executed', tool='{tool}', model='small', duration={i}, count={i})" for i, tool in enumerate(TOOLS)],
        {"info": logger.info},
    )


INFORMATIVE: dict[str, Callable[[], Subject]] = {
    "opentelemetry-sdk histogram": otel_histogram,
    "prometheus_client": prometheus,
    "statsd": statsd,
    "logging.info": stdlib_logging,
    "structlog": structlog,
}
"""Peers without a target."""
