"""The memory of a worker that its manager can read: what it is handed, how long it is held, what becomes of it where the
system gives none or a program takes it away."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptor import Acceptor
from taker import LOOKS, Taker, Worker, bytes_of, said, tell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are memory files on Linux only")

SEALS = 0x1 | 0x2 | 0x4 | 0x10
"""`F_SEAL_SEAL`, `_SHRINK`, `_GROW`, `_FUTURE_WRITE`: nobody can resize or write it."""
F_GET_SEALS = 1034


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
