"""One call of `StreamTelemetry` by hand, over HTTP/2 frames: a manager that sends a deadline and does not
enforce it itself, as stock managers are.

A client of gRPC's own would throw away what arrives at the moment of the deadline, and nobody could tell what
the worker has lost.
"""

from __future__ import annotations

import socket
import struct
import threading

PATIENCE = 60.0

_PATH = b"/snakepit.bridge.BridgeService/StreamTelemetry"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE = 4
_LARGE = 1 << 20
TOGGLE_ON = b"\x0a\x02\x08\x01"
"""`TelemetryControl {toggle {enabled: true}}`"""


class RawCall:
    """A call that is read by a thread until it ends."""

    def __init__(self, port: int, timeout: str | None, *, window: int = _LARGE, controls: tuple[bytes, ...] = (TOGGLE_ON,)) -> None:
        self.messages: list[bytes] = []
        """What came whole."""
        self.end: str | None = None
        """How it ended: "trailers", "reset" or "closed"."""
        self.arrived = threading.Condition()
        self._reads = window > 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._buffer = b""
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", _PATH),
            (b":authority", b"localhost"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        ]
        if timeout is not None:
            headers.append((b"grpc-timeout", timeout.encode()))
        block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers)
        sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings)
        sent += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGE))
        sent += _frame(_HEADERS, _END_HEADERS, 1, block)
        sent += b"".join(_frame(_DATA, 0, 1, _message(control)) for control in controls)
        self._socket.sendall(sent)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def say(self, control: bytes) -> None:
        self._socket.sendall(_frame(_DATA, 0, 1, _message(control)))

    def wait(self) -> str:
        """Waits for the end."""
        self._thread.join(PATIENCE)
        assert self.end is not None, "the call did not end"
        return self.end

    def wait_for(self, count: int) -> None:
        """Waits for so many messages."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count or self.end is not None, PATIENCE)
        assert len(self.messages) >= count, self.end

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(PATIENCE)
        self._socket.close()

    def _read(self) -> None:
        try:
            while self.end is None:
                self._take_frame()
        except OSError:
            self.end = "closed"
        with self.arrived:
            self.arrived.notify_all()

    def _take_frame(self) -> None:
        header = self._exactly(9)
        size, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        stream = int.from_bytes(header[5:], "big")
        payload = self._exactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA and stream == 1:
            self._buffer += payload
            self._take_messages()
            if self._reads and size:
                more = struct.pack(">I", size)
                self._socket.sendall(_frame(_WINDOW_UPDATE, 0, 0, more) + _frame(_WINDOW_UPDATE, 0, 1, more))
        elif kind == _RST_STREAM and stream == 1:
            self.end = "reset"
        elif kind == _GOAWAY:
            self.end = "closed"
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self.end = "trailers"

    def _take_messages(self) -> None:
        while len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[1:5], "big")
            if len(self._buffer) < end:
                return
            with self.arrived:
                self.messages.append(self._buffer[5:end])
                self.arrived.notify_all()
            self._buffer = self._buffer[end:]

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            some = self._socket.recv(size - len(found))
            if not some:
                raise ConnectionError("closed")
            found += some
        return found


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _message(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message
