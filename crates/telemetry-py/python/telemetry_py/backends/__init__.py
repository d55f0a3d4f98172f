"""Backends: where events go."""

from __future__ import annotations

from .._loader import native
from .base import TelemetryBackend
from .server import ServerBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .grpc import GrpcBackend
    from .memory import MemoryBackend, MemoryEvent
    from .stderr import StderrBackend

_RARE = {"GrpcBackend": ".grpc", "MemoryBackend": ".memory", "MemoryEvent": ".memory", "StderrBackend": ".stderr"}
"""Imported when they are asked for."""


def __getattr__(name: str) -> object:
    """Import what is asked for at last."""
    if name not in _RARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_RARE[name], __name__), name)
    return found


def set_backend(backend: TelemetryBackend | None) -> None:
    """Send events to ``backend`` from now on; ``None`` turns telemetry off.

    Any object with ``emit(event, measurements, metadata, correlation_id)`` will do; it is called
    with four positional arguments, on the thread that emits. An event counts as delivered unless
    ``emit`` returns ``False`` (``queue_full``) or raises (``backend_error``); what it raises goes no
    further. Raises ``TypeError`` for an object without ``emit``.
    """
    if backend is None:
        native.use_nothing()
    elif isinstance(backend, ServerBackend):
        native.use_queue()
    elif not callable(getattr(backend, "emit", None)):
        raise TypeError(f"{type(backend).__name__} is no backend: it has no method emit(event, measurements, metadata, correlation_id)")
    else:
        native.use_object(backend)


def get_backend() -> TelemetryBackend | None:
    """The backend in force; ``None`` while telemetry is off."""
    backend = native.backend()
    return ServerBackend() if backend is True else backend


def is_enabled() -> bool:
    """Whether there is a backend. A manager may have turned events off all the same."""
    return native.is_enabled()


__all__ = [
    "GrpcBackend",
    "MemoryBackend",
    "MemoryEvent",
    "ServerBackend",
    "StderrBackend",
    "TelemetryBackend",
    "get_backend",
    "is_enabled",
    "set_backend",
]
