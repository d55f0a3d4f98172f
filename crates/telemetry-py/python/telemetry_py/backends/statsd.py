"""Metrics as StatsD datagrams."""

from __future__ import annotations

import math
import os
import random
import socket
import time
from _thread import RLock
from collections.abc import Mapping
from typing import Any

from .. import _lifecycle
from .._loader import native
from .base import TelemetryBackend

MAX_DATAGRAM_BYTES = 1432
"""What fits into one frame of Ethernet whatever lies between."""

MAX_DELAY = 0.1
"""Seconds between datagrams in a burst of events; the first event after a pause goes out at once."""

_ENCODED = {byte: f"-{byte:02X}" for byte in range(256)} | {byte: chr(byte) for byte in b"abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}
"""How a byte of a name is written: only with what every server of StatsD keeps."""

_IN_TAGS = {ord(character): f"%{ord(character):02X}" for character in "%,|#\n\r\t\v\f\0"}
"""What would end a tag or its line."""

_TO_MS = {"duration": 1e-6, "_ns": 1e-6, "_us": 1e-3, "_ms": 1.0, "_seconds": 1e3}
"""Measurements that are times, by the end of their key, in milliseconds."""


class StatsdBackend(TelemetryBackend):
    """Sends metrics to a StatsD server over UDP, without waiting and without a thread.

    Every event is a counter ``{prefix}{event}``, and each of its numbers a metric ``{prefix}{event}.{key}``:

    * ``duration`` (ns) and keys in ``_ns``, ``_us``, ``_ms``, ``_seconds``: a timer ``|ms``, in milliseconds;
    * ``count`` and keys in ``_count`` and ``_total``: a counter ``|c``;
    * numbers of events that end in ``.sampled``: a gauge ``|g``;
    * other numbers: ``|ms``, which is how StatsD has distributions, or ``|h`` with ``dogstatsd``.

    Text, ``system_time`` and what is not finite are no metrics. With ``dogstatsd``, metadata become tags,
    ``error_message`` apart, which is free text.

    Names are written so that no two become one and no server changes them: what is neither a letter, a digit
    nor ``_`` is ``-`` and two hexadecimal digits for each byte; a dot in a name of an event stays a dot.

    In a burst several metrics share a datagram of up to 1,432 bytes. What is held back leaves with an event
    that comes ``MAX_DELAY`` or later, with :func:`telemetry_py.flush`, or at the end of the process.
    ``sample_rate`` is the share of events that are sent, on top of telemetry's own sampling; counters and
    timers say so (``|@0.1``).

    An event that is too large for a datagram is a ``backend_error``, as is one whose own datagram cannot be
    sent. Those that were held back for it are counted in :attr:`dropped` alone: to the ledger they were
    delivered, as is what the network loses.

    Example::

        telemetry.set_backend(telemetry.StatsdBackend("127.0.0.1", 8125, prefix="shop"))
        with telemetry.timed("cache.load"):     # shop.cache.load:1|c, shop.cache.load.duration:…|ms
            pass
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8125,
        prefix: str = "",
        dogstatsd: bool = False,
        *,
        sample_rate: float = 1.0,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"StatsdBackend: port={port!r} is not allowed; expected a number from 1 to 65535")
        if not isinstance(sample_rate, (int, float)) or not 0 < sample_rate <= 1:
            raise ValueError(f"StatsdBackend: sample_rate={sample_rate!r} is not allowed; expected a number above 0 and up to 1")
        if not isinstance(prefix, str):
            raise ValueError(f"StatsdBackend: prefix={prefix!r} is not allowed; expected text such as 'shop'")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as error:
            raise ValueError(f"StatsdBackend: host={host!r} is not allowed; expected a host name or an address ({error})") from None
        self._target: Any = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._prefix = f"{_name(prefix.rstrip('.'))}." if prefix else ""
        self._dogstatsd = dogstatsd
        self._sample_rate = float(sample_rate)
        self._batch = _Batch()
        self._is_batching = True
        self._dropped = native.Count()
        self._sampled_out = native.Count()

    @property
    def dropped(self) -> int:
        """Events whose datagram could not be sent."""
        return self._dropped.value

    @property
    def sampled_out(self) -> int:
        """Events that ``sample_rate`` left out."""
        return self._sampled_out.value

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
    ) -> bool | Exception:
        try:
            if self._sample_rate < 1 and random.random() >= self._sample_rate:
                self._sampled_out.add()
                return True
            lines = self._lines(str(event), measurements or {}, metadata or {})
            if len(lines) > MAX_DATAGRAM_BYTES:
                return ValueError(f"StatsD: the metrics of {event} take {len(lines)} bytes; at most {MAX_DATAGRAM_BYTES} fit")
            return self._hold(lines)
        except Exception as error:
            return error

    def flush(self, timeout: float = 1.0) -> bool:
        """Send what is held back. It never waits; ``False`` says that it could not be sent."""
        with self._own().lock:
            return self._send()

    def close(self) -> None:
        """Send what is held back and close the socket; what comes later is a ``backend_error``."""
        self.flush()
        self._socket.close()

    def __del__(self) -> None:
        # One that another has taken the place of need not be closed by hand.
        try:
            self.close()
        except Exception:
            pass  # It was never made whole.

    def at_exit(self) -> None:
        """Send what is held back, and hold nothing back any more."""
        self._is_batching = False
        self.flush()

    def _own(self) -> _Batch:
        """What this process holds back; a forked child leaves to its parent what that does."""
        batch = self._batch
        if batch.pid != os.getpid():
            batch = self._batch = _Batch()
        return batch

    def _hold(self, lines: bytes) -> bool | Exception:
        """Holds lines back, or sends them with all that is held back."""
        if self._socket.fileno() < 0:
            return OSError("StatsD: the backend is closed")
        batch = self._own()
        if not batch.is_awaited:
            batch.is_awaited = True
            _lifecycle.register()
        with batch.lock:
            if batch.size + len(lines) > MAX_DATAGRAM_BYTES:
                self._send()
            batch.lines.append(lines)
            batch.size += len(lines) + 1
            now = time.monotonic()
            if self._is_batching and now - batch.sent_at < MAX_DELAY:
                return True
            batch.sent_at = now
            return self._send() or OSError("StatsD: the datagram could not be sent")

    def _send(self) -> bool:
        """Sends what is held back, under its lock; says whether that was possible."""
        batch = self._batch
        lines, batch.lines, batch.size = batch.lines, [], 0
        if not lines:
            return True
        try:
            self._socket.sendto(b"\n".join(lines), self._target)
        except OSError:
            self._dropped.add(len(lines))
            return False
        return True

    def _lines(self, event: str, measurements: Mapping[str, object], metadata: Mapping[str, object]) -> bytes:
        """The metrics of an event, a line each."""
        name = self._prefix + ".".join(_name(part) for part in event.split("."))
        tags = self._tags(metadata)
        rate = f"|@{self._sample_rate:g}" if self._sample_rate < 1 else ""
        lines = [f"{name}:1|c{rate}{tags}"]
        for key, value in measurements.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value) or key == "system_time":
                continue
            metric = f"{name}.{_name(str(key))}"
            kind, number = self._kind(event, str(key), value)
            if kind == "g":
                if number < 0 and not self._dogstatsd:
                    # A sign means a change of the gauge, so it is set to nothing first.
                    lines.append(f"{metric}:0|g")
                lines.append(f"{metric}:{_text(number)}|g{tags}")
            else:
                lines.append(f"{metric}:{_text(number)}|{kind}{rate}{tags}")
        return "\n".join(lines).encode()

    def _kind(self, event: str, key: str, value: int | float) -> tuple[str, int | float]:
        """The type of a metric, and its value in the unit of that."""
        for end, factor in _TO_MS.items():
            if key.endswith(end):
                return "ms", value * factor
        if key == "count" or key.endswith(("_count", "_total")):
            return "c", value
        if event.endswith(".sampled"):
            return "g", value
        return ("h" if self._dogstatsd else "ms"), value

    def _tags(self, metadata: Mapping[str, object]) -> str:
        if not self._dogstatsd:
            return ""
        tags = [f"{_tag(key).replace(':', '%3A')}:{_tag(value)}" for key, value in metadata.items() if key != "error_message"]
        return f"|#{','.join(tags)}" if tags else ""


class _Batch:
    """What one process holds back."""

    __slots__ = ("is_awaited", "lines", "lock", "pid", "sent_at", "size")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = RLock()
        """Held for no longer than a datagram takes to be handed over; never one that a fork found held."""
        self.lines: list[bytes] = []
        """The metrics of an event each."""
        self.size = 0
        """Their bytes, with a line end each."""
        self.sent_at = -MAX_DELAY
        """When a datagram left because it was time."""
        self.is_awaited = False
        """Whether the end of the process waits for it."""


def _name(text: str) -> str:
    """A part of a name, without anything that a server would change or split."""
    if text.isascii() and text.replace("_", "a").isalnum():
        return text
    return "".join(_ENCODED[byte] for byte in text.encode("utf-8", "surrogatepass"))


def _tag(text: object) -> str:
    return str(text).translate(_IN_TAGS)


def _text(number: int | float) -> str:
    """A number without an exponent, which not every server reads."""
    if isinstance(number, int):
        return str(int(number))
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
