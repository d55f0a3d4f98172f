"""The queue that :func:`telemetry_py.serve` sends from, as a backend."""

from __future__ import annotations

from collections.abc import Mapping

from .._loader import native
from .base import TelemetryBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ServerBackend(TelemetryBackend):
    """Queues events for the manager that connects; :func:`telemetry_py.serve` makes it the backend.

    All instances stand for the one queue of this process. ``flush`` and ``close`` leave that alone:
    :func:`telemetry_py.flush` and :func:`telemetry_py.shutdown` see to it.

    Example::

        telemetry.set_backend(telemetry.ServerBackend())
        telemetry.emit("tool.result_size", {"bytes": 512})
        assert telemetry.stats()["queued"] == 1
    """

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
    ) -> None:
        values: Any = measurements
        native.emit_queued(event, values, metadata, correlation_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerBackend)

    def __hash__(self) -> int:
        return hash(ServerBackend)
