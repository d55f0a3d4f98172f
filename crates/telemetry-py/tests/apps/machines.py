"""A second machine: a network of its own with one cable to this one, and a box on the way that cuts connections."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

RST = struct.pack("ii", 1, 0)
"""Closes with a reset, as a broken way does."""


def are_possible() -> bool:
    """Whether this process may make networks, which root in a container often may not."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    trial = f"telemetry-trial-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True).returncode == 0
    if made:
        cable = ["link", "add", f"tt{os.getpid()}"[:15], "type", "veth", "peer", "name", "eth0", "netns", trial]
        made = subprocess.run(["ip", *cable], capture_output=True).returncode == 0
        subprocess.run(["ip", "netns", "delete", trial], capture_output=True, check=True)
    return made


class Machine:
    """The other one; programs run there behind `command`, and look up names in `hosts`."""

    def __init__(self) -> None:
        self.name = f"telemetry-{os.getpid()}"
        number = os.getpid() % 200 + 20
        self.ours = (f"10.77.{number}.1", f"10.77.{number}.3")
        """Addresses of this machine as that one sees it."""
        self.command = ("ip", "netns", "exec", self.name)
        self.hosts = Path("/etc/netns") / self.name / "hosts"
        self._cable = f"tel{os.getpid()}"[:15]
        self._theirs = f"10.77.{number}.2/24"

    def __enter__(self) -> Machine:
        self.hosts.parent.mkdir(parents=True)
        self.hosts.touch()
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        for address in self.ours:
            _ip("addr", "add", f"{address}/24", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        _ip("-n", self.name, "addr", "add", self._theirs, "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", self.name)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._cable)
        shutil.rmtree(self.hosts.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.hosts.parent.parent.rmdir()

    def call(self, name: str, address: str) -> None:
        """From now on this is the address of the name there."""
        self.hosts.write_text(f"{address} {name}\n")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Box:
    """Leads connections to a port to another one, until it cuts them."""

    def __init__(self, address: str, port: int, to: str) -> None:
        host, _, number = to.rpartition(":")
        self._to = (host, int(number))
        self._listener = socket.create_server((address, port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.led = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                came, _ = self._listener.accept()
                goes = socket.create_connection(self._to)
            except OSError:
                return
            with self._lock:
                self._open |= {came, goes}
                self.led += 1
            for source, sink in ((came, goes), (goes, came)):
                threading.Thread(target=self._lead, args=(source, sink), daemon=True).start()

    def _lead(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while more := source.recv(65_536):
                sink.sendall(more)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cuts what is open, in both directions and with whatever is under way."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.cuts += len(ends) // 2

    def close(self) -> None:
        """Nobody is led any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@contextlib.contextmanager
def box(address: str, port: int, to: str) -> Iterator[Box]:
    made = Box(address, port, to)
    try:
        yield made
    finally:
        made.close()
