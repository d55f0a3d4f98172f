"""A stream of events that a gRPC server of the program's own carries.

    import telemetry_py as telemetry

    stream = telemetry.TelemetryStream()
    telemetry.set_backend(telemetry.GrpcBackend(stream))

    class Bridge:                       # a BridgeServiceServicer, of grpc.aio
        async def StreamTelemetry(self, requests, context):
            async for event in stream.stream(requests, context):
                yield event

Each has a queue, a policy and a ledger of its own. Events wait in it for a manager; a newer call takes over
from an older one, and when a call is cut the next one goes on where it ended.
"""

from __future__ import annotations

from ._event_class import find_event_class
from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from typing import Any, Literal, SupportsFloat, SupportsIndex

    from ._calls import AsyncCall, SyncCall
    from ._types import StreamStats

_LARGEST = 2**63 - 1
"""What the native module can be told; it says which numbers are allowed."""

_OVERFLOWS = ("drop_newest", "drop_oldest")


class TelemetryStream:
    """Events wait here for the calls of ``StreamTelemetry``, at most ``max_buffer`` of them.

    A full queue drops what is newest, or what is oldest with ``overflow="drop_oldest"``, and counts it.
    ``event_class`` is the protobuf class of the events that :meth:`stream` yields; without it the
    ``TelemetryEvent`` that the program has generated is found when the first call comes.

    Nothing is started by it. A forked child has an empty one with a ledger of its own.

    Example::

        stream = telemetry.TelemetryStream(max_buffer=2, overflow="drop_oldest")
        for number in range(3):
            stream.emit("tool.result_size", {"bytes": number})
        assert (stream.stats()["queued"], stream.dropped_count) == (2, 1)
        stream.set_filter(deny=["tool.*"])
        stream.emit("tool.result_size", {"bytes": 3})
        assert stream.stats()["dropped"] == {"evicted_oldest": 1, "filtered": 1}
    """

    def __init__(
        self,
        max_buffer: int = 1024,
        *,
        overflow: Literal["drop_newest", "drop_oldest"] = "drop_newest",
        event_class: type[Any] | None = None,
    ) -> None:
        if type(max_buffer) is not int:
            raise TypeError(f"max_buffer={max_buffer!r} is not allowed; expected a number of events")
        if overflow not in _OVERFLOWS:
            raise ValueError(f"overflow={overflow!r} is not allowed; expected {' or '.join(_OVERFLOWS)}")
        if event_class is not None and not callable(getattr(event_class, "FromString", None)):
            raise TypeError(f"event_class={event_class!r} is not allowed; expected a protobuf class of TelemetryEvent")
        self._setup(native.Stream(max(min(max_buffer, _LARGEST), -1), overflow), event_class)

    def _setup(self, stream: native.Stream, event_class: type[Any] | None) -> None:
        self._native = stream
        self._event_class = event_class
        self._attached: AsyncCall | SyncCall | None = None

    def emit(
        self,
        event: str,
        measurements: Mapping[str, SupportsIndex | SupportsFloat | str] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Record one event, from any thread. Never raises, never blocks."""
        self._native.emit(event, measurements, metadata, correlation_id)

    async def stream(self, control_iter: Any, context: Any) -> AsyncIterator[Any]:
        """Carry one call: yield events as objects of ``event_class``, hear controls from ``control_iter``.

        ``context`` is the call's context in a ``grpc.aio`` server, or ``None``. Ends when a newer call comes,
        when the stream is closed, and shortly before the deadline of the call; what is queued stays for the
        next one.
        """
        from ._calls import AsyncCall

        make = self._events().FromString
        call = AsyncCall(self, control_iter, context)
        try:
            while (message := await call.next()) is not None:
                yield make(message)
        finally:
            call.close()

    async def stream_raw(self, control_iter: Any, context: Any) -> AsyncIterator[bytes]:
        """As :meth:`stream`, but the events are encoded messages; no protobuf class is needed."""
        from ._calls import AsyncCall

        call = AsyncCall(self, control_iter, context)
        try:
            while (message := await call.next()) is not None:
                yield message
        finally:
            call.close()

    def stream_sync(self, control_iter: Any, context: Any) -> Iterator[Any]:
        """As :meth:`stream`, for the servicer of a ``grpc.server`` with threads.

        A thread hears the controls as long as the call lasts. The call keeps a thread of the server's pool, and the
        interpreter waits for it at its end: a program that ends with an open stream must stop its server
        (``server.stop``) or call :meth:`close` first, or it stays.
        """
        from ._calls import SyncCall

        make = self._events().FromString
        call = SyncCall(self, control_iter, context)
        try:
            while (message := call.next()) is not None:
                yield make(message)
        finally:
            call.close()

    def stream_sync_raw(self, control_iter: Any, context: Any) -> Iterator[bytes]:
        """As :meth:`stream_sync`, but the events are encoded messages."""
        from ._calls import SyncCall

        call = SyncCall(self, control_iter, context)
        try:
            while (message := call.next()) is not None:
                yield message
        finally:
            call.close()

    def set_filter(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """Let through what matches a pattern of ``allow``, or everything without any, and none of ``deny``.

        Replaces the filter that was there, as one from a manager does. Raises ``ValueError`` for what is no
        pattern.
        """
        self._native.set_filter(list(allow), list(deny))

    def set_sampling(self, rate: float, patterns: Iterable[str] = ()) -> None:
        """Keep a share of the events that match one of ``patterns``, or of all without any.

        Raises ``ValueError`` for a rate that is not from 0 to 1 and for what is no pattern.
        """
        self._native.set_sampling(rate, list(patterns))

    def stats(self) -> StreamStats:
        """The ledger: what was emitted and what became of it."""
        return self._native.stats()

    def close(self) -> None:
        """Take no more events. Calls end once what is queued has gone; this waits for nothing."""
        self._native.close()

    @property
    def dropped_count(self) -> int:
        """Events that were dropped although nobody asked for that: sampling and filters do not count."""
        return self._native.dropped_count

    @property
    def enabled(self) -> bool:
        """Whether events are on; a manager turns them on and off."""
        return self._native.enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._native.set_enabled(bool(enabled))

    @property
    def sampling_rate(self) -> float:
        """The share of events that is kept where no pattern says otherwise."""
        return self._native.sampling_rate

    @sampling_rate.setter
    def sampling_rate(self, rate: float) -> None:
        self.set_sampling(rate)

    @property
    def _loop(self) -> object | None:
        """What the newest call waits in; ``None`` while there is none."""
        return None if self._attached is None else self._attached.loop

    def _events(self) -> type[Any]:
        """The class of the events."""
        if self._event_class is None:
            self._event_class = find_event_class()
        return self._event_class


_default: TelemetryStream | None = None
"""The stream of this process, once somebody asks."""


def default_stream() -> TelemetryStream:
    """The stream of this process, as the environment sets it up: that of ``TELEMETRY_BACKEND=grpc``.

    Example::

        from telemetry_py.stream import default_stream

        assert telemetry.GrpcBackend().stream is default_stream()
    """
    global _default
    if _default is None:
        stream = TelemetryStream.__new__(TelemetryStream)
        stream._setup(native.Stream(), None)
        _default = stream
    return _default


__all__ = ["TelemetryStream", "default_stream"]
