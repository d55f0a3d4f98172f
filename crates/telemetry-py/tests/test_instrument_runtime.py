"""What the interpreter uses and how long its collector stops it."""

from __future__ import annotations

import gc
import os
import time

import pytest
import telemetry_py as telemetry
from acceptor import Acceptor, until
from manager import Manager, name_of
from witness import Worker


@pytest.fixture
def no_collections():
    """Only those that a test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def collections(memory):
    return [event for event in memory.events if event.event == "python.gc.completed"]


def test_each_collection_of_the_oldest_generation_is_told_of(memory, no_collections):
    with telemetry.instrument_runtime(memory=False, cpu=False):
        for _ in range(3):
            circle = []
            circle.append(circle)
            del circle
            gc.collect()
    told = collections(memory)
    assert [event.measurements["generation"] for event in told] == [2, 2, 2]
    assert all(event.measurements["collected"] >= 1 for event in told)
    assert all(0 < event.measurements["duration"] < 60e9 for event in told)


def test_short_ones_of_young_generations_are_counted_with_the_next(memory, no_collections):
    with telemetry.instrument_runtime(memory=False, cpu=False):
        for _ in range(50):
            gc.collect(0)
        gc.collect()
    told = collections(memory)
    assert sum(event.measurements["count"] for event in told) == 51
    assert len(told) < 26, "an empty pass takes far less than a millisecond"


def test_a_long_one_of_a_young_generation_is_told_of(memory, no_collections):
    kept = [[i] for i in range(300_000)]
    with telemetry.instrument_runtime(memory=False, cpu=False):
        begun = time.perf_counter_ns()
        gc.collect(0)
        taken = time.perf_counter_ns() - begun
    assert kept and taken > 1_000_000, "the test saw no long pass"
    (told,) = collections(memory)
    assert told.measurements["generation"] == 0
    assert 1_000_000 <= told.measurements["duration"] <= taken


def test_a_second_call_changes_the_settings_and_adds_nothing(memory, no_collections):
    before = list(gc.callbacks)
    one = telemetry.instrument_runtime(memory=False, cpu=False)
    assert telemetry.instrument_runtime(memory=False, cpu=False) is one
    gc.collect()
    assert len(collections(memory)) == 1
    assert telemetry.instrument_runtime(gc=False, memory=False, cpu=False) is one
    assert gc.callbacks == before
    one.close()
    one.close()
    assert not one.is_active
    with telemetry.instrument_runtime(memory=False, cpu=False) as again:
        assert again is not one and again.is_active
    assert gc.callbacks == before


def test_samples_reach_a_backend_that_is_an_object(memory):
    with telemetry.instrument_runtime(interval=0.01, gc=False):
        until(lambda: {"python.memory.sampled", "python.cpu.sampled"} <= set(memory.names()), memory.names)
    sample = next(event for event in memory.events if event.event == "python.memory.sampled")
    assert sample.metadata == {"python_pid": str(os.getpid())}
    assert 1 << 20 < sample.measurements["rss_bytes"] <= sample.measurements["vms_bytes"]
    sample = next(event for event in memory.events if event.event == "python.cpu.sampled")
    assert 0 <= sample.measurements["cpu_percent"] < 10_000


def test_only_what_is_asked_for_is_sampled(memory):
    with telemetry.instrument_runtime(interval=0.01, gc=False, memory=False):
        until(lambda: memory.names().count("python.cpu.sampled") > 3)
    assert set(memory.names()) == {"python.cpu.sampled"}


def test_samples_need_no_gil_and_end_with_the_undoing(tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    program = f"""
    import ctypes
    runtime = telemetry.instrument_runtime(interval=0.02, gc=False)
    telemetry.serve("unix:{run}/worker.sock")
    print("served", flush=True)
    attached()
    emit("hold.begun")
    ctypes.PyDLL(None).usleep(1_000_000)
    emit("hold.over")
    tasks = len(os.listdir("/proc/self/task"))
    runtime.close()
    assert len(os.listdir("/proc/self/task")) == tasks - 1
    """
    with Worker(tmp_path, program, TELEMETRY_STALL_MS="0") as worker:
        worker.line()
        with Manager(f"unix:{run}/worker.sock") as manager:
            manager.until("hold.begun")
            held = [name_of(event) for event in manager.until("hold.over")]
            for _ in manager.rest():
                pass
        assert worker.end() == 0, worker.errors
    assert held.count("python.memory.sampled") > 10
    assert held.count("python.cpu.sampled") > 10


def test_sampling_goes_on_over_a_restart_within_a_process(tmp_path):
    program = """
    telemetry.instrument_runtime(interval=0.02, gc=False)
    telemetry.start()
    telemetry.shutdown()
    telemetry.start()
    wait()
    """
    with Acceptor(tmp_path / "run") as acceptor, Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address) as worker:
        incarnations = set()
        while len(incarnations) < 2:
            who, name = acceptor.next()
            if name == "python.cpu.sampled":
                incarnations.add(who["incarnation"])
            if not incarnations and acceptor.introductions.qsize() > 1:
                # The first life was too short for a sample.
                incarnations.add(None)
        worker.go()
        assert worker.end() == 0, worker.errors


def test_a_forked_child_is_sampled_too(tmp_path):
    program = """
    telemetry.start()
    telemetry.instrument_runtime(interval=0.02)
    child = os.fork()
    emit("a.first")
    if child == 0:
        sys.stdin.readline()
        telemetry.shutdown()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    with Acceptor(tmp_path / "run") as acceptor, Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address) as worker:
        sampled = set()
        while len(sampled) < 2:
            who, name = acceptor.next()
            if name == "python.cpu.sampled":
                sampled.add(who["pid"])
        worker.go()
        assert worker.end() == 0, worker.errors
        assert worker.process.pid in sampled


def test_a_forked_child_with_a_backend_that_is_an_object_is_sampled_too(python):
    result = python(
        """
        import os, time
        import telemetry_py as telemetry
        memory = telemetry.MemoryBackend()
        telemetry.set_backend(memory)
        telemetry.instrument_runtime(interval=0.01)
        if (child := os.fork()) == 0:
            deadline = time.monotonic() + 60
            me = str(os.getpid())
            while not [e for e in memory.events if e.metadata.get("python_pid") == me]:
                assert time.monotonic() < deadline
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"interval": "5"}, TypeError, ["interval", "'5'", "seconds"]),
        ({"interval": True}, TypeError, ["interval", "True"]),
        ({"interval": 0}, ValueError, ["interval", "0.01"]),
        ({"interval": float("nan")}, ValueError, ["interval", "nan"]),
        ({"gc": 1}, TypeError, ["gc", "True or False"]),
        ({"memory": None}, TypeError, ["memory"]),
        ({"cpu": "yes"}, TypeError, ["cpu"]),
    ],
)
def test_wrong_arguments_are_told_of_and_change_nothing(arguments, error, words):
    before = list(gc.callbacks)
    with pytest.raises(error) as raised:
        telemetry.instrument_runtime(**arguments)
    assert all(word in str(raised.value) for word in words)
    assert gc.callbacks == before
