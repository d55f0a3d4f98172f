"""`flush_on_signal`: real signals to real processes, held against what they emitted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import telemetry_py as telemetry
from manager import PATIENCE, Manager, name_of
from witness import Worker, received

LONG_EXIT = {"TELEMETRY_EXIT_TIMEOUT_MS": "60000", "TELEMETRY_MAX_BUFFER": "65536"}

SERVE = """
import signal, time

def pause():
    # `signal.pause` would sleep on if the signal came just before it.
    while True:
        time.sleep(0.01)

server = telemetry.serve()
telemetry.flush_on_signal()
print(server.address, flush=True)
"""
BURST = """
wait()
attached()
for i in range(2000):
    emit(f"burst.event{i}")
print("emitted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_all_is_sent_before_the_signal_takes_its_course(tmp_path, number):
    # Whoever started the tests may ignore it, as `nohup` does; what is ignored stays ignored.
    program = f"import signal\nsignal.signal({int(number)}, signal.SIG_DFL)\n"
    program += SERVE.replace("flush_on_signal()", f"flush_on_signal({int(number)})") + BURST + "pause()\n"
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        worker.line()
        worker.process.send_signal(number)
        assert received(manager) == worker.emitted()
        assert manager.code.name == "OK"
        assert worker.end() == -number, worker.errors


def test_a_signal_in_the_midst_of_a_burst_loses_nothing(tmp_path):
    # Emitted by another thread, so that the handler comes between any two steps of it.
    program = (
        SERVE
        + """
import threading
def work():
    for i in range(1_000_000):
        emit(f"burst.event{i % 1000}")
wait()
attached()
threading.Thread(target=work, daemon=True).start()
pause()
"""
    )
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        manager.until("burst.event100")
        worker.process.send_signal(signal.SIGTERM)
        arrived = [name_of(event) for event in manager.rest() if event.event_parts]
        assert worker.end() == -signal.SIGTERM, worker.errors
        # What was emitted after the end of telemetry is the rest of the truth.
        emitted = worker.emitted()[101:]
        assert arrived == emitted[: len(arrived)]


@pytest.mark.parametrize("first", ["telemetry.flush_on_signal()", ""], ids=["set before", "set after"])
def test_a_handler_of_the_program_is_called_and_still_sends(tmp_path, first):
    program = f"""
    import signal
    def stop(number, frame):
        emit("handler.event")
        sys.exit(7)
    signal.signal(signal.SIGTERM, stop)
    telemetry.flush_on_signal()
    telemetry.flush_on_signal(signal.SIGTERM, signal.SIGTERM)
    {first}
    server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    emit("first.event")
    os.kill(os.getpid(), signal.SIGTERM)
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted() == ["first.event", "handler.event"]
        assert worker.end() == 7, worker.errors


def test_a_handler_that_goes_on_goes_on_with_telemetry(tmp_path):
    program = """
    import signal
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    telemetry.flush_on_signal()
    server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    for i in range(3):
        emit("before.signal")
        os.kill(os.getpid(), signal.SIGTERM)
        emit("after.signal")
    assert len(stopped) == 3
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted()
        assert worker.end() == 0, worker.errors


def test_a_chain_of_handlers_comes_to_an_end(tmp_path):
    program = """
    import signal
    calls = []
    signal.signal(signal.SIGTERM, lambda *_: calls.append("first"))
    telemetry.flush_on_signal()
    ours = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *given: (calls.append("second"), ours(*given)))
    telemetry.flush_on_signal()
    os.kill(os.getpid(), signal.SIGTERM)
    assert calls == ["second", "first"], calls
    """
    with Worker(tmp_path, program) as worker:
        assert worker.end() == 0, worker.errors


def test_interrupt_stays_an_exception(tmp_path):
    program = """
    import signal
    # As in a program that nobody started with the signal ignored, which shells do in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    telemetry.flush_on_signal(signal.SIGINT, signal.SIGTERM)
    server = telemetry.serve()
    print(server.address, flush=True)
    wait()
    attached()
    try:
        emit("first.event")
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("no interrupt")
    except KeyboardInterrupt:
        emit("interrupt.event")
    """
    with Worker(tmp_path, program, **LONG_EXIT) as worker, Manager(worker.line()) as manager:
        worker.go()
        assert received(manager) == worker.emitted()
        assert worker.end() == 0, worker.errors


def test_what_is_ignored_stays_ignored(python):
    result = python(
        """
        import os, signal, telemetry_py as telemetry
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        telemetry.flush_on_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with telemetry.serve():
            os.kill(os.getpid(), signal.SIGHUP)
            telemetry.emit("a.b")
            assert telemetry.stats()["queued"] == 1
        """
    )
    assert result.returncode == 0, result.stderr


def test_without_a_manager_or_a_server_the_end_is_at_once(tmp_path):
    for serve in ("telemetry.serve()", "emit('early.event')"):
        program = f"""
        telemetry.flush_on_signal()
        {serve}
        print("ready", flush=True)
        wait()
        """
        with Worker(tmp_path, program, **LONG_EXIT) as worker:
            worker.line()
            begun = time.monotonic()
            worker.process.send_signal(signal.SIGTERM)
            assert worker.end() == -signal.SIGTERM, worker.errors
            assert time.monotonic() - begun < PATIENCE / 2


def test_a_dead_manager_does_not_hold_up_the_signal(tmp_path):
    program = """
    import signal
    telemetry.flush_on_signal()
    server = telemetry.serve()
    print(server.address, flush=True)
    emit("first.event")
    wait()
    attached()
    for i in range(3000):
        telemetry.emit("a.b", None, {"key": "x" * 900})
    os.kill(os.getpid(), signal.SIGTERM)
    """
    with Worker(tmp_path, program, TELEMETRY_MAX_BUFFER="4096") as worker:
        manager = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys, os, signal; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
                "from manager import Manager\n"
                "manager = Manager(sys.argv[1]); manager.until('first.event')\n"
                "os.kill(os.getpid(), signal.SIGSTOP)\n",
                worker.line(),
            ]
        )
        try:
            os.waitid(os.P_PID, manager.pid, os.WSTOPPED)
            begun = time.monotonic()
            worker.go()
            assert worker.end() == -signal.SIGTERM, worker.errors
            assert time.monotonic() - begun < PATIENCE / 2
        finally:
            manager.kill()
            manager.wait()


def test_a_forked_child_keeps_it_and_sends_its_own(tmp_path):
    tmp_path.chmod(0o700)
    socket = f"unix:{tmp_path}/worker.sock"
    program = """
    import time
    telemetry.serve()
    telemetry.flush_on_signal()
    telemetry.emit("parent.event")
    pid = os.fork()
    if pid == 0:
        for i in range(50):
            emit("child.event")
        print(os.getpid(), flush=True)
        while True:
            time.sleep(0.01)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stats = telemetry.stats()
    assert stats["emitted"] == stats["queued"] == 1, stats
    sys.exit(-code)
    """
    environment = {"TELEMETRY_ON_FORK": "restart", "TELEMETRY_ADDRESS": socket, **LONG_EXIT}
    with Worker(tmp_path, program, **environment) as worker:
        pid = int(worker.line())
        with Manager(f"{socket.removesuffix('.sock')}.{pid}.sock") as manager:
            # The stream is open once the first event is here.
            first = manager.next()
            assert name_of(first) == "child.event"
            os.kill(pid, signal.SIGTERM)
            rest = [name_of(event) for event in manager.rest() if event.event_parts]
            assert [name_of(first), *rest] == worker.emitted()
            assert worker.end() == signal.SIGTERM, worker.errors


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("SIGTERM", TypeError),
        (15.0, TypeError),
        (None, TypeError),
        (True, TypeError),
        ([15], TypeError),
        (0, ValueError),
        (-1, ValueError),
        (10_000, ValueError),
        (signal.SIGKILL, ValueError),
        (signal.SIGSTOP, ValueError),
        (signal.SIGCHLD, ValueError),
        (signal.SIGSEGV, ValueError),
    ],
)
def test_an_error_names_the_value_and_what_is_allowed(given, error):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(error) as caught:
        telemetry.flush_on_signal(signal.SIGTERM, given)
    text = str(caught.value)
    assert "flush_on_signal" in text and repr(given) in text and "SIGTERM, SIGINT, SIGHUP" in text
    assert signal.getsignal(signal.SIGTERM) is before, "nothing is set if not all is right"


def test_another_thread_is_told_why_not():
    caught = []

    def work():
        try:
            telemetry.flush_on_signal()
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught and "main thread" in caught[0]


def test_it_starts_nothing(python):
    result = python(
        """
        import atexit, os, telemetry_py as telemetry
        before = set(os.listdir("/proc/self/fd"))
        telemetry.flush_on_signal()
        assert len(os.listdir("/proc/self/task")) == 1 and atexit._ncallbacks() == 0
        assert set(os.listdir("/proc/self/fd")) == before
        """
    )
    assert result.returncode == 0, result.stderr


def test_the_first_process_of_a_container_is_spared(tmp_path):
    try:
        allowed = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this system gives no process namespace")
    program = """
    import os, signal, telemetry_py as telemetry
    assert os.getpid() == 1
    telemetry.flush_on_signal()
    os.kill(1, signal.SIGTERM)
    with telemetry.serve():
        os.kill(1, signal.SIGTERM)
        telemetry.emit("a.b")
        assert telemetry.stats()["queued"] == 1
    """
    result = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
