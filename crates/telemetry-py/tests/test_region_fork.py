"""Whose the memory of a worker is in its forked children."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest
from manager import PATIENCE
from taker import Taker, Worker, digest, holders, said, tell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are memory files on Linux only")

FORKS = int(os.environ.get("TELEMETRY_TEST_FORKS", "200"))
"""10,000 for all of them."""

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
