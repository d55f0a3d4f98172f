"""What a backend is."""

from __future__ import annotations

from abc import ABC, abstractmethod


class TelemetryBackend(ABC):
    """Takes events. Deriving from it is not required; having ``emit`` is."""

    @abstractmethod
    def emit(
        self,
        event: str,
        measurements: dict[str, int | float | str],
        metadata: dict[str, str],
        correlation_id: str,
    ) -> bool | BaseException | None:
        """Take one event. Runs on the thread that emits: it should be quick.

        Both dicts are the backend's own; keys and values have been converted, limited in size and
        cleared of secrets. ``correlation_id`` may be empty.

        Return ``False``, that very object, for an event that was not taken for want of room: it is
        counted as dropped, ``queue_full``. An exception counts as ``backend_error``, raised or, by a
        backend that must not raise, returned; ``stats()["last_error"]`` is the last of them. With
        anything else the event is delivered.
        """
