"""The queue that :func:`telemetry_py.serve` sends from, as a backend."""

from __future__ import annotations

from .._loader import native
from .base import TelemetryBackend


class ServerBackend(TelemetryBackend):
    """Queues events for the manager that connects; :func:`telemetry_py.serve` makes it the backend.

    All instances stand for the one queue of this process.
    """

    def emit(
        self,
        event: str,
        measurements: dict[str, int | float | str],
        metadata: dict[str, str],
        correlation_id: str,
    ) -> None:
        native.emit_queued(event, measurements, metadata, correlation_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerBackend)

    def __hash__(self) -> int:
        return hash(ServerBackend)
