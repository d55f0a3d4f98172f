"""A small manager that workers dial in to: reads the introduction, answers it, and then is the gRPC client
on that very connection.

gRPC cannot be given a connection, so it connects to a relay, which passes bytes on to the worker's.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manager import PATIENCE, Manager, name_of

MAGIC = b"TELEMETRY/1"


def frame(content: dict[str, Any]) -> bytes:
    """A first word, of either side."""
    body = json.dumps(content).encode()
    return MAGIC + struct.pack(">I", len(body)) + body


WELCOME = frame({"answer": "welcome"})


class Acceptor:
    """Listens at `manager.sock` below `directory` and says `answer` to everybody; who is welcome is
    collected from."""

    def __init__(self, directory: Path, answer: bytes | None = WELCOME) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory
        self.path = directory / "manager.sock"
        self.address = f"unix:{self.path}"
        self.answer = answer
        """`None` says nothing and keeps the connection."""
        self.introductions: queue.Queue[dict[str, Any]] = queue.Queue()
        """Who came."""
        self.arrived: queue.Queue[tuple[dict[str, Any], str]] = queue.Queue()
        """Who sent what, in order for each."""
        self._kept: list[Any] = []
        self._ended = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._kept.append(connection)
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        try:
            head = _exactly(connection, len(MAGIC) + 4)
            assert head.startswith(MAGIC), head
            introduction = json.loads(_exactly(connection, struct.unpack(">I", head[-4:])[0]))
        except (OSError, EOFError):
            return
        self.introductions.put(introduction)
        if self.answer is None:
            return
        # A worker that is gone meanwhile is no fault of ours.
        with contextlib.suppress(OSError):
            connection.sendall(self.answer)
        if self.answer == WELCOME:
            self._collect(introduction, connection)
        else:
            connection.close()

    def _collect(self, introduction: dict[str, Any], connection: socket.socket) -> None:
        path = self._directory / f"{introduction['incarnation'][:8]}.{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            manager = Manager(f"unix:{path}")
            relayed, _ = listener.accept()
        self._kept.append(relayed)
        path.unlink()
        for source, target in ((connection, relayed), (relayed, connection)):
            threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()
        # One that says nothing for so long is left alone.
        with contextlib.suppress(queue.Empty):
            for event in manager.rest():
                if event.event_parts:
                    self.arrived.put((introduction, name_of(event)))
        manager.close()

    def next(self) -> tuple[dict[str, Any], str]:
        """The next event and who sent it."""
        return self.arrived.get(timeout=PATIENCE)

    def names(self, count: int) -> list[str]:
        """The names of so many events."""
        return [self.next()[1] for _ in range(count)]

    def close(self) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._kept:
            # Whoever waits for something on it is to know.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Acceptor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(holds: Callable[[], bool], what: Callable[[], object] = lambda: "nothing") -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.001)


def _exactly(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = connection.recv(count - len(read))
        if not more:
            raise EOFError
        read += more
    return read


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
