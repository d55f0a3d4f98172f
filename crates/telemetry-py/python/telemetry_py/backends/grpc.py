"""The backend of a program whose own gRPC server carries the events."""

from __future__ import annotations

from collections.abc import Mapping

from .._loader import native
from .base import TelemetryBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._types import SpanIdentity


class GrpcBackend(TelemetryBackend):
    """Puts events into a :class:`~telemetry_py.TelemetryStream`, or whatever has its ``emit``.

    Without one it is the stream of this process, which a
    :class:`~telemetry_py.grpc_interceptor.TelemetryInterceptor` without one carries as well.

    Example::

        stream = telemetry.TelemetryStream(max_buffer=1024)
        telemetry.set_backend(telemetry.GrpcBackend(stream))
        telemetry.emit("tool.result_size", {"bytes": 512})
        assert stream.stats()["queued"] == 1
    """

    takes_span = True

    def __init__(self, stream: Any = None) -> None:
        from ..stream import TelemetryStream, default_stream

        if stream is not None and (isinstance(stream, type) or not callable(getattr(stream, "emit", None))):
            raise TypeError(f"GrpcBackend: stream={stream!r} is not allowed; expected a TelemetryStream, or an object with its emit")
        self.stream: Any = default_stream() if stream is None else stream
        self._native = self.stream._native if isinstance(self.stream, TelemetryStream) else None

    def emit(
        self,
        event: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> bool | Exception:
        """Queue one event; ``False`` if there was no room for it."""
        try:
            if self._native is not None:
                own = span if isinstance(span, native.SpanIdentity) else None
                return self._native.emit(event, measurements, metadata, correlation_id, own)
            return self.stream.emit(event, measurements, metadata, correlation_id) is not False
        except Exception as error:
            # Told, not raised: a host that knows nothing of our ledger may be the one that calls.
            return error

    def close(self) -> None:
        """Close the stream, if it can be closed."""
        close = getattr(self.stream, "close", None)
        if callable(close):
            close()
