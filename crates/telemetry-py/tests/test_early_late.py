"""Events before anything is started and after the exit has begun."""

from __future__ import annotations

import subprocess
import sys

import pytest
from manager import PATIENCE, Manager
from witness import Worker, received

LONG_EXIT = {"TELEMETRY_EXIT_TIMEOUT_MS": "60000"}


def test_what_is_emitted_before_serve_is_sent(tmp_path):
    program = """
    for i in range(300):
        emit(f"early.event{i}")
    with telemetry.span("early.work"):
        server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    emit("late.event")
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        names = received(manager)
        assert worker.end() == 0, worker.errors
        span = ["early.work.start", "early.work.stop"]
        assert [name for name in names if name not in span] == worker.emitted()
        assert len(names) == 303


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_what_finds_no_room_before_serve_is_not_started(tmp_path, overflow):
    program = """
    for i in range(25):
        emit(f"early.event{i}")
    stats = telemetry.stats()
    assert (stats["emitted"], stats["queued"], stats["dropped"]) == (25, 10, {"not_started": 15}), stats
    print(telemetry.serve().address, flush=True)
    wait()
    attached()
    """
    environment = {"TELEMETRY_MAX_BUFFER": "10", "TELEMETRY_OVERFLOW": overflow, **LONG_EXIT}
    with Worker(tmp_path, program, **environment) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted()[:10]
        assert worker.end() == 0, worker.errors


def test_what_was_never_started_is_counted_at_the_end(python):
    result = python(
        """
        import atexit, os, threading, telemetry_py as telemetry
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(7):
            telemetry.emit("a.b")
        assert not telemetry.is_enabled() and telemetry.get_backend() is None
        stats = telemetry.stats()
        assert (stats["emitted"], stats["queued"], stats["dropped"]) == (7, 7, {}), stats
        assert not telemetry.flush(60), "nobody to flush to"
        assert set(os.listdir("/proc/self/fd")) == before
        assert len(os.listdir("/proc/self/task")) == 1 and atexit._ncallbacks() == 0
        assert not telemetry.shutdown()
        telemetry.emit("a.b")
        stats = telemetry.stats()
        assert (stats["emitted"], stats["queued"]) == (8, 0), stats
        assert stats["dropped"] == {"not_started": 7, "not_running": 1}, stats
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("environment", [{"TELEMETRY_BACKEND": "none"}, {"TELEMETRY_DISABLED": "1"}, {}])
def test_what_is_turned_off_counts_nothing(python, environment):
    result = python(
        f"""
        import telemetry_py as telemetry
        if {not environment}:
            telemetry.set_backend(None)
        telemetry.emit("a.b")
        assert telemetry.stats()["emitted"] == 0
        assert telemetry.flush() and telemetry.shutdown()
        """,
        **environment,
    )
    assert result.returncode == 0, result.stderr


def test_early_events_are_kept_for_serve_while_an_object_takes_the_others(tmp_path):
    program = """
    emit("early.event")
    memory = telemetry.MemoryBackend()
    telemetry.set_backend(memory)
    telemetry.emit("other.event")
    assert memory.names() == ["other.event"]
    print(telemetry.serve().address, flush=True)
    wait()
    attached()
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted() == ["early.event"]
        assert worker.end() == 0, worker.errors


def test_the_settings_are_those_of_serve(python):
    result = python(
        """
        import os, time, telemetry_py as telemetry
        telemetry.emit("early.event")
        os.environ["TELEMETRY_RESOURCE_INTERVAL_MS"] = "10"
        with telemetry.serve():
            while telemetry.stats()["emitted"] < 3:
                time.sleep(0.001)
        """
    )
    assert result.returncode == 0, result.stderr


def test_an_object_takes_nothing_from_the_stream(tmp_path):
    program = """
    server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    emit("first.event")
    memory = telemetry.MemoryBackend()
    telemetry.set_backend(memory)
    for i in range(500):
        telemetry.emit(f"object.event{i}")
    with telemetry.span("object.work"):
        pass
    telemetry.set_backend(telemetry.ServerBackend())
    emit("last.event")
    assert memory.names() == [f"object.event{i}" for i in range(500)] + ["object.work.start", "object.work.stop"]
    stats = telemetry.stats()
    assert (stats["emitted"], stats["delivered"]) == (504, 502), stats
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        # The sequences that `received` looks at have no gap.
        assert received(manager) == worker.emitted() == ["first.event", "last.event"]
        assert worker.end() == 0, worker.errors


HOOKS = """
import atexit, weakref
emit("very.early")
atexit.register(emit, "hook.registered.before")
class Ending:
    def __del__(self, emit=emit):
        emit("finalizer.of.module")
server = telemetry.serve()
print(server.address, flush=True)
atexit.register(emit, "hook.registered.after")
class Object:
    pass
kept = Object()
weakref.finalize(kept, emit, "finalizer.of.object")
ending = Ending()
wait()
attached()
emit("in.time")
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("raise KeyboardInterrupt", -2)],
    ids=["return", "exit", "exception", "interrupt"],
)
def test_exit_hooks_and_finalizers_still_send(tmp_path, end, code):
    with Worker(tmp_path, HOOKS.format(end=end), **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        names = received(manager)
        assert worker.end() == code, worker.errors
        assert names == worker.emitted()
        expected = {"hook.registered.before", "hook.registered.after", "finalizer.of.object", "finalizer.of.module"}
        assert expected <= set(names)


def test_a_hook_that_ends_the_process_keeps_its_code(tmp_path):
    program = """
    import atexit
    atexit.register(os._exit, 4)
    server = telemetry.serve()
    print(server.address, flush=True)
    emit("first.event")
    wait()
    attached()
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        manager.until("first.event")
        worker.go()
        assert worker.end() == 4, worker.errors


def test_what_is_emitted_after_a_shutdown_is_not_running(tmp_path):
    program = """
    import atexit
    def last():
        telemetry.emit("too.late")
        print(telemetry.stats()["dropped"], flush=True)
    atexit.register(last)
    telemetry.serve()
    telemetry.shutdown()
    """
    with Worker(tmp_path, program) as worker:
        assert worker.line() == "{'not_running': 1}"
        assert worker.end() == 0, worker.errors


MULTIPROCESSING = """
import multiprocessing
from multiprocessing.util import Finalize

def child(ours, theirs):
    ours.close()
    stats = telemetry.stats()
    assert stats["emitted"] == stats["queued"] == 0, stats
    emit("child.early")
    server = telemetry.serve()
    Finalize(None, emit, args=("child.finalizer",), exitpriority=0)
    Finalize(None, emit, args=("child.late.finalizer",), exitpriority=-10)
    theirs.send(server.address)
    theirs.recv()
    attached()
    emit("child.event")
    assert telemetry.stats()["emitted"] == 2

if __name__ == "__main__":
    telemetry.serve()
    telemetry.emit("parent.event")
    context = multiprocessing.get_context({method!r})
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(ours, theirs))
    process.start()
    print(ours.recv(), flush=True)
    wait()
    ours.send("go")
    process.join(60)
    stats = telemetry.stats()
    assert stats["emitted"] == stats["queued"] == 1, stats
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_counts_for_itself_and_sends_to_its_last(tmp_path, method):
    program = MULTIPROCESSING.format(method=method)
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        names = received(manager)
        assert worker.end() == 0, worker.errors
        assert names == worker.emitted()
        assert names == ["child.early", "child.event", "child.finalizer", "child.late.finalizer"]


FORKS = """
telemetry.serve()
for i in range(5):
    telemetry.emit("parent.event")
pid = os.fork()
if pid == 0:
    code = 1
    try:
        stats = telemetry.stats()
        assert stats["emitted"] == stats["queued"] == 0 and not stats["dropped"], stats
        for i in range(20):
            emit("child.event")
        {child}
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(code)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
stats = telemetry.stats()
assert stats["emitted"] == stats["queued"] == 5, stats
sys.exit(code)
"""


def test_what_a_child_that_serves_nobody_emits_is_in_its_stats(tmp_path):
    child = """
        stats = telemetry.stats()
        assert (stats["emitted"], stats["queued"], stats["dropped"]) == (20, 8, {"not_started": 12}), stats
        telemetry.shutdown()
        stats = telemetry.stats()
        assert (stats["emitted"], stats["queued"], stats["dropped"]) == (20, 0, {"not_started": 20}), stats
    """
    environment = {"TELEMETRY_ON_FORK": "reset", "TELEMETRY_MAX_BUFFER": "8"}
    with Worker(tmp_path, FORKS.replace("{child}", child.strip()), **environment) as worker:
        assert worker.end() == 0, worker.errors


def test_what_a_child_that_is_off_emits_counts_nowhere(tmp_path):
    child = 'assert telemetry.stats()["emitted"] == 0 and not telemetry.is_enabled()'
    with Worker(tmp_path, FORKS.format(child=child), TELEMETRY_ON_FORK="disable") as worker:
        assert worker.end() == 0, worker.errors


def test_what_a_child_that_serves_emits_is_sent(tmp_path):
    tmp_path.chmod(0o700)
    socket = f"unix:{tmp_path}/worker.sock"
    child = """
        print(os.getpid(), flush=True)
        wait()
        attached()
        assert telemetry.shutdown(60)
        stats = telemetry.stats()
        assert (stats["emitted"], stats["sent"], stats["dropped"]) == (20, 20, {}), stats
    """
    environment = {"TELEMETRY_ON_FORK": "restart", "TELEMETRY_ADDRESS": socket, **LONG_EXIT}
    program = FORKS.replace("{child}", child.strip())
    with Worker(tmp_path, program, **environment) as worker, Manager(f"unix:{tmp_path}/worker.{worker.line()}.sock") as manager:
        worker.go()
        assert received(manager) == worker.emitted()
        assert worker.end() == 0, worker.errors


TIMEOUTS = [float("inf"), float("-inf"), float("nan"), -1.0, 1e300, -1e300, 0.0, 5e-324]


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_no_timeout_does_harm(timeout):
    program = f"""
inf, nan = float("inf"), float("nan")
import telemetry_py as telemetry
for _ in range(2):
    telemetry.emit("a.b")
    telemetry.flush({timeout!r})
    with telemetry.serve(timeout={timeout!r}) as server:
        telemetry.emit("a.b")
        telemetry.flush({timeout!r})
        server.close({timeout!r})
    telemetry.shutdown({timeout!r})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0 and not result.stderr, result.stderr


@pytest.mark.parametrize("milliseconds", ["0", str(2**32 - 1)])
def test_no_time_for_the_exit_does_harm(tmp_path, milliseconds):
    program = """
    server = telemetry.serve()
    print(server.address, flush=True)
    emit("first.event")
    wait()
    attached()
    """
    with Worker(tmp_path, program, TELEMETRY_EXIT_TIMEOUT_MS=milliseconds) as worker, Manager(worker.line()) as manager:
        manager.until("first.event")
        worker.go()
        assert worker.end() == 0, worker.errors
        assert not worker.errors
