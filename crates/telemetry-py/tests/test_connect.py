"""Dialling in to a manager: a real process, and a manager that shares no code with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest
import telemetry_py as telemetry
from acceptor import Acceptor, frame, until
from manager import PATIENCE
from witness import Worker, same

LONG_EXIT = {"TELEMETRY_EXIT_TIMEOUT_MS": "60000"}
"""An end that waits this long has missed that there is nothing to wait for."""
SHORT = 30
"""Seconds of an end that does not wait, on a machine that is busy."""

SCRIPT = """
telemetry.start()
for i in range(20):
    emit(f"script.event{i}")
"""


@pytest.fixture
def acceptor(tmp_path):
    with Acceptor(tmp_path / "run") as acceptor:
        yield acceptor


def test_scripts_that_live_for_no_time_lose_nothing(tmp_path, acceptor):
    for i in range(20):
        directory = tmp_path / str(i)
        directory.mkdir()
        with Worker(directory, SCRIPT, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
            assert worker.end() == 0, worker.errors
            assert not worker.errors
            assert acceptor.names(20) == worker.emitted()
    assert acceptor.arrived.empty()


@pytest.mark.parametrize(
    "program",
    [SCRIPT + "sys.exit(3)", SCRIPT + "telemetry.shutdown()\nos._exit(3)"],
)
def test_the_code_of_a_script_is_its_own(tmp_path, acceptor, program):
    with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
        assert worker.end() == 3, worker.errors
        assert acceptor.names(20) == worker.emitted()


def test_what_late_hooks_emit_arrives(tmp_path, acceptor):
    program = """
    import atexit
    atexit.register(emit, "hook.before")
    telemetry.start()
    atexit.register(emit, "hook.after")
    emit("in.time")
    """
    with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
        assert worker.end() == 0, worker.errors
        assert acceptor.names(3) == worker.emitted() == ["in.time", "hook.after", "hook.before"]


def absent(path):
    return None


def refusing(path):
    # Bound, and nobody listens any more.
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


@pytest.mark.parametrize("make", [absent, refusing])
def test_where_nobody_is_the_end_takes_no_time(tmp_path, make):
    path = tmp_path / "manager.sock"
    make(path)
    program = SCRIPT + "import time; print(time.monotonic(), flush=True)"
    with Worker(tmp_path, program, TELEMETRY_MANAGER=f"unix:{path}", **LONG_EXIT) as worker:
        ending = float(worker.line())
        assert worker.end() == 0, worker.errors
        assert time.monotonic() - ending < SHORT
        assert not worker.errors


SAYING = """
import time
begun = time.monotonic()
telemetry.start()
assert time.monotonic() - begun < 30
for i in range(20):
    emit(f"script.event{i}")
while telemetry.stats()["connect_error"] is None and "--wait" in sys.argv:
    time.sleep(0.001)
assert telemetry.stats()["queued"] == 20
print(telemetry.stats()["connect_error"], flush=True)
"""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (frame({"answer": "refused", "reason": "no such pool"}), "no such pool"),
        (frame({"answer": "wait", "seconds": 3}), "wait for 3 s"),
        (frame({"answer": "moved", "address": "nowhere"}), "nowhere"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100, ""),
        (b"", ""),
    ],
    ids=["refused", "wait", "moved", "garbage", "nothing"],
)
def test_a_manager_that_does_not_take_it_is_told_of_and_not_waited_for(tmp_path, answer, error):
    with Acceptor(tmp_path / "run", answer) as acceptor:
        program = SAYING.replace('"--wait" in sys.argv', "True")
        with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
            assert error in worker.line()
            begun = time.monotonic()
            assert worker.end() == 0, worker.errors
            assert time.monotonic() - begun < SHORT
        assert acceptor.introductions.get(timeout=PATIENCE)["pid"] == worker.process.pid


def test_a_manager_that_says_nothing_is_waited_for_within_bounds(tmp_path):
    with Acceptor(tmp_path / "run", None) as acceptor:
        environment = {"TELEMETRY_MANAGER": acceptor.address, "TELEMETRY_EXIT_TIMEOUT_MS": "300"}
        with Worker(tmp_path, SAYING, **environment) as worker:
            assert worker.line() == "None"
            begun = time.monotonic()
            assert worker.end() == 0, worker.errors
            assert time.monotonic() - begun < SHORT
            assert not worker.errors


def test_a_second_start_changes_nothing(tmp_path, acceptor):
    program = """
    for _ in range(3):
        telemetry.start()
        telemetry.connect()
        assert telemetry.serve().address == ""
    emit("first.event")
    attached()
    server = telemetry.serve()
    assert server.clients == 1
    assert telemetry.stats()["manager"] == os.environ["TELEMETRY_MANAGER"]
    names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
    assert sorted(names)[-2:] == ["telemetry", "telemetry-poll"] and len(names) == 4, names
    assert server.close(60)
    """
    with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, TELEMETRY_STALL_MS="500", **LONG_EXIT) as worker:
        assert worker.end() == 0, worker.errors
        assert acceptor.names(1) == ["first.event"]
    assert acceptor.introductions.get()["pid"] == worker.process.pid
    assert acceptor.introductions.empty()


def test_early_events_are_sent_and_a_flush_waits_for_the_connection(tmp_path, acceptor):
    program = """
    emit("early.event")
    telemetry.connect(sys.argv[1] if len(sys.argv) > 1 else os.environ.pop("MANAGER"))
    emit("late.event")
    assert telemetry.flush(60)
    # A cut would have gRPC forget what it has not handed over yet.
    wait()
    os._exit(0)
    """
    with Worker(tmp_path, program, MANAGER=acceptor.address) as worker:
        assert acceptor.names(2) == ["early.event", "late.event"]
        worker.go()
        assert worker.end() == 0, worker.errors


def test_a_manager_that_comes_later_gets_what_waited(tmp_path):
    path = tmp_path / "run" / "manager.sock"
    program = SCRIPT + "print('emitted', flush=True); attached()"
    with Worker(tmp_path, program, TELEMETRY_MANAGER=f"unix:{path}", **LONG_EXIT) as worker:
        assert worker.line() == "emitted"
        with Acceptor(path.parent) as acceptor:
            assert acceptor.names(20) == worker.emitted()
            assert worker.end() == 0, worker.errors


def test_the_worker_says_who_it_is(tmp_path, acceptor):
    program = "telemetry.start()\nemit('a.b')\n"
    environment = {"TELEMETRY_MANAGER": acceptor.address, **LONG_EXIT}
    with Worker(tmp_path, program, **environment) as worker:
        assert worker.end() == 0, worker.errors
    said = acceptor.next()[0]
    assert said["worker"] == f"program-{os.uname().nodename}"[: 8 + 40] + f"-{worker.process.pid}"
    assert said["pid"] == worker.process.pid and len(said["incarnation"]) == 32
    with Worker(tmp_path, program, TELEMETRY_WORKER_ID="w1", TELEMETRY_POOL="p", **environment) as worker:
        assert worker.end() == 0, worker.errors
    said = acceptor.next()[0]
    assert (said["worker"], said["pool"]) == ("w1", "p")


def test_one_recorder_has_one_way(python, acceptor, tmp_path):
    result = python(
        f"""
        import telemetry_py as telemetry
        def refused(call, *arguments):
            try:
                call(*arguments)
            except ValueError as error:
                assert "already" in str(error), error
                return True
        telemetry.connect({acceptor.address!r})
        telemetry.connect({acceptor.address!r})
        telemetry.connect()
        telemetry.start()
        assert refused(telemetry.connect, "unix:/other.sock")
        assert refused(telemetry.serve, "127.0.0.1:0")
        assert telemetry.shutdown(60)
        with telemetry.serve("unix:{tmp_path}/run/w.sock") as server:
            assert refused(telemetry.connect, {acceptor.address!r})
            assert server.address == telemetry.serve().address
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("address", ["somewhere", "", "unix:", "unix:/a.sock,", "127.0.0.1:4317", "unix:/" + "x" * 200])
def test_a_manager_that_nobody_can_reach_is_refused(address):
    with pytest.raises(ValueError, match="address"):
        telemetry.connect(address)
    assert telemetry.stats()["manager"] is None


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        (telemetry.connect, {"address": 5}, "address=5 is not allowed; expected "),
        (telemetry.connect, {"address": b"unix:/m.sock"}, "address=b'unix:/m.sock' is not allowed; expected "),
        (telemetry.serve, {"address": 5}, "address=5 is not allowed; expected "),
        (telemetry.serve, {"ready_file": 5}, "ready_file=5 is not allowed; expected "),
        (telemetry.serve, {"ready_file": b"ready"}, "ready_file=b'ready' is not allowed; expected "),
        (telemetry.serve, {"timeout": "5"}, "timeout='5' is not allowed; expected "),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(call, arguments, said):
    with pytest.raises(TypeError) as refused:
        call(**arguments)
    assert str(refused.value).startswith(said), refused.value
    assert telemetry.stats()["manager"] is None


@pytest.mark.parametrize("call", ["start", "connect"])
def test_where_nothing_is_said_nothing_is_started_and_said_once(python, call):
    result = python(
        f"""
        import os, telemetry_py as telemetry
        for _ in range(3):
            telemetry.{call}()
        telemetry.emit("a.b")
        assert telemetry.stats()["queued"] == 1
        assert len(os.listdir("/proc/self/task")) == 1
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("TELEMETRY_MANAGER") == 1 and result.stderr.count("\n") == 1, result.stderr


@pytest.mark.parametrize(
    ("environment", "check"),
    [
        ({"TELEMETRY_BACKEND": "none"}, "telemetry.get_backend() is None"),
        ({"TELEMETRY_DISABLED": "1", "TELEMETRY_MANAGER": "unix:/m.sock"}, "telemetry.get_backend() is None"),
        ({"TELEMETRY_BACKEND": "memory"}, "telemetry.get_backend().names() == ['a.b'] * 2"),
        ({"TELEMETRY_BACKEND": "memory", "TELEMETRY_MANAGER": "unix:/m.sock"}, "telemetry.get_backend().names() == ['a.b'] * 2"),
    ],
)
def test_start_does_what_the_environment_says(python, environment, check):
    result = python(
        f"""
        import os, telemetry_py as telemetry
        for _ in range(2):
            telemetry.start()
            telemetry.connect()
            telemetry.emit("a.b")
        assert {check}
        assert len(os.listdir("/proc/self/task")) == 1
        """,
        **environment,
    )
    assert result.returncode == 0 and not result.stderr, result.stderr


def test_start_writes_lines_where_stderr_is_asked_for(python):
    result = python("import telemetry_py as t; t.start(); t.start(); t.emit('a.b')", TELEMETRY_BACKEND="stderr")
    assert result.returncode == 0 and result.stderr.count("TELEMETRY:") == 1, result.stderr


def test_start_serves_where_an_address_is_said(tmp_path, python):
    tmp_path.chmod(0o700)
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.start()
        telemetry.start()
        assert telemetry.serve().address == __import__("os").environ["TELEMETRY_ADDRESS"]
        """,
        TELEMETRY_ADDRESS=f"unix:{tmp_path}/w.sock",
    )
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert not (tmp_path / "w.sock").exists()


@pytest.mark.parametrize("variable", ["TELEMETRY_MANAGER", "TELEMETRY_ADDRESS"])
def test_an_event_loop_is_not_blocked(tmp_path, variable):
    tmp_path.chmod(0o700)
    # A manager that says nothing; for the other way an address that is taken.
    with Acceptor(tmp_path / "run", None) as acceptor:
        program = """
        import asyncio, time
        async def main():
            for call in (telemetry.start, telemetry.serve, telemetry.start):
                begun = time.perf_counter()
                call()
                print(time.perf_counter() - begun, flush=True)
            emit("a.b")
        asyncio.run(main())
        """
        took = []
        for _ in range(3):
            environment = {variable: acceptor.address, "TELEMETRY_EXIT_TIMEOUT_MS": "1"}
            with Worker(tmp_path, program, **environment) as worker:
                took.append(max(float(worker.line()) for _ in range(3)))
                assert worker.end() == 0, worker.errors
        # What else the machine does is not counted.
        assert min(took) < 0.1, took


def test_a_child_of_subprocess_starts_for_itself(tmp_path, acceptor):
    program = """
    telemetry.start()
    emit("parent.event")
    if len(sys.argv) == 1:
        import subprocess
        sys.exit(subprocess.call([sys.executable, __file__, "child"]))
    """
    with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
        assert worker.end() == 0, worker.errors
        assert same(acceptor.names(2), worker.emitted())
    pids = {acceptor.introductions.get(timeout=PATIENCE)["pid"] for _ in range(2)}
    assert worker.process.pid in pids and len(pids) == 2


def test_the_connection_is_looked_for_without_end_and_in_silence(tmp_path):
    directory = tmp_path / "run"
    program = SCRIPT + "print('emitted', flush=True); wait()"
    first = Acceptor(directory)
    with Worker(tmp_path, program, TELEMETRY_MANAGER=first.address, **LONG_EXIT) as worker:
        assert worker.line() == "emitted"
        assert first.names(20) == worker.emitted()
        first.close()
        with Acceptor(directory) as second:
            said = second.introductions.get(timeout=PATIENCE)
            assert said["incarnation"] == first.introductions.get(timeout=PATIENCE)["incarnation"]
            worker.go()
            assert worker.end() == 0, worker.errors
            assert not worker.errors


def test_the_threads_leave_signals_alone(acceptor):
    program = f"""
import os, telemetry_py as telemetry
telemetry.connect({acceptor.address!r})
telemetry.emit("a.b")
# Then both have got as far as to have their names.
assert telemetry.flush({PATIENCE})
for task in os.listdir("/proc/self/task"):
    status = dict(line.rstrip().split(":", 1) for line in open(f"/proc/self/task/{{task}}/status") if ":" in line)
    if status["Name"].strip().startswith("telemetry"):
        assert int(status["SigBlk"], 16) & (1 << 1), status["Name"]
        print(status["Name"])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0 and len(result.stdout.split()) == 2, result
    until(lambda: not acceptor.introductions.empty())
