"""Python that cannot run, told by a real process to a manager while it lasts."""

from __future__ import annotations

import os
import signal
import textwrap
import time

import pytest
from acceptor import Acceptor
from manager import PATIENCE, Manager, name_of
from witness import Worker


@pytest.fixture(autouse=True)
def _stalls_are_told(_no_telemetry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEMETRY_STALL_MS")


SEEN_WITHIN = 2.0
"""Seconds from the moment that the GIL is held to the word of it."""

SERVES = """
    import ctypes, re, threading, time
    telemetry.serve("unix:" + {socket!r})
    print(os.getpid(), flush=True)
    attached()
"""

def started(tmp_path, program, **environment):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    socket = str(run / "worker.sock")
    worker = Worker(tmp_path, _dedented(SERVES.format(socket=socket)) + _dedented(program), **environment)
    return worker, f"unix:{socket}"


def _dedented(text):
    return textwrap.dedent(text)


def seconds(event):
    return event.measurements["duration"].int_value / 1e9


@pytest.fixture
def stalls(tmp_path):
    """The events of stalls that a program makes, and the rest of its events, with their times of arrival."""
    kept = []

    def run(program, act=None, **environment):
        worker, address = started(tmp_path, program, **environment)
        kept.append(worker)
        pid = int(worker.line())
        with Manager(address) as manager:
            if act is not None:
                act(worker, pid, manager)
            names, events = [], {}
            for event in manager.rest():
                if event.event_parts:
                    names.append(name_of(event))
                    events.setdefault(names[-1], event)
        assert worker.end() == 0, worker.errors
        return names, events

    yield run
    for worker in kept:
        worker.__exit__()


def test_a_c_call_that_holds_the_gil_is_told_of_while_it_does(tmp_path):
    program = """
    with telemetry.span("request.handle"):
        with telemetry.span("model.load"):
            emit("holding.now")
            ctypes.PyDLL(None).usleep(3_000_000)
            emit("holding.over")
    wait()
    """
    worker, address = started(tmp_path, program)
    with worker:
        worker.line()
        with Manager(address) as manager:
            manager.until("holding.now")
            since = time.monotonic()
            told = manager.next(SEEN_WITHIN)
            assert name_of(told) == "python.stall.started"
            assert time.monotonic() - since < SEEN_WITHIN
            assert worker.emitted() == ["holding.now"], "it is told of while it lasts"
            assert told.metadata["operation"] == "model.load"
            assert told.metadata["open_spans"] == "model.load,request.handle"
            *_, ended = manager.until("python.stall.ended")
            assert 2.7 < seconds(ended) < 4.5
            assert ended.metadata["operation"] == "model.load"
            worker.go()
            assert worker.end() == 0, worker.errors
            assert worker.emitted() == ["holding.now", "holding.over"]


def test_an_expression_without_end_is_told_of(tmp_path):
    # Each attempt takes twice as long as the one before; the last one takes a second or more.
    program = """
    size = 18
    taken = 0
    while taken < 1.5:
        size += 1
        with telemetry.span("text.match"):
            held = time.monotonic()
            re.match(r"(a|a)*$", "a" * size + "b")
            taken = time.monotonic() - held
    print(taken, flush=True)
    """
    worker, address = started(tmp_path, program)
    with worker:
        worker.line()
        with Manager(address) as manager:
            events = [event for event in manager.rest() if event.event_parts]
        taken = float(worker.line())
        assert worker.end() == 0, worker.errors
    told = [event for event in events if name_of(event).startswith("python.stall")]
    assert {event.metadata["operation"] for event in told} == {"text.match"}
    names = [name_of(event) for event in told]
    assert names == ["python.stall.started", "python.stall.ended"] * (len(names) // 2)
    assert taken - 0.3 < seconds(told[-1]) < taken + 1.5


def test_the_span_is_that_of_the_thread_that_is_busy(tmp_path):
    program = """
    ready, over = threading.Event(), threading.Event()
    def waits():
        with telemetry.span("queue.wait"):
            ready.set()
            over.wait()
    with telemetry.span("text.match"):
        threading.Thread(target=waits).start()
        ready.wait()
        sum(range(80_000_000))
    over.set()
    """
    worker, address = started(tmp_path, program)
    with worker:
        worker.line()
        with Manager(address) as manager:
            events = [event for event in manager.rest() if event.event_parts]
        assert worker.end() == 0, worker.errors
    told = [event for event in events if name_of(event) == "python.stall.started"]
    assert [event.metadata["operation"] for event in told] == ["text.match"]
    assert told[0].metadata["open_spans"] == "queue.wait,text.match"


@pytest.mark.parametrize(
    "program",
    [
        "time.sleep(3)",
        # A call of C that lets others run.
        "ctypes.CDLL(None).usleep(3_000_000)",
        """
        end = time.monotonic() + 3
        def busy():
            while time.monotonic() < end:
                sum(range(1_000))
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
    ],
    ids=["sleep", "released", "busy"],
)
def test_what_lets_others_run_is_no_stall(stalls, program):
    names, _ = stalls(_dedented(program) + "\nemit('work.over')\n")
    assert names == ["work.over"]


def test_a_process_that_is_stopped_for_a_while_has_not_stalled(stalls):
    def stop(worker, pid, manager):
        manager.until("work.begun")
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while _state(pid) != "T":
            assert time.monotonic() < deadline
        time.sleep(2)
        os.kill(pid, signal.SIGCONT)
        worker.go()

    names, _ = stalls("emit('work.begun')\nwait()\ntime.sleep(1)\nemit('work.over')\n", stop)
    assert names == ["work.over"]


def _state(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def test_zero_starts_no_thread_that_beats(tmp_path):
    count = "print(len(os.listdir('/proc/self/task')), flush=True)\n"
    found = {}
    for limit in ("0", "500"):
        directory = tmp_path / limit
        directory.mkdir()
        worker, address = started(directory, count, TELEMETRY_STALL_MS=limit)
        with worker:
            worker.line()
            with Manager(address) as manager:
                found[limit] = int(worker.line())
                assert [name for event in manager.rest() if event.event_parts for name in [name_of(event)]] == []
            assert worker.end() == 0, worker.errors
    assert found["500"] == found["0"] + 1


def test_with_zero_nothing_is_told(stalls):
    names, _ = stalls("ctypes.PyDLL(None).usleep(2_000_000)\nemit('work.over')\n", TELEMETRY_STALL_MS="0")
    assert names == ["work.over"]


def test_a_forked_child_is_watched_by_itself(tmp_path):
    program = """
    import ctypes, time
    telemetry.start()
    emit("parent.first")
    child = os.fork()
    if child == 0:
        emit("child.first")
        attached()
        with telemetry.span("child.load"):
            ctypes.PyDLL(None).usleep(2_000_000)
        telemetry.shutdown()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    with Acceptor(tmp_path / "run") as acceptor, Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address) as worker:
        assert worker.end() == 0, worker.errors
        expected = {"parent.first", "child.first", "child.load.start", "child.load.stop", "python.stall.started", "python.stall.ended"}
        came = [acceptor.next() for _ in expected]
        assert {name for _, name in came} == expected
        parent = next(who for who, name in came if name == "parent.first")
        assert {name for who, name in came if who["pid"] != parent["pid"]} == expected - {"parent.first"}


def test_an_end_that_takes_its_time_is_no_stall(stalls):
    # Runs when threads that beat do not run any more.
    program = """
    class Slow:
        def __del__(self, usleep=ctypes.CDLL(None).usleep, emit=telemetry.emit):
            usleep(1_500_000)
            emit("end.late")
    import builtins
    builtins.slow = Slow()
    """
    names, _ = stalls(program)
    assert names == ["end.late"]


def test_a_stall_until_the_end_ends_with_it(stalls):
    names, events = stalls("emit('work.begun')\nctypes.PyDLL(None).usleep(1_500_000)\n")
    assert names == ["work.begun", "python.stall.started", "python.stall.ended"]
    assert 1.2 < seconds(events["python.stall.ended"]) < 3


def test_a_restart_within_a_process_is_watched_again(tmp_path):
    program = """
    import ctypes, time
    telemetry.start()
    emit("life.first")
    telemetry.shutdown()
    telemetry.start()
    emit("life.second")
    attached()
    time.sleep(0.3)
    ctypes.PyDLL(None).usleep(1_500_000)
    """
    with Acceptor(tmp_path / "run") as acceptor, Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, TELEMETRY_EXIT_TIMEOUT_MS="5000") as worker:
        assert worker.end() == 0, worker.errors
        assert sorted(acceptor.names(4)) == ["life.first", "life.second", "python.stall.ended", "python.stall.started"]


def test_a_program_that_waits_for_all_its_greenlets_does_not_wait_for_the_beat(python, tmp_path):
    pytest.importorskip("gevent")
    tmp_path.chmod(0o700)
    result = python(
        f"""
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent, os
        import telemetry_py as telemetry
        telemetry.serve("unix:{tmp_path}/worker.sock")
        gevent.spawn(gevent.sleep, 0.2)
        assert gevent.wait(timeout=30)
        assert len(os.listdir("/proc/self/task")) >= 4, "the beat is a thread"
        """
    )
    assert result.returncode == 0, result.stderr


def test_the_loop_of_eventlet_does_not_stop_for_the_beat(python, tmp_path):
    tmp_path.chmod(0o700)
    result = python(
        f"""
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()
        import os
        import telemetry_py as telemetry
        telemetry.serve("unix:{tmp_path}/worker.sock")
        turns = []
        other = eventlet.spawn(lambda: [turns.append(eventlet.sleep(0.01)) for _ in range(20)])
        other.wait()
        assert len(turns) == 20
        assert len(os.listdir("/proc/self/task")) >= 4, "the beat is a thread"
        """
    )
    assert result.returncode == 0, result.stderr
