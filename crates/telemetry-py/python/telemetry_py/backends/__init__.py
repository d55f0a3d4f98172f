"""Backends: where events go."""

from __future__ import annotations

from .._loader import native
from .base import TelemetryBackend
from .server import ServerBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._types import SpanIdentity, SupportsEmit
    from .composite import CompositeBackend
    from .grpc import GrpcBackend
    from .memory import MemoryBackend, MemoryEvent
    from .otel import OtelBackend
    from .statsd import StatsdBackend
    from .stderr import StderrBackend

_RARE = {
    "CompositeBackend": ".composite",
    "GrpcBackend": ".grpc",
    "MemoryBackend": ".memory",
    "MemoryEvent": ".memory",
    "OtelBackend": ".otel",
    "SpanIdentity": ".._types",
    "StatsdBackend": ".statsd",
    "StderrBackend": ".stderr",
    "SupportsEmit": ".._types",
}
"""Imported when they are asked for."""


def __getattr__(name: str) -> object:
    """Import what is asked for at last."""
    if name not in _RARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_RARE[name], __name__), name)
    return found


def set_backend(backend: SupportsEmit | None) -> None:
    """Send events to ``backend`` from now on; ``None`` turns telemetry off.

    Any object with ``emit(event, measurements, metadata, correlation_id)`` will do; it is called
    with four positional arguments, on the thread that emits, and with a fifth, the span, if its class has
    ``takes_span = True``. An event counts as delivered unless ``emit`` returns ``False`` (``queue_full``) or
    raises (``backend_error``); what it raises goes no further. Raises ``TypeError`` for an object without
    ``emit``.

    Example::

        telemetry.set_backend(telemetry.StderrBackend())
        telemetry.emit("tool.result_size", {"bytes": 512})
    """
    if backend is None:
        native.use_nothing()
    elif isinstance(backend, ServerBackend):
        native.use_queue()
    elif isinstance(backend, type) or not callable(getattr(backend, "emit", None)):
        what = f"the class {backend.__name__}" if isinstance(backend, type) else type(backend).__name__
        raise TypeError(f"{what} is no backend: expected an object with a method emit(event, measurements, metadata, correlation_id)")
    elif getattr(type(backend), "_is_composite", False) is True:
        with_queue: bool = getattr(backend, "_has_queue")  # noqa: B009
        native.use_composite(backend, with_queue)
    else:
        native.use_object(backend)


def get_backend() -> SupportsEmit | None:
    """The backend in force; ``None`` while telemetry is off.

    Example::

        assert telemetry.get_backend() is memory
    """
    backend = native.backend()
    return ServerBackend() if backend is True else backend


def is_enabled() -> bool:
    """Whether there is a backend. A manager may have turned events off all the same.

    Example::

        assert telemetry.is_enabled()
        telemetry.set_backend(None)
        assert not telemetry.is_enabled()
    """
    return native.is_enabled()


__all__ = [
    "CompositeBackend",
    "GrpcBackend",
    "MemoryBackend",
    "MemoryEvent",
    "OtelBackend",
    "ServerBackend",
    "SpanIdentity",
    "StatsdBackend",
    "StderrBackend",
    "SupportsEmit",
    "TelemetryBackend",
    "get_backend",
    "is_enabled",
    "set_backend",
]
