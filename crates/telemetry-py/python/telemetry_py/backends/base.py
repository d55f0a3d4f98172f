"""What a backend is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class TelemetryBackend(ABC):
    """Takes events. Deriving from it is not required; having ``emit`` is.

    A class with ``takes_span = True`` is given a fifth positional argument, ``span``: ``None``, or an object
    with ``trace_id``, ``span_id``, ``parent_span_id`` (hexadecimal digits, the last may be empty) and
    ``phase`` (``inside``, ``start``, ``stop``, ``exception`` or ``cancelled``).

    Example::

        class Errors(telemetry.TelemetryBackend):
            # Keeps what went wrong.

            takes_span = True

            def __init__(self):
                self.found = []

            def emit(self, event, measurements, metadata, correlation_id, span):
                if span is not None and span.phase == "exception":
                    self.found.append(metadata["error_type"])

        errors = Errors()
        telemetry.set_backend(errors)
        try:
            with telemetry.span("tool.execution"):
                raise KeyError("needle")
        except KeyError:
            pass
        assert errors.found == ["KeyError"]
    """

    takes_span: ClassVar[bool] = False
    """Whether ``emit`` is told which span an event belongs to."""

    @abstractmethod
    def emit(
        self,
        event: str,
        measurements: Mapping[str, object],
        metadata: Mapping[str, object],
        correlation_id: str,
    ) -> object:
        """Take one event. Runs on the thread that emits: it should be quick.

        Both mappings are dicts of the backend's own: measurements are ``int``, ``float`` or ``str``, metadata
        ``str``; keys and values have been converted, limited in size and cleared of secrets.
        ``correlation_id`` may be empty.

        Return ``False``, that very object, for an event that was not taken for want of room: it is
        counted as dropped, ``queue_full``. An exception counts as ``backend_error``, raised or, by a
        backend that must not raise, returned; ``stats()["last_error"]`` is the last of them. With
        anything else the event is delivered.
        """

    def flush(self, timeout: float = 1.0) -> bool:
        """Pass on what is held back; say whether that was done in ``timeout`` seconds.

        :func:`telemetry_py.flush` and the end of the process call it.
        """
        return True

    def close(self) -> None:
        """Pass on what is held back and let go of what is open; :func:`telemetry_py.shutdown` calls it."""
