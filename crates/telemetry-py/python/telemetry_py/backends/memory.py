"""Events in a list, for tests and experiments."""

from __future__ import annotations

from operator import index
from typing import NamedTuple

from .base import TelemetryBackend


class MemoryEvent(NamedTuple):
    """One event as a backend got it."""

    event: str
    measurements: dict[str, int | float | str]
    metadata: dict[str, str]
    correlation_id: str


class MemoryBackend(TelemetryBackend):
    """Keeps the first ``limit`` events and counts the rest, here and as ``queue_full``.

    Raises ``TypeError`` for a limit that is no whole number.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.events: list[MemoryEvent] = []
        self.limit = index(limit)
        self.dropped = 0

    def emit(
        self,
        event: str,
        measurements: dict[str, int | float | str],
        metadata: dict[str, str],
        correlation_id: str,
    ) -> bool:
        if len(self.events) >= self.limit:
            self.dropped += 1
            return False
        self.events.append(MemoryEvent(event, measurements, metadata, correlation_id))
        return True

    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.event for event in self.events]

    def clear(self) -> None:
        """Forget everything."""
        self.events.clear()
        self.dropped = 0
