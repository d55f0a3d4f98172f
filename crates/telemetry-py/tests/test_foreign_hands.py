"""A program that closes descriptors it did not open, and then uses their numbers for its own files.

The worker is a process that does as it is told over its standard streams, which such a program
leaves alone. What became of its files is read from the file system; the manager is a stock one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manager import PATIENCE, Manager, name_of

FIRST, LAST = 3, 256
"""The numbers that the program closes, the last one not included."""

OBEYS = """
import errno, fcntl, json, os, resource, socket, sys, time
import telemetry_py as telemetry

FIRST, LAST, APART = {first}, {last}, 1000
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

def sockets():
    "Our descriptors that are sockets: nobody here has any but the server."
    found = {{}}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found[int(name)] = target
    return found

def wait(what):
    deadline = time.monotonic() + {patience}
    while not (seen := what()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.001)
    return seen

def close_all():
    "Closes what is not ours; fails if the server had nothing to lose."
    before = sockets()
    os.closerange(FIRST, LAST)
    assert len(before) >= 2 and all(number in range(FIRST, LAST) for number in before), before
    assert not set(before.values()) & set(sockets().values()), before

def closed():
    return telemetry.stats()["descriptors_closed"]

def apart(fd):
    "A descriptor at a number that nobody closes."
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD, APART)
    os.close(fd)
    return moved

def takes(number, fd):
    try:
        return os.dup2(fd, number)
    except OSError as error:
        # The server is just about to get this number for a new socket.
        assert error.errno == errno.EBUSY, error

def replace(before, opened):
    "Closes what is not ours and has its numbers stand for what is; the server is too late."
    os.closerange(FIRST, max(opened) + 1)
    for number, fd in opened.items():
        wait(lambda: takes(number, fd))
        os.close(fd)
    assert len(before) >= 2 and set(before) <= set(opened), before
    for number, target in before.items():
        assert os.readlink("/proc/self/fd/%d" % number) != target, number

def replace_with_files(directory):
    "Files of our own under all those numbers, each with a line in it."
    before = sockets()
    os.makedirs(directory)
    opened = {{}}
    for number in {{*range(FIRST, LAST), *before}}:
        file = os.open("%s/%d" % (directory, number), os.O_CREAT | os.O_RDWR | os.O_APPEND)
        os.write(file, b"mine\\n")
        opened[number] = apart(file)
    replace(before, opened)
    return sorted(opened)

def replace_with_sockets():
    "Connections to ourselves under all those numbers; returns the other ends, which are elsewhere."
    before = sockets()
    opened, others = {{}}, []
    for number in {{*range(FIRST, LAST), *before}}:
        one, other = socket.socketpair()
        other.send(b"mine")
        others.append(socket.socket(fileno=apart(other.detach())))
        opened[number] = apart(one.detach())
    replace(before, opened)
    return sorted(opened), others

def emit_for(seconds, name="while.event"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        telemetry.emit(name)
        time.sleep(0.001)

def shut():
    begun = time.monotonic()
    telemetry.shutdown()
    return time.monotonic() - begun

for order in sys.stdin:
    answer = None
    exec(json.loads(order))
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """A process that does as it is told."""

    def __init__(self, address: str) -> None:
        program = OBEYS.format(first=FIRST, last=LAST, patience=PATIENCE)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Room for what is emitted while nobody is connected.
            env={**os.environ, "TELEMETRY_MAX_BUFFER": "65536"},
        )
        self.address = self.do(f"answer = telemetry.serve({address!r}, insecure=True).address")

    def do(self, order: str) -> Any:
        """Has it do something and returns what it sets `answer` to."""
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def meets(self, mark: str) -> tuple[Manager, list[Any]]:
        """A manager that dials until it is served, and what it read up to an event of that name."""
        end = time.monotonic() + PATIENCE
        self.do(f"telemetry.emit({mark!r})")
        while time.monotonic() < end:
            manager = Manager(self.address)
            events = []
            while (event := manager.events.get(timeout=PATIENCE)) is not None:
                events.append(event)
                if name_of(event) == mark:
                    return manager, events
            assert not events, "a stream was cut"
            manager.close()
        raise AssertionError("nobody is served any more")

    def ends(self) -> None:
        """Shuts down and exits, both as if nothing had been."""
        took = self.do("answer = shut()")
        assert took < 0.5, f"the shutdown took {took:.3f} s"
        _, errors = self.process.communicate(timeout=PATIENCE)
        errors = [line for line in errors.splitlines() if "without a token" not in line]
        assert (self.process.returncode, errors) == (0, [])


@pytest.fixture(params=["unix", "tcp"])
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worker]:
    tmp_path.chmod(0o700)
    unix = request.param == "unix"
    worker = Worker(f"unix:{tmp_path}/worker.sock" if unix else "127.0.0.1:0")
    yield worker
    worker.process.kill()
    worker.process.communicate()


def untouched(directory: Path) -> None:
    """All files have what the program wrote, and nothing else."""
    files = list(directory.iterdir())
    assert len(files) >= LAST - FIRST
    spoiled = {file.name: held for file in files if (held := file.read_bytes()) != b"mine\n"}
    assert not spoiled


def sequences(events: list[Any]) -> list[int]:
    return [event.sequence for event in events if event.event_parts]


def test_no_byte_gets_into_the_files_of_the_program(worker, tmp_path):
    manager, _ = worker.meets("before.event")
    worker.do(f"replace_with_files({str(tmp_path / 'files')!r})")
    worker.do("emit_for(1.5)")
    untouched(tmp_path / "files")
    # What it closed is counted: the listener and the connection at least.
    assert worker.do("answer = closed()") >= 2
    for _ in manager.rest():
        pass
    manager.close()
    untouched(tmp_path / "files")
    worker.ends()
    untouched(tmp_path / "files")


def test_a_manager_that_dials_again_gets_what_follows(worker, tmp_path):
    manager, events = worker.meets("before.event")
    last = sequences(events)[-1]
    for times in (1, 2):
        directory = tmp_path / f"files-{times}"
        counted = worker.do("answer = closed()")
        worker.do(f"replace_with_files({str(directory)!r})")
        worker.do("emit_for(0.2)")
        for event in manager.rest():
            last = event.sequence
        manager.close()
        manager, events = worker.meets(f"after.event{times}")
        untouched(directory)
        numbers = sequences(events)
        # The ledger goes on: nothing is sent twice, and what is not sent in between is a gap.
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert last < numbers[0]
        last = numbers[-1]
        assert worker.do("answer = closed()") >= counted + 2
    ledger = worker.do("answer = telemetry.stats()")
    assert ledger["emitted"] == ledger["accepted"] == last and not any(ledger["dropped"].values())
    assert ledger["clients"] == 1
    worker.do("telemetry.emit('last.event')")
    took = worker.do("answer = shut()")
    assert took < 0.5
    assert [name_of(event) for event in manager.rest()][-1] == "last.event"
    manager.close()


def test_numbers_that_nobody_takes_are_no_less_lost(worker):
    manager, _ = worker.meets("before.event")
    worker.do("close_all()")
    worker.do("emit_for(0.1)")
    manager.close()
    again, _ = worker.meets("after.event")
    assert worker.do("answer = closed()") >= 2
    again.close()
    worker.ends()


def test_no_byte_gets_into_a_socket_of_the_program(worker):
    manager, _ = worker.meets("before.event")
    worker.do("numbers, others = replace_with_sockets()")
    worker.do("emit_for(1.5)")
    manager.close()
    # What they sent before is still there to be read by us, and nothing came from us.
    held = worker.do(
        """
answer = set()
for number, other in zip(numbers, others, strict=True):
    own = socket.socket(fileno=number)
    for end in (own, other):
        end.setblocking(False)
        try:
            answer.add((end is own, end.recv(100).decode("latin-1")))
        except BlockingIOError:
            answer.add((end is own, None))
    own.close()
    other.close()
answer = sorted(answer)
"""
    )
    assert held == [[False, None], [True, "mine"]]
    again, _ = worker.meets("after.event")
    again.close()
    worker.ends()


def test_a_worker_that_nobody_listens_to_notices_as_well(worker, tmp_path):
    worker.do(f"replace_with_files({str(tmp_path / 'files')!r})")
    worker.do("wait(closed)")
    manager, events = worker.meets("after.event")
    assert sequences(events) == [1]
    untouched(tmp_path / "files")
    manager.close()
    worker.ends()


@pytest.mark.parametrize("reopen", [False, True])
def test_a_shutdown_at_once_is_not_delayed(worker, tmp_path, reopen):
    manager, _ = worker.meets("before.event")
    worker.do(f"replace_with_files({str(tmp_path / 'files')!r})" if reopen else "close_all()")
    worker.do("telemetry.emit('lost.event')")
    worker.ends()
    if reopen:
        untouched(tmp_path / "files")
    manager.close()


def test_a_child_keeps_what_the_program_opened(worker, tmp_path):
    manager, _ = worker.meets("before.event")
    worker.do(f"numbers = replace_with_files({str(tmp_path / 'files')!r})")
    # At once: the server may not have noticed.
    status = worker.do(
        """
pid = os.fork()
if pid == 0:
    code = 1
    try:
        for number in numbers:
            os.fstat(number)
        # It says that nobody gets this, which is not what is looked at here.
        sys.stderr = None
        telemetry.emit("child.event")
        code = 0
    finally:
        os._exit(code)
answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    )
    assert status == 0
    untouched(tmp_path / "files")
    manager.close()
    worker.ends()
