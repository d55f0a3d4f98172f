"""A plain worker that keeps the number of its emits in a page outside of telemetry.

``TRUTH_DIR/n-<pid>`` holds two numbers of eight bytes: emits that returned, and emits that began.
The page outlives the process, however it ends. Orders come as files ``order-<pid>``, are answered
with ``answer-<pid>`` (JSON), and are described in ``tests/src/truth/program.rs``. It installs no
signal handler and no exit hook, and ends when whoever started it is gone.
"""

import json
import mmap
import os
import struct
import sys
import time

import telemetry_py as telemetry

DIRECTORY = os.environ["TRUTH_DIR"]
PAUSE = 1 / float(os.environ["TRUTH_RATE"])
OWN_FILES = 48


class Page:
    """The truth of this process."""

    def __init__(self):
        self.pid = os.getpid()
        self.parent = os.getppid()
        self.tag = {"truth": str(self.pid)}
        self.count = 0
        path = f"{DIRECTORY}/n-{self.pid}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(descriptor, 16)
        self.memory = mmap.mmap(descriptor, 16)
        os.close(descriptor)

    def emit(self):
        self.count += 1
        count = struct.pack("<Q", self.count)
        self.memory[8:16] = count
        telemetry.emit("tool.result_size", {"bytes": self.count}, self.tag)
        self.memory[0:8] = count

    def order(self):
        """What somebody wants, if anything."""
        try:
            with open(f"{DIRECTORY}/order-{self.pid}") as file:
                words = file.read().split()
        except FileNotFoundError:
            return None
        os.unlink(f"{DIRECTORY}/order-{self.pid}")
        return words

    def answer(self, **facts):
        path = f"{DIRECTORY}/answer-{self.pid}"
        with open(path + ".new", "w") as file:
            json.dump(facts, file)
        os.rename(path + ".new", path)


def own_bytes(number):
    return f"the program's own line in file {number}\n".encode() * 3


def open_own_files(pid, own):
    """Closes everything but the standard three, as some libraries do, and opens files of ours.

    Raises if somebody closes what was just opened.
    """
    os.closerange(3, 256)
    for number in range(OWN_FILES):
        path = f"{DIRECTORY}/own-{pid}-{number}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, own_bytes(number))
        own.append((path, descriptor))


def foreign(own):
    """The files that do not hold exactly what we wrote, or are not open any more."""
    wrong = []
    for number, (path, descriptor) in enumerate(own):
        try:
            held = os.pread(descriptor, 4096, 0)
        except OSError as error:
            wrong.append(f"{os.path.basename(path)}: {error}")
            continue
        if held != own_bytes(number):
            wrong.append(f"{os.path.basename(path)}: {len(held)} bytes, at last {held[-24:]!r}")
    return wrong


def abandoned(page):
    """Whether nobody is left who wants this process."""
    if os.environ.get("TRUTH_ORPHANS"):
        return not os.path.isdir(DIRECTORY)
    return os.getppid() != page.parent


def main():
    page = Page()
    telemetry.serve()
    if script := os.environ.get("TRUTH_SCRIPT"):
        for _ in range(int(script)):
            page.emit()
        if os.environ.get("TRUTH_ABRUPT"):
            os._exit(0)
        return
    own, emitting, rounds = [], True, 0
    while True:
        if emitting:
            page.emit()
        time.sleep(PAUSE)
        rounds += 1
        if rounds % 4:
            continue
        if abandoned(page):
            sys.exit(0)
        words = page.order()
        if words is None:
            continue
        verb, rest = words[0], words[1:]
        if verb == "burst":
            for _ in range(int(rest[0])):
                page.emit()
            if "exit" in rest:
                os._exit(0)
            page.answer(count=page.count)
        elif verb == "hoard":
            # Until the system has no more for us, which comes at any line of this.
            hoard = [bytearray(os.urandom(4096)) for _ in range(16)]
            for _ in range(int(rest[0])):
                page.emit()
                hoard.append(bytes(hoard[0]) + b"x")
            page.answer(error="there was memory enough")
        elif verb == "pause" or verb == "resume":
            emitting = verb == "resume"
            page.answer(count=page.count)
        elif verb == "fork":
            child = os.fork()
            if child == 0:
                page = Page()
                own = []
            else:
                page.answer(child=child)
        elif verb == "closerange":
            own, hurt = [], None
            try:
                open_own_files(page.pid, own)
            except OSError as error:
                hurt = f"file {len(own)}: {error}"
            page.answer(files=len(own), hurt=hurt)
        elif verb == "check":
            page.answer(files=len(own), foreign=foreign(own))
        elif verb == "finish":
            page.answer(count=page.count)
            sys.exit(0)
        else:
            page.answer(error=f"unknown order {verb}")


main()
