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
    ) -> None:
        """Take one event. Runs on the thread that emits: it should be quick.

        Both dicts are the backend's own; keys and values have been converted, limited in size and
        cleared of secrets. ``correlation_id`` may be empty.
        """
