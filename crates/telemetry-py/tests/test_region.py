"""The memory of a worker that its manager can read: whose it is in a forked child, how long it is held, what becomes
of it where the system gives none. The manager is a socket that takes descriptors and answers nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptor import MAGIC, Acceptor
from manager import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are memory files on Linux only")

SEALS = 0x1 | 0x2 | 0x4 | 0x10
"""`F_SEAL_SEAL`, `_SHRINK`, `_GROW`, `_FUTURE_WRITE`: nobody can resize or write it."""
F_GET_SEALS = 1034
FORKS = int(os.environ.get("TELEMETRY_TEST_FORKS", "200"))
"""10,000 for all of them."""

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


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    taker = Taker(tmp_path)
    yield taker
    taker.close()


Worker = subprocess.Popen[str]


@pytest.fixture
def worker() -> Iterator[Callable[..., Worker]]:
    """Starts programs that are told what to do over their standard streams."""
    started: list[Worker] = []

    def start(program: str, **environment: str) -> Worker:
        program = LOOKS + textwrap.dedent(program)
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


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


def test_each_manager_is_handed_the_memory_of_the_worker(taker: Taker, worker: Callable[..., Worker]) -> None:
    process = worker(
        """
        telemetry.emit("a.b")
        before = telemetry.stats()["region"]
        telemetry.start()
        say(before=before, after=telemetry.stats()["region"], mapped=mapped())
        sys.stdin.readline()
        """,
        TELEMETRY_MANAGER=taker.address,
    )
    told = said(process)
    introduction, [fd] = taker.nth(0)
    assert told == {"before": "heap", "after": "shared", "mapped": [os.fstat(fd).st_ino]}
    assert "region" in introduction["capabilities"] and introduction["pid"] == process.pid
    assert fcntl.fcntl(fd, F_GET_SEALS) & SEALS == SEALS
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(fd, b"x", 0)
    content = bytes_of(fd)
    pid, high, low = struct.unpack_from("=3Q", content, 16)
    assert pid == process.pid and f"{high:016x}{low:016x}" == introduction["incarnation"]
    assert b"a.b" in content, "what came before the start is there"
    taker.hang_up()
    again, [another] = taker.nth(1)
    assert again["incarnation"] == introduction["incarnation"]
    assert os.fstat(another).st_ino == os.fstat(fd).st_ino


def test_what_waited_for_a_manager_to_be_named_is_there_too(
    taker: Taker, worker: Callable[..., Worker]
) -> None:
    process = worker(
        """
        telemetry.emit("early.event")
        telemetry.connect(sys.stdin.readline().strip())
        say(**telemetry.stats())
        sys.stdin.readline()
        """
    )
    assert process.stdin is not None
    process.stdin.write(taker.address + "\n")
    process.stdin.flush()
    assert said(process)["region"] == "shared"
    _, [fd] = taker.nth(0)
    assert b"early.event" in bytes_of(fd)


def test_a_worker_that_serves_has_nothing_to_hand_out(python: Any) -> None:
    result = python(
        LOOKS
        + """
with telemetry.serve():
    telemetry.emit("a.b")
    assert telemetry.stats()["region"] == "heap"
    assert mapped() == held() == []
"""
    )
    assert result.returncode == 0, result.stderr


FORKS_WITH_A_FULL_RING = """
telemetry.start()
def fill():
    for _ in range(100_000):
        telemetry.emit("parent.event", {"count": 1}, {"key": "value" * 20})
        if telemetry.stats()["dropped"]:
            return True
assert fill()
with telemetry.span("parent.work"):
    [parents] = mapped()
    before = telemetry.stats()
    say(inode=parents)
    sys.stdin.readline()
    for number in range(FORKS):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert mapped() == held() == [], (mapped(), held())
                stats = telemetry.stats()
                assert stats["emitted"] == stats["queued"] == 0 and not stats["dropped"], stats
                with telemetry.span("child.op"):
                    telemetry.emit("child.event")
                stats = telemetry.stats()
                assert stats["emitted"] == 3 and stats["region"] == "shared", stats
                closes(stats)
                assert len(mapped()) == 1 and parents not in mapped() + held()
                code = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0, number
    after = telemetry.stats()
    closes(after)
    changed = {key for key in before if before[key] != after[key]}
    # Nobody answered meanwhile.
    assert changed <= {"connect_error"}, (before, after)
    if os.fork() == 0:
        telemetry.emit("child.event")
        say(child=os.getpid(), mapped=mapped(), held=held())
        sys.stdin.readline()
        os._exit(0)
    signal = __import__("signal")
    signal.pause()
"""


def test_forks_with_a_full_ring_leave_the_parent_as_it_was(
    taker: Taker, worker: Callable[..., Worker]
) -> None:
    process = worker(
        FORKS_WITH_A_FULL_RING.replace("FORKS", str(FORKS)),
        TELEMETRY_MANAGER=taker.address,
    )
    inode = said(process)["inode"]
    _, [fd] = taker.nth(0)
    assert os.fstat(fd).st_ino == inode
    before = digest(fd)
    tell(process)
    # A child that is still there when its parent is gone.
    child = said(process)
    assert digest(fd) == before, "a child wrote into the memory of its parent"
    assert child["mapped"] != [inode] and len(child["mapped"]) == 1
    assert inode not in child["held"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert digest(fd) == before, "it outlives its process as it was"
    assert holders(inode) == []
    taker.let_go()
    assert holders(child["mapped"][0]) != [], "the child has its own"


def test_a_long_line_of_descendants_leaves_nothing_behind(
    taker: Taker, worker: Callable[..., Worker]
) -> None:
    process = worker(
        """
        telemetry.start()
        telemetry.emit("a.b")
        def places():
            "How many mappings are as long as a region, one behind the other counted as one."
            with open("/proc/self/maps") as maps:
                lines = [line.split() for line in maps]
            lengths = [(int(end, 16) - int(begin, 16), line)
                       for line in lines for begin, end in [line[0].split("-")]]
            [own] = [length for length, line in lengths if "memfd:telemetry" in line[-2] + line[-1]]
            return sum(length == own for length, _ in lengths)
        first = mapped()
        for depth in range(200):
            read, write = os.pipe()
            if os.fork():
                # Ends when the youngest has.
                os.close(write)
                os.read(read, 1)
                if depth == 0:
                    sys.stdin.readline()
                os._exit(0)
            os.close(read)
            assert mapped() == held() == [], depth
            telemetry.emit("a.b")
            stats = telemetry.stats()
            assert stats["emitted"] == 1 and stats["region"] == "shared", (depth, stats)
            assert len(mapped()) == len(set(held())) == 1, (depth, mapped(), held())
        say(first=first, last=mapped(), places=places())
        """,
        TELEMETRY_MANAGER=taker.address,
    )
    told = said(process)
    assert told["last"] != told["first"]
    assert told["places"] == 1, "the child takes the place of its parent"
    tell(process)
    process.wait(PATIENCE)


def test_starting_again_and_again_uses_one_place_after_the_other(tmp_path: Path, python: Any) -> None:
    with Acceptor(tmp_path / "m") as acceptor:
        result = python(
            LOOKS
            + """
for number in range(100):
    telemetry.start()
    telemetry.emit("a.b")
    stats = telemetry.stats()
    assert stats["region"] == "shared", (number, stats)
    # What was ended is let go of within a beat.
    assert len(mapped()) < 50 and len(held()) <= 2, (number, mapped(), held())
    assert telemetry.shutdown(10)
import time
deadline = time.monotonic() + 30
while len(mapped()) > 2:
    assert time.monotonic() < deadline, mapped()
    telemetry.stats()
    time.sleep(0.01)
assert telemetry.stats()["emitted"] == telemetry.stats()["sent"] == 100
""",
            TELEMETRY_MANAGER=acceptor.address,
        )
        assert result.returncode == 0, result.stderr


FOREIGN_HANDS = """
import fcntl
path = sys.argv[1] if len(sys.argv) > 1 else os.environ["THEIRS"]
telemetry.start()
telemetry.emit("a.b")
[own] = [int(name) for name in os.listdir("/proc/self/fd")
         if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}")
         and "memfd:telemetry" in os.readlink(f"/proc/self/fd/{name}")]
say(own=own)
sys.stdin.readline()
theirs = os.open(path, os.O_RDWR | os.O_CREAT)
os.dup2(theirs, own)
say(closed=True)
sys.stdin.readline()
os.lseek(own, 0, 0)
assert os.read(own, 100) == b"", "somebody wrote into it"
os.write(own, b"mine")
import time
deadline = time.monotonic() + 30
while not (stats := telemetry.stats())["descriptors_closed"]:
    assert time.monotonic() < deadline, "nobody looks"
    time.sleep(0.01)
say(region=stats["region"], closed=stats["descriptors_closed"])
sys.stdin.readline()
assert telemetry.shutdown(0.1) in (True, False)
os.lseek(own, 0, 0)
assert os.read(own, 100) == b"mine", "somebody closed it"
say(over=True)
"""


def test_a_descriptor_that_became_somebody_elses_is_not_handed_out(
    tmp_path: Path, taker: Taker, worker: Callable[..., Worker]
) -> None:
    theirs = tmp_path / "theirs"
    process = worker(FOREIGN_HANDS, TELEMETRY_MANAGER=taker.address, THEIRS=str(theirs))
    assert said(process)["own"] > 2
    _, fds = taker.nth(0)
    assert len(fds) == 1
    tell(process)
    assert said(process)["closed"]
    taker.hang_up()
    introduction, fds = taker.nth(1)
    assert fds == [] and "region" not in introduction["capabilities"]
    tell(process)
    assert said(process) == {"region": "heap", "closed": 1}
    tell(process)
    assert said(process)["over"]
    assert theirs.read_bytes() == b"mine"


def test_a_descriptor_that_nobody_uses_is_looked_at_as_well(
    tmp_path: Path, taker: Taker, worker: Callable[..., Worker]
) -> None:
    process = worker(FOREIGN_HANDS, TELEMETRY_MANAGER=taker.address, THEIRS=str(tmp_path / "theirs"))
    said(process)
    taker.nth(0)
    tell(process)
    said(process)
    # The manager neither answers nor hangs up, for 5 s.
    tell(process)
    assert said(process) == {"region": "heap", "closed": 1}


@pytest.mark.parametrize(
    ("limit", "regions"),
    [
        ("FSIZE, (65_536, 65_536)", {"heap"}),
        ("NOFILE, (used_files, used_files)", {"heap"}),
        # Nothing at all, the queue and no region, both.
        ("AS, (used, used)", {"heap"}),
        ("AS, (used + 3_000_000, used + 3_000_000)", {"heap", "shared"}),
        ("AS, (used + 5_000_000, used + 5_000_000)", {"heap", "shared"}),
        ("AS, (used + 20_000_000, used + 20_000_000)", {"shared"}),
    ],
)
def test_a_worker_that_may_have_little_still_emits(
    python: Any, taker: Taker, limit: str, regions: set[str]
) -> None:
    result = python(
        LOOKS
        + f"""
import resource
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
used_files = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_{limit})
for _ in range(20_000):
    telemetry.emit("a.b", {{"count": 1}})
stats = telemetry.stats()
closes(stats)
# Without memory for a queue there is no telemetry, and no other harm.
assert stats["queued"] > 1_000 if stats["emitted"] else "AS" in {limit!r}, stats
try:
    telemetry.start()
except MemoryError:
    pass
after = telemetry.stats()
assert after["region"] in {regions!r}, after
assert after["emitted"] == stats["emitted"], (stats, after)
closes(after)
os._exit(0)
""",
        TELEMETRY_MANAGER=taker.address,
    )
    assert result.returncode == 0, (result.returncode, result.stderr)
