"""One JSON line per event on standard error: for a pool that reads it, without any socket."""

from __future__ import annotations

import errno
import json
import math
import os
import select
import stat
import time
from collections.abc import Mapping
from typing import Any

from .._loader import native
from .._types import SpanIdentity
from .base import TelemetryBackend

PREFIX = "TELEMETRY:"
"""What a line begins with."""

MAX_LINE_BYTES = 4096
"""Longest line, newline included: up to it a pipe takes a line whole or not at all, so processes
that share one do not tear each other's."""


class StderrBackend(TelemetryBackend):
    """Writes ``TELEMETRY:{json}`` lines.

    A line that is too long loses metadata, then measurements, longest first, until it fits. A line
    that the reader has no room for is dropped: ``emit`` does not wait. Both are counted here; in the
    ledger a line without room is ``queue_full``, and one that cannot be written, as to a closed
    descriptor or to a pipe that nobody reads any more, ``backend_error``.

    Example::

        telemetry.set_backend(telemetry.StderrBackend())
        telemetry.emit("tool.result_size", {"bytes": 512}, {"tool": "search"})
    """

    takes_span = True

    def __init__(self, fd: int = 2) -> None:
        if isinstance(fd, bool) or not isinstance(fd, int) or fd < 0:
            raise ValueError(f"StderrBackend: fd={fd!r} is not allowed; expected the number of an open descriptor")
        self._dropped = native.Count()
        self._truncated = native.Count()
        self._fd = fd

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._dropped.value

    @property
    def truncated(self) -> int:
        """Lines that lost entries."""
        return self._truncated.value

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> bool | Exception:
        try:
            line = self._line(event, measurements or {}, metadata or {}, correlation_id, span)
            if _write(self._fd, line):
                return True
        except Exception as error:
            # Told, not raised: a host that knows nothing of our ledger may be the one that calls, and with
            # values that no other host would let through.
            self._dropped.add()
            return error
        self._dropped.add()
        return False

    def _line(
        self,
        event: str,
        measurements: Mapping[str, object],
        metadata: Mapping[str, object],
        correlation_id: str | None,
        span: SpanIdentity | None,
    ) -> bytes:
        numbers = {str(key): _number(value) for key, value in measurements.items()}
        texts = {str(key): str(value) for key, value in metadata.items()}
        record: dict[str, object] = {
            "event": str(event),
            "measurements": numbers,
            "metadata": texts,
            "timestamp_ns": time.time_ns(),
            "correlation_id": str(correlation_id or ""),
        }
        if span is not None:
            record["span"] = {
                "trace_id": span.trace_id,
                "span_id": span.span_id,
                "parent_span_id": span.parent_span_id,
                "phase": span.phase,
            }
        line = _encode(record)
        if len(line) > MAX_LINE_BYTES:
            self._truncated.add()
            while len(line) > MAX_LINE_BYTES and _drop_longest(texts or numbers):
                line = _encode(record)
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a line of {len(line)} bytes; at most {MAX_LINE_BYTES} are written whole")
        return line


def _write(fd: int, line: bytes) -> bool:
    """Writes a line whole and at once; false if there is no room for it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    ready = sum(ready for _, ready in poll.poll(0))
    if ready & select.POLLNVAL:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if ready & (select.POLLERR | select.POLLHUP):
        # Nobody reads, and a write could raise SIGPIPE.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    if ready != select.POLLOUT:
        return False
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        # Whoever shares the pipe may have taken the room by now. A description of our own refuses
        # to wait, without changing that of the others.
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            pass  # No `/proc`, or another user's pipe: the look has to do.
        else:
            try:
                return os.write(own, line) == len(line)
            except BlockingIOError:
                return False
            finally:
                os.close(own)
    try:
        return os.write(fd, line) == len(line)
    except BlockingIOError:
        return False


def _drop_longest(entries: dict[str, Any]) -> bool:
    """Leaves out the longest entry; false if there is none."""
    if not entries:
        return False
    del entries[max(entries, key=lambda key: len(key) + len(str(entries[key])))]
    return True


def _encode(record: dict[str, object]) -> bytes:
    return f"{PREFIX}{json.dumps(record, separators=(',', ':'))}\n".encode()


def _number(value: object) -> int | float | str:
    """A measurement as JSON has it: whole numbers stay such, NaN and infinities are written as text, as is
    all that is no number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value)
