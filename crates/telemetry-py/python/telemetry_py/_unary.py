"""The two unary calls by which a manager sees that a worker lives, without protobuf.

``PingRequest {1 message}`` → ``PingResponse {1 message, 2 server_time}`` and ``HeartbeatRequest`` →
``HeartbeatResponse {1 server_time, 2 session_valid}``; a time is ``{1 seconds, 2 nanos}``.
"""

from __future__ import annotations

import time

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""How a field is encoded."""


def answer_ping(request: bytes) -> bytes:
    """The text of the request, and what time it is. A request that cannot be read has no text."""
    try:
        message = _text_of(request, 1)
    except (IndexError, ValueError):
        message = b""
    text = _field(1, message) if message else b""
    return text + _field(2, _timestamp(time.time_ns()))


def answer_heartbeat(request: bytes) -> bytes:
    """What time it is, and that the session is valid, whichever it is."""
    return _field(1, _timestamp(time.time_ns())) + _tag(2, _VARINT) + b"\x01"


def _text_of(message: bytes, wanted: int) -> bytes:
    """The last value of a field of bytes; empty if there is none."""
    found, at = b"", 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind} cannot be read")
        value = message[at : at + size]
        if len(value) < size:
            raise ValueError("the message is cut off")
        at += size
        if number == wanted and kind == _BYTES:
            found = value
    return found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number, shift = 0, 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has too many bytes")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, value: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(value)) + value


def _timestamp(unix_ns: int) -> bytes:
    seconds, nanos = divmod(unix_ns, 1_000_000_000)
    return _tag(1, _VARINT) + _varint(seconds) + _tag(2, _VARINT) + _varint(nanos)
