"""No memory left, no thread to be had: the program goes on, and hears of it as of anything of Python.

The limits are those of the system, set in processes of their own. A process that fills its memory does so
until Python itself has a `MemoryError`, so none of these tests passes without the fault.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import grpc
import pytest
from manager import PATIENCE, Manager

FILL = """
import os, resource, sys
import telemetry_py as telemetry
import telemetry_py._lifecycle, telemetry_py.backends.memory

def fill(smallest):
    "Takes all memory down to pieces of this size, which gives back what the list itself needs."
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    held, piece, failures = None, 1 << 24, 0
    while piece >= smallest:
        try:
            held = (held, bytearray(piece))
        except MemoryError:
            piece >>= 1
            failures += 1
    assert failures
    return held

def release():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
ENOUGH_FOR_PYTHON = 65_536
"""Pieces that are left over; less, and the tests' own lines fail."""

CALLS = {
    "serve": "telemetry.serve()",
    "connect": "telemetry.connect('unix:/run/nobody/manager.sock')",
    "queue": "telemetry.set_backend(telemetry.ServerBackend())",
    "object": "telemetry.set_backend(telemetry.MemoryBackend())",
}


@pytest.mark.parametrize("smallest", [1_000_000, ENOUGH_FOR_PYTHON, 4_096, 256])
@pytest.mark.parametrize("call", CALLS)
def test_what_needs_memory_raises_a_memory_error_and_works_once_there_is_some(python, call, smallest):
    result = python(
        FILL
        + f"""
held = fill({smallest})
try:
    {CALLS[call]}
    seen = None
except BaseException as error:
    seen = type(error)
release()
held = None
assert seen in (MemoryError, OSError), seen
{CALLS[call]}
assert telemetry.is_enabled()
telemetry.emit("a.b")
stats = telemetry.stats()
assert stats["emitted"] == stats["queued"] + stats["delivered"] == 1, stats
""",
        RUST_BACKTRACE="0",
    )
    assert result.returncode == 0, result.stderr
    assert "PanicException" not in result.stderr


@pytest.mark.parametrize("smallest", [1_000_000, ENOUGH_FOR_PYTHON, 4_096])
@pytest.mark.parametrize("way", ["nothing", "serve", "connect", "stderr"])
def test_start_and_emit_raise_nothing(python, tmp_path, way, smallest):
    variables = {
        "nothing": {},
        "serve": {"TELEMETRY_BACKEND": "server"},
        "connect": {"TELEMETRY_MANAGER": f"unix:{tmp_path}/manager.sock"},
        "stderr": {"TELEMETRY_BACKEND": "stderr"},
    }[way]
    result = python(
        FILL
        + f"""
held = fill({smallest})
telemetry.start()
telemetry.start()
for _ in range(1_000):
    telemetry.emit("a.b", {{"count": 1}}, {{"key": "value"}})
release()
held = None
telemetry.start()
before = telemetry.stats()["emitted"]
telemetry.emit("a.b")
assert telemetry.stats()["emitted"] == before + 1
""",
        RUST_BACKTRACE="0",
        **variables,
    )
    assert result.returncode == 0, result.stderr
    assert "PanicException" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("telemetry: ")]
    # That there is no memory, for the start and for the events, and what a start without a word says.
    assert len(said) == len(set(said)) <= (3 if way == "nothing" else 2), said


def test_events_with_new_names_and_large_ones_go_on_without_memory(python):
    result = python(
        FILL
        + """
telemetry.set_backend(telemetry.ServerBackend())
telemetry.emit("warm.up", {}, {"key": "x" * 1_000})
names = [f"name.n{i}" for i in range(500)]
large = {f"key{i}": "x" * 1_000 for i in range(30)}
held = fill(256)
for name in names:
    telemetry.emit(name)
for _ in range(100):
    telemetry.emit("large.event", {}, large)
release()
held = None
stats = telemetry.stats()
assert stats["emitted"] == 601 and not stats["dropped"].get("internal_error"), stats
assert stats["emitted"] == stats["queued"] + sum(stats["dropped"].values()), stats
""",
        RUST_BACKTRACE="0",
    )
    assert result.returncode == 0, result.stderr


# In development mode threads begin late enough to find no memory at all.
@pytest.mark.parametrize("development_mode", ["", "1"])
def test_a_manager_that_dials_meanwhile_ends_nothing_and_is_served_later(tmp_path, development_mode):
    program = textwrap.dedent(FILL) + textwrap.dedent(
        """
        server = telemetry.serve()
        telemetry.emit("a.b")
        print(server.address, flush=True)
        held = fill(256)
        os.write(1, b"full\\n")
        while True:
            try:
                os.read(0, 1)
                break
            except MemoryError:
                pass
        release()
        held = None
        print("released", flush=True)
        sys.stdin.read()
        """
    )
    # One heap for all threads: those of telemetry have no memory of their own set aside.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0", "PYTHONDEVMODE": development_mode}
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = worker.stdout.readline().strip()
        assert worker.stdout.readline() == "full\n", worker.communicate()
        with grpc.insecure_channel(address) as channel:
            # The fault: a worker with memory is ready in milliseconds.
            with pytest.raises(grpc.FutureTimeoutError):
                grpc.channel_ready_future(channel).result(1.5)
        assert worker.poll() is None, worker.stderr.read()
        worker.stdin.write("x")
        worker.stdin.flush()
        assert worker.stdout.readline() == "released\n", worker.stderr.read()
        with Manager(address) as manager:
            assert manager.until("a.b")
        _, said = worker.communicate("", timeout=PATIENCE)
        assert worker.returncode == 0, said
    finally:
        worker.kill()
        worker.communicate()


THREADLESS = """
import os, resource, threading
import telemetry_py as telemetry
import telemetry_py._lifecycle, multiprocessing.util, warnings, linecache

# Root is above this limit.
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    pass
else:
    raise SystemExit(77)

def threads_again():
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
"""


@pytest.mark.parametrize("way", ["serve", "connect", "argument"])
def test_without_a_thread_nothing_starts_and_nothing_is_lost(python, way):
    variables = {
        "serve": {"TELEMETRY_ADDRESS": "127.0.0.1:0", "TELEMETRY_INSECURE": "1"},
        "connect": {"TELEMETRY_MANAGER": "unix:/run/nobody/manager.sock"},
        "argument": {},
    }[way]
    begin = {
        "argument": """
for call in (lambda: telemetry.serve("127.0.0.1:0", insecure=True), lambda: telemetry.connect("unix:/run/nobody/manager.sock")):
    try:
        call()
    except OSError:
        pass
    else:
        raise AssertionError
"""
    }.get(way, "telemetry.start()\ntelemetry.start()\n")
    result = python(
        THREADLESS
        + begin
        + """
for _ in range(10):
    telemetry.emit("a.b")
assert telemetry.stats()["queued"] == 10, telemetry.stats()
threads_again()
"""
        + ("assert telemetry.serve().is_running" if way == "argument" else "telemetry.start()\nassert len(os.listdir('/proc/self/task')) > 1")
        + "\nassert telemetry.stats()['queued'] == 10\n",
        TELEMETRY_EXIT_TIMEOUT_MS="1",
        **variables,
    )
    if result.returncode == 77:
        pytest.skip("threads are not limited here")
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("telemetry: nothing is started")]
    assert len(said) == (0 if way == "argument" else 1), result.stderr
