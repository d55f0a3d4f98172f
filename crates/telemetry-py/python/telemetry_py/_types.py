"""Shapes of what is handed out and taken, for type checkers and for people.

Imported when it is asked for: ``typing`` costs more than all the rest of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypedDict, runtime_checkable


class PartStats(TypedDict):
    """What became of events in one part of a composite backend.

    Example::

        def lost(part: telemetry.PartStats) -> int:
            return sum(part["dropped"].values())

        telemetry.set_backend(telemetry.CompositeBackend(memory, telemetry.ServerBackend()))
        assert [lost(part) for part in telemetry.stats()["parts"]] == [0]
    """

    backend: str
    """The name of its class."""
    delivered: int
    """Events that it took."""
    dropped: dict[str, int]
    """Events that it did not take, by reason: ``queue_full``, ``backend_error``; only reasons that occurred."""


class Stats(TypedDict):
    """The ledger of this process since it began or was forked. It goes on when telemetry is shut down and
    started again.

    ``emitted == accepted + sum(dropped.values())`` and ``accepted == sent + delivered + queued``, always,
    apart from events that other threads are in the midst of emitting.

    Example::

        def balance(stats: telemetry.Stats) -> int:
            return stats["emitted"] - stats["accepted"] - sum(stats["dropped"].values())

        telemetry.emit("tool.result_size", {"bytes": 512})
        assert balance(telemetry.stats()) == 0
    """

    emitted: int
    """Events that entered ``emit`` or began and ended spans, whatever became of them."""
    accepted: int
    """Those of them that the queue or a backend took and that were not dropped later."""
    sent: int
    """Handed to the stream of a manager."""
    delivered: int
    """Taken by a backend that is an object, such as ``MemoryBackend``. Managers hear nothing of them."""
    queued: int
    """Waiting to be sent. Before ``start`` or ``serve``, this is where events are."""
    dropped: dict[str, int]
    """Dropped, by reason; only reasons that occurred.

    * ``sampled_out``, ``filtered`` and ``limited``: as the policy asked, the last one because of so many a second;
    * ``queue_full``: there was no room; ``evicted_oldest``: it made room for a newer one;
    * ``not_started``: the queue was full, or the end came, before anything was started; ``fork_inherited``: the
      same in a fork of a process that serves;
    * ``not_running``: emitted after :func:`telemetry_py.shutdown`; ``shutdown_deadline``: not sent in its time;
    * ``invalid_name``, ``invalid_value``, ``too_many_fields``, ``oversize``: a limit was broken;
    * ``backend_error``: the backend raised; ``reentrant``: emitted by a backend while it takes an event;
    * ``internal_error``: a defect of telemetry.
    """
    notes: dict[str, int]
    """What happened to events that were not dropped for it, such as ``truncated``."""
    last_error: str | None
    """The last exception of a backend, ``"ValueError: boom"``, cut and cleared of secrets."""
    parts: list[PartStats]
    """Of a composite backend: what its parts did, each for itself. These events are in the sums above once."""
    region: Literal["shared", "heap"]
    """Where events and counts lie: ``"shared"`` is memory that a manager can still read when this process has been
    killed, ``"heap"`` ends with the process. Workers that connect to a manager on Linux have the first, if the
    system gives it."""
    manager: str | None
    """The manager that this process connects to, or several; ``None`` where it does not."""
    connect_error: str | None
    """Why there is no connection to it right now, as far as that is known."""
    clients: int
    """Managers whose stream is open now."""
    rejected: dict[str, str | None]
    """Events that the manager does not take because its catalog has no such name, with the name that was probably
    meant. They count as sent; the manager counts them as ``unknown_event``. Each name is said once on stderr."""
    descriptors_closed: int
    """Sockets and other descriptors of telemetry that somebody else in this process has closed."""


class SpanIdentity(Protocol):
    """Which span an event belongs to; the fifth argument of backends whose class has ``takes_span = True``.

    Example::

        def link(span: telemetry.SpanIdentity) -> str:
            return f"https://traces.example/{span.trace_id}#{span.span_id}"

        with telemetry.span("tool.execution"):
            pass
        start, stop = (event.span for event in memory.events)
        assert start and stop and link(start) == link(stop) and (start.phase, stop.phase) == ("start", "stop")
    """

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""

    @property
    def parent_span_id(self) -> str:
        """16 hexadecimal digits; empty if there is none."""

    @property
    def phase(self) -> str:
        """``inside``, ``start``, ``stop``, ``exception`` or ``cancelled``."""


@runtime_checkable
class SupportsEmit(Protocol):
    """What will do as a backend: see :class:`telemetry_py.TelemetryBackend` for what ``emit`` may return.

    Example::

        class Names:
            def __init__(self):
                self.seen = set()

            def emit(self, event, measurements, metadata, correlation_id):
                self.seen.add(event)

        names = Names()
        assert isinstance(names, telemetry.SupportsEmit)
        telemetry.set_backend(names)
        telemetry.emit("tool.result_size", {"bytes": 512})
        assert names.seen == {"tool.result_size"}
    """

    def emit(
        self, event: str, measurements: Mapping[str, object], metadata: Mapping[str, object], correlation_id: str, /
    ) -> object:
        """Take one event."""


class StreamStats(TypedDict):
    """The ledger of one ``TelemetryStream``, in the same words and under the same laws.

    Example::

        def waiting(stats: telemetry.StreamStats) -> int:
            return stats["queued"]

        stream = telemetry.TelemetryStream()
        stream.emit("tool.result_size", {"bytes": 512})
        assert waiting(stream.stats()) == 1
    """

    emitted: int
    """Events that entered ``emit``, whatever became of them."""
    accepted: int
    """Those of them that the queue took and that were not dropped later."""
    sent: int
    """Handed to a call."""
    delivered: int
    """Always 0."""
    queued: int
    """Waiting to be sent."""
    dropped: dict[str, int]
    """Dropped, by reason; only reasons that occurred."""
    notes: dict[str, int]
    """What happened to events that were not dropped for it, such as ``truncated``."""
    streams: int
    """Calls that are open now."""
    control_error: str | None
    """What was wrong with the last control that could not be applied."""


__all__ = ["PartStats", "SpanIdentity", "Stats", "StreamStats", "SupportsEmit"]
