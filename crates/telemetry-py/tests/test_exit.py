"""The end of a process: bounded, and its exit code is its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest
from manager import PATIENCE, Manager, name_of
from witness import Worker, received

LONG_EXIT = {"TELEMETRY_EXIT_TIMEOUT_MS": "60000"}
"""An end that waits this long has missed that there is nothing to wait for."""
SHORT = 30
"""Seconds of an end that does not wait, on a machine that is busy."""

WORKER = """
import sys
import telemetry_py as telemetry
server = telemetry.serve()
print(server.address, flush=True)
telemetry.emit("first.event")
sys.stdin.readline()
telemetry.emit("last.event")
{end}
"""


def start(end: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(end=textwrap.dedent(end))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    return worker, worker.stdout.readline().strip()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("raise KeyboardInterrupt", -2),
        ("import os, signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); os.kill(os.getpid(), 15)", 4),
        ("import threading; threading.Thread(target=lambda: None).start()", 0),
        ("telemetry.shutdown(); telemetry.shutdown()", 0),
        ("server.close()", 0),
    ],
    ids=["return", "sys.exit", "exception", "interrupt", "sigterm", "thread", "shutdown", "close"],
)
def test_what_is_queued_is_sent_and_the_code_is_kept(end, code):
    worker, address = start(end, **LONG_EXIT)
    with Manager(address) as manager:
        manager.until("first.event")
        begun = time.monotonic()
        worker.stdin.write("go\n")
        worker.stdin.flush()
        assert [name_of(event) for event in manager.rest() if event.event_parts] == ["last.event"]
        worker.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < SHORT
    assert worker.returncode == code


def test_without_a_manager_the_exit_takes_no_time():
    worker, _ = start("import time; print(time.monotonic(), flush=True)", **LONG_EXIT)
    out, err = worker.communicate("go\n", timeout=2 * PATIENCE)
    assert worker.returncode == 0, err
    assert time.monotonic() - float(out) < SHORT


def test_with_a_dead_manager_the_exit_is_bounded():
    end = """
    for i in range(1000):
        telemetry.emit("a.b", None, {"key": "x" * 900})
    import time
    print(time.monotonic(), flush=True)
    """
    worker, address = start(end, TELEMETRY_MAX_BUFFER="4096")
    # A manager that dials, asks for the stream and never reads again: it is stopped.
    manager = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys, os, signal; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
            "from manager import Manager\n"
            "manager = Manager(sys.argv[1]); manager.until('first.event')\n"
            "print('streaming', flush=True); os.kill(os.getpid(), signal.SIGSTOP)\n",
            address,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert manager.stdout.readline() == "streaming\n"
        os.waitid(os.P_PID, manager.pid, os.WSTOPPED)
        out, err = worker.communicate("go\n", timeout=PATIENCE)
        ended = time.monotonic()
        assert worker.returncode == 0, err
        assert ended - float(out) < SHORT
    finally:
        manager.kill()
        manager.wait()
        manager.stdout.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_sends_what_it_has(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, sys
            import telemetry_py as telemetry

            def child(pipe):
                server = telemetry.serve()
                telemetry.emit("first.event")
                pipe.send(server.address)
                pipe.recv()
                telemetry.emit("last.event")

            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                telemetry.serve()
                ours, theirs = context.Pipe()
                process = context.Process(target=child, args=(theirs,))
                process.start()
                print(ours.recv(), flush=True)
                sys.stdin.readline()
                ours.send("go")
                process.join(60)
                sys.exit(process.exitcode)
            """
        )
    )
    parent = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **LONG_EXIT},
    )
    with Manager(parent.stdout.readline().strip()) as manager:
        manager.until("first.event")
        parent.stdin.write("go\n")
        parent.stdin.flush()
        assert [name_of(event) for event in manager.rest() if event.event_parts] == ["last.event"]
        parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 0


@pytest.mark.parametrize("where", ["backend", "value", "mapping"])
def test_a_daemon_thread_inside_an_emit_does_not_spoil_the_end(python, where):
    # Such a thread is ended wherever it asks for the GIL, which these do in there all the time.
    program = f"""
        import threading, time
        import telemetry_py as telemetry
        inside = threading.Event()
        class Slow(dict):
            def emit(self, *event):
                inside.set()
                for _ in range(100):
                    time.sleep(0.0002)
            def items(self):
                self.emit()
                return ()
            def __str__(self):
                self.emit()
                return "slow"
        if {where!r} == "backend":
            telemetry.set_backend(Slow())
        else:
            telemetry.set_backend(telemetry.ServerBackend())
        def work():
            while True:
                telemetry.emit("a.b", None, Slow() if {where!r} == "mapping" else {{"key": Slow()}})
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        assert inside.wait(60)
        """
    for _ in range(5):
        result = python(program)
        assert result.returncode == 0, (result.returncode, result.stderr)


def test_who_ends_telemetry_a_second_time_takes_nothing_from_the_first(tmp_path):
    program = """
    import threading
    server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    for i in range(1000):
        emit(f"event.n{i}")
    barrier = threading.Barrier(4)
    def end():
        barrier.wait()
        assert telemetry.shutdown()
    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = telemetry.stats()
    assert (stats["sent"], stats["dropped"]) == (1000, {}), stats
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted()
        assert worker.end() == 0, worker.errors
        assert not worker.errors
