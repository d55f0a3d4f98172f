"""Telemetry for fleets of worker processes.

    import telemetry_py as telemetry

    telemetry.start()                                  # once, at import
    telemetry.emit("tool.result_size", {"bytes": 512}, {"tool": "search"})
    with telemetry.span("tool.execution", {"tool": "search"}):
        ...

Importing starts nothing, and neither does ``emit``: no thread, no socket, no exit hook before
``start``, ``connect`` or ``serve``; only a forked child of a process that is connected connects with its
first event. ``emit`` and ``span`` never raise and never block.
"""

import os

from ._context import (
    CORRELATION_HEADER,
    correlation,
    current_span,
    get_correlation_id,
    new_correlation_id,
    reset_correlation_id,
    set_correlation_id,
)
from ._ending import flush, shutdown
from ._loader import NATIVE, Server, Span, emit, span, stats
from ._start import connect, start
from .backends import ServerBackend, TelemetryBackend, get_backend, is_enabled, set_backend
from .server import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import instrumentation
    from ._configure import configure
    from ._instrument import instrument
    from ._measured import counter, timed
    from ._signals import flush_on_signal
    from ._suppress import suppress
    from ._types import PartStats, SpanIdentity, Stats, StreamStats, SupportsEmit
    from .backends import (
        CompositeBackend,
        GrpcBackend,
        MemoryBackend,
        MemoryEvent,
        OtelBackend,
        StatsdBackend,
        StderrBackend,
    )
    from .instrumentation import instrument_asyncio, instrument_excepthooks, instrument_executors, instrument_runtime
    from .otel_tracing import correlation_filter, get_tracer, otel_span, setup_tracing
    from .propagation import extract, inject, outgoing_environ, outgoing_metadata, wrap_context
    from .stream import TelemetryStream

__version__ = "0.1.0"

_RARE = {
    "CompositeBackend": ".backends.composite",
    "GrpcBackend": ".backends.grpc",
    "MemoryBackend": ".backends.memory",
    "MemoryEvent": ".backends.memory",
    "OtelBackend": ".backends.otel",
    "PartStats": "._types",
    "SpanIdentity": "._types",
    "Stats": "._types",
    "StatsdBackend": ".backends.statsd",
    "StderrBackend": ".backends.stderr",
    "StreamStats": "._types",
    "SupportsEmit": "._types",
    "TelemetryStream": ".stream",
    "configure": "._configure",
    "correlation_filter": ".otel_tracing",
    "counter": "._measured",
    "extract": ".propagation",
    "flush_on_signal": "._signals",
    "get_tracer": ".otel_tracing",
    "inject": ".propagation",
    "instrument": "._instrument",
    "instrument_asyncio": ".instrumentation.asyncio",
    "instrument_excepthooks": ".instrumentation.excepthooks",
    "instrument_executors": ".instrumentation.executors",
    "instrument_runtime": ".instrumentation.runtime",
    "instrumentation": ".instrumentation",
    "otel_span": ".otel_tracing",
    "outgoing_environ": ".propagation",
    "outgoing_metadata": ".propagation",
    "setup_tracing": ".otel_tracing",
    "suppress": "._suppress",
    "timed": "._measured",
    "wrap_context": ".propagation",
}
"""What few programs use, and what costs an import; imported when it is asked for."""


def __getattr__(name: str) -> object:
    """Import what is asked for at last."""
    if name not in _RARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_RARE[name], __name__)
    # A name that is that of its module stands for the module.
    found = globals()[name] = module if _RARE[name] == f".{name}" else getattr(module, name)
    return found


if "TRACEPARENT" in os.environ or "BAGGAGE" in os.environ:
    from .propagation import begin_under_environment

    begin_under_environment(os.environ)

__all__ = [
    "CORRELATION_HEADER",
    "CompositeBackend",
    "GrpcBackend",
    "MemoryBackend",
    "MemoryEvent",
    "NATIVE",
    "OtelBackend",
    "PartStats",
    "Server",
    "ServerBackend",
    "Span",
    "SpanIdentity",
    "Stats",
    "StatsdBackend",
    "StderrBackend",
    "StreamStats",
    "SupportsEmit",
    "TelemetryBackend",
    "TelemetryStream",
    "configure",
    "connect",
    "correlation",
    "correlation_filter",
    "counter",
    "current_span",
    "emit",
    "extract",
    "flush",
    "flush_on_signal",
    "get_backend",
    "get_correlation_id",
    "get_tracer",
    "inject",
    "instrument",
    "instrument_asyncio",
    "instrument_excepthooks",
    "instrument_executors",
    "instrument_runtime",
    "instrumentation",
    "is_enabled",
    "new_correlation_id",
    "otel_span",
    "outgoing_environ",
    "outgoing_metadata",
    "reset_correlation_id",
    "serve",
    "set_backend",
    "set_correlation_id",
    "setup_tracing",
    "shutdown",
    "span",
    "start",
    "stats",
    "suppress",
    "timed",
    "wrap_context",
]
