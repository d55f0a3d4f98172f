"""A worker in plain Python, written for this benchmark: an `asyncio.Queue` of events for a gRPC
stream.

It stands for what a team writes without us, and takes the steps that the recorded reference (a
stock Python worker) takes: toggle, sampling, filters, an event object, a bounded queue that drops
the newest. `emit` is measured in its cheapest state, with no stream attached: the queue takes the
event and nobody is woken.

Where the protobuf message is built is a choice. `Standin` queues dicts and leaves it to the
consumer of the stream, which keeps `emit` as cheap as plain Python can be. `EagerStandin` builds
it in `emit`, as the stock worker does.
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from schema import messages

correlation: ContextVar[str | None] = ContextVar("standin_correlation", default=None)


class Standin:
    """Queues each event as a dict."""

    def __init__(self, max_buffer: int) -> None:
        self.enabled = True
        self.sampling_rate = 1.0
        self.dropped = 0
        self._allow: list[str] = []
        self._deny: list[str] = []
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=max_buffer)
        self._message = messages()["Event"]

    def emit(
        self,
        event: str,
        measurements: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Queue one event; an id is made up if neither the caller nor the context has one."""
        if not self.enabled:
            return
        if self.sampling_rate < 1.0 and random.random() > self.sampling_rate:
            return
        if not self._allowed(event):
            return
        if correlation_id is None:
            correlation_id = correlation.get() or str(uuid.uuid4())
        record = self._record(event, measurements or {}, metadata or {}, correlation_id, time.time_ns())
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self.dropped += 1

    @contextmanager
    def span(
        self,
        operation: str,
        metadata: dict[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> Iterator[None]:
        """Emit `{operation}.start`, and `.stop` or `.exception` with the duration."""
        started = time.perf_counter_ns()
        self.emit(f"{operation}.start", {"system_time": time.time_ns()}, metadata, correlation_id)
        try:
            yield
        except Exception as error:
            ended = {**(metadata or {}), "error_type": type(error).__name__, "error_message": str(error)}
            self.emit(f"{operation}.exception", {"duration": time.perf_counter_ns() - started}, ended, correlation_id)
            raise
        self.emit(f"{operation}.stop", {"duration": time.perf_counter_ns() - started}, metadata, correlation_id)

    async def stream(self) -> AsyncIterator[Any]:
        """What the gRPC handler yields: messages, as they come."""
        while (record := await self._queue.get()) is not None:
            yield self._to_message(record)

    def drain(self) -> int:
        """Empty the queue as a stream would, message by message, and count."""

        async def consume() -> int:
            self._queue.put_nowait(None)
            return len([message async for message in self.stream()])

        return asyncio.run(consume())

    def _allowed(self, event: str) -> bool:
        if any(fnmatch.fnmatch(event, pattern) for pattern in self._deny):
            return False
        return not self._allow or any(fnmatch.fnmatch(event, pattern) for pattern in self._allow)

    def _record(
        self, event: str, measurements: dict[str, Any], metadata: dict[str, Any], correlation_id: str, now: int
    ) -> Any:
        """What goes into the queue; copies, because the caller keeps its dicts."""
        return {
            "event_parts": event.split("."),
            "measurements": dict(measurements),
            "metadata": {key: str(value) for key, value in metadata.items()},
            "timestamp_ns": now,
            "correlation_id": correlation_id,
        }

    def _to_message(self, record: Any) -> Any:
        """The message of a queued record."""
        message = self._message(
            event_parts=record["event_parts"],
            metadata=record["metadata"],
            timestamp_ns=record["timestamp_ns"],
            correlation_id=record["correlation_id"],
        )
        _fill(message.measurements, record["measurements"])
        return message


class EagerStandin(Standin):
    """Builds the message in `emit`."""

    def _record(
        self, event: str, measurements: dict[str, Any], metadata: dict[str, Any], correlation_id: str, now: int
    ) -> Any:
        message = self._message(event_parts=event.split("."), timestamp_ns=now, correlation_id=correlation_id)
        _fill(message.measurements, measurements)
        entries = message.metadata
        for key, value in metadata.items():
            entries[key] = str(value)
        return message

    def _to_message(self, record: Any) -> Any:
        return record


def _fill(entries: Any, measurements: dict[str, Any]) -> None:
    for key, value in measurements.items():
        entry = entries[key]
        if isinstance(value, int):
            entry.int_value = int(value)
        elif isinstance(value, float):
            entry.float_value = value
        else:
            entry.string_value = str(value)
