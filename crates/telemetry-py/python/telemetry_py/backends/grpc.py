"""The backend of a program whose own gRPC server carries the events."""

from __future__ import annotations

from .base import TelemetryBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class GrpcBackend(TelemetryBackend):
    """Puts events into a :class:`~telemetry_py.TelemetryStream`, or whatever has its ``emit``.

    Without one it is the stream of this process, which a
    :class:`~telemetry_py.grpc_interceptor.TelemetryInterceptor` without one carries as well.
    """

    def __init__(self, stream: Any = None) -> None:
        from ..stream import TelemetryStream, default_stream

        self.stream = default_stream() if stream is None else stream
        emit = self.stream._native.emit if isinstance(self.stream, TelemetryStream) else self.stream.emit
        self._emit: Callable[[Any, Any, Any, Any], Any] = emit

    def emit(
        self,
        event: str,
        measurements: dict[str, int | float | str],
        metadata: dict[str, str] | None = None,
        correlation_id: str | None = None,
    ) -> bool | Exception:
        """Queue one event; ``False`` if there was no room for it."""
        try:
            return self._emit(event, measurements, metadata, correlation_id) is not False
        except Exception as error:
            # Told, not raised: a host that knows nothing of our ledger may be the one that calls.
            return error

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()
