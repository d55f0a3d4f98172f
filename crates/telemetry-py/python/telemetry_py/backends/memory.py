"""Events in a list, for tests and experiments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._loader import native
from .._types import SpanIdentity
from .base import TelemetryBackend


class _Contents(NamedTuple):
    """What an event says."""

    event: str
    measurements: dict[str, Any]
    """Numbers and texts."""
    metadata: dict[str, Any]
    """Texts."""
    correlation_id: str


class MemoryEvent(_Contents):
    """One event as a backend got it: the tuple of what it says, and the span that it belongs to, if any.

    Example::

        with telemetry.span("tool.execution") as span:
            telemetry.emit("tool.result_size", {"bytes": 512}, {"tool": "search"})
        size: telemetry.MemoryEvent = memory.events[1]
        event, measurements, metadata, correlation_id = size
        assert (event, measurements, metadata) == ("tool.result_size", {"bytes": 512}, {"tool": "search"})
        assert size.span is not None and size.span.span_id == span.span_id
    """

    span: SpanIdentity | None = None


class MemoryBackend(TelemetryBackend):
    """Keeps the first ``limit`` events and counts the rest, here and as ``queue_full``.

    Raises ``ValueError`` for a limit that is no number of events.

    Example::

        memory = telemetry.MemoryBackend(limit=10)
        telemetry.set_backend(memory)
        telemetry.emit("tool.result_size", {"bytes": 512})
        assert memory.names() == ["tool.result_size"] and memory.dropped == 0
    """

    takes_span = True

    def __init__(self, limit: int = 100_000) -> None:
        if type(limit) is not int or limit < 0:
            raise ValueError(f"MemoryBackend: limit={limit!r} is not allowed; expected a number of events, 0 or more")
        self.events: list[MemoryEvent] = []
        self.limit = limit
        self._dropped = native.Count()

    @property
    def dropped(self) -> int:
        """Events for which there was no room."""
        return self._dropped.value

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> bool | Exception:
        if len(self.events) >= self.limit:
            self._dropped.add()
            return False
        try:
            taken = MemoryEvent(event, dict(measurements or {}), dict(metadata or {}), correlation_id or "")
        except Exception as error:
            # Told, not raised: a host that knows nothing of our ledger may be the one that calls.
            return error
        if span is not None:
            taken.span = span
        self.events.append(taken)
        return True

    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.event for event in self.events]

    def clear(self) -> None:
        """Forget everything."""
        self.events.clear()
        self._dropped = native.Count()
