"""A manager that is a socket: it takes what workers hand it with their introduction and answers nothing. And programs
that look at the memory files of their own."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

from acceptor import MAGIC
from manager import PATIENCE

Worker = subprocess.Popen[str]
"""A program that is told what to do over its standard streams."""

LOOKS = """
import json, os, sys, threading
import telemetry_py as telemetry

def mapped():
    "Inodes of the memory files of telemetry that are mapped here."
    with open("/proc/self/maps") as maps:
        return [int(line.split()[4]) for line in maps if "memfd:telemetry" in line]

def held():
    "Inodes of those that are open."
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:telemetry" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(os.stat(f"/proc/self/fd/{name}").st_ino)
        except FileNotFoundError:
            pass
    return found

def closes(stats):
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats
    assert stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"], stats

def say(**what):
    print(json.dumps(what), flush=True)
"""


MOST = 8
"""Who comes later is sent away."""


class Taker:
    """Listens as a manager does and keeps the descriptors that come."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "taker.sock"
        self.address = f"unix:{self.path}"
        self.came: list[tuple[dict[str, Any], list[int]]] = []
        self._more = threading.Condition()
        self._kept: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1024)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            head, fds, _, _ = socket.recv_fds(connection, len(MAGIC) + 4, 4)
            if len(head) < len(MAGIC) + 4:
                continue
            length = struct.unpack(">I", head[-4:])[0]
            body = connection.recv(length, socket.MSG_WAITALL)
            with self._more:
                if len(body) == length and len(self.came) < MOST:
                    self.came.append((json.loads(body), fds))
                    self._kept.append(connection)
                    self._more.notify_all()
                    continue
            connection.close()
            for fd in fds:
                os.close(fd)

    def nth(self, number: int) -> tuple[dict[str, Any], list[int]]:
        """The introduction of that number, and what came with it."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.came) > number, PATIENCE), "nobody came"
            return self.came[number]

    def hang_up(self) -> None:
        """Ends all connections, so that workers come again."""
        with self._more:
            for connection in self._kept:
                connection.close()
            self._kept.clear()

    def let_go(self) -> None:
        """Closes all that came."""
        with self._more:
            for _, fds in self.came:
                for fd in fds:
                    os.close(fd)
            self.came = [(who, []) for who, _ in self.came]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self.let_go()


def said(worker: Worker) -> dict[str, Any]:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    assert line, "it ended"
    found: dict[str, Any] = json.loads(line)
    return found


def tell(worker: Worker) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def bytes_of(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def digest(fd: int) -> str:
    return hashlib.sha256(bytes_of(fd)).hexdigest()


def holders(inode: int) -> list[str]:
    """Which processes have this memory file open or mapped, this one apart."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            maps = (process / "maps").read_text()
            if any("memfd:telemetry" in line and line.split()[4] == str(inode) for line in maps.splitlines()):
                found.append(f"{process.name} maps it")
            for fd in (process / "fd").iterdir():
                if "memfd:telemetry" in os.readlink(fd) and os.stat(fd).st_ino == inode:
                    found.append(f"{process.name} has it open")
        except OSError:
            pass
    return found
