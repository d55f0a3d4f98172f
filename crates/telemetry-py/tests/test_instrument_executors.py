"""Work that is done elsewhere, under the correlation id of whoever gave it away."""

from __future__ import annotations

import concurrent.futures
import contextvars
import multiprocessing
import pickle
import textwrap
import threading

import pytest
import telemetry_py as telemetry
from telemetry_py.instrumentation import carried

USER = contextvars.ContextVar("USER", default="nobody")

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture
def carrying():
    with telemetry.instrument_executors() as handle:
        yield handle


def context():
    return telemetry.get_correlation_id(), USER.get()


def test_executors_of_threads_carry_the_context_of_each_piece_of_work(carrying):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        futures = []
        for i in range(5):
            with telemetry.correlation(f"id-{i}"):
                token = USER.set(f"user-{i}")
                futures.append(pool.submit(context))
                USER.reset(token)
        assert [future.result() for future in futures] == [(f"id-{i}", f"user-{i}") for i in range(5)]
        assert pool.submit(context).result() == (None, "nobody"), "the thread itself is under nobody's"
        with telemetry.correlation("mapped"):
            assert list(pool.map(lambda _: context()[0], range(3))) == ["mapped"] * 3


def test_spans_in_executors_of_threads_are_children_of_those_around_the_submit(memory, carrying):
    def work():
        with telemetry.span("child.work") as span:
            return span.trace_id, span.parent_span_id

    with concurrent.futures.ThreadPoolExecutor(1) as pool, telemetry.span("parent.work") as outer:
        assert pool.submit(work).result() == (outer.trace_id, outer.span_id)
        assert pool.submit(carried(work)).result() == (outer.trace_id, outer.span_id)


def test_without_it_nothing_is_carried():
    with concurrent.futures.ThreadPoolExecutor(1) as pool, telemetry.correlation("lost"):
        assert pool.submit(context).result() == (None, "nobody")


def test_arguments_results_and_errors_are_those_of_the_work(carrying):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(dict, [("a", 1)], b=2).result() == {"a": 1, "b": 2}
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        with pytest.raises(TypeError):
            pool.submit()


def test_threads_carry_the_context_of_their_start(carrying):
    found = []

    class Own(threading.Thread):
        def run(self):
            found.append(context())

    with telemetry.correlation("outer"):
        threads = [threading.Thread(target=lambda: found.append(context())), Own(), threading.Timer(0, lambda: found.append(context()))]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
        assert "run" not in vars(thread)
    assert found == [("outer", "nobody")] * 3
    with pytest.raises(RuntimeError):
        threads[0].start()


def test_two_calls_carry_once_and_undoing_puts_all_back():
    from multiprocessing.pool import Pool
    from multiprocessing.process import BaseProcess

    owners = threading.Thread, concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor, BaseProcess, Pool
    before = [dict(vars(owner)) for owner in owners]
    one = telemetry.instrument_executors()
    assert telemetry.instrument_executors() is one
    assert all(dict(vars(owner)) != was for owner, was in zip(owners, before, strict=True))
    one.close()
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_method_that_was_put_over_ours_stays_and_ours_carries_nothing_below():
    pools = concurrent.futures.ThreadPoolExecutor
    before = pools.submit
    try:
        one = telemetry.instrument_executors()
        ours = pools.submit
        pools.submit = above = lambda self, *arguments, **named: ours(self, *arguments, **named)
        one.close()
        assert pools.submit is above
        with pools(1) as pool, telemetry.correlation("lost"):
            assert pool.submit(context).result()[0] is None
    finally:
        pools.submit = before


def test_a_carried_function_pickles_and_runs_under_what_it_was_made_under():
    with telemetry.correlation("made"):
        function = carried(context)
    again = pickle.loads(pickle.dumps(function))
    with telemetry.correlation("called"):
        assert again()[0] == function()[0] == "made"
        assert telemetry.get_correlation_id() == "called"
    assert again.__wrapped__ is context
    with pytest.raises(TypeError, match="5"):
        carried(5)


PROGRAM = """
import concurrent.futures, multiprocessing, sys
import telemetry_py as telemetry

def found(*_):
    return telemetry.get_correlation_id()

def put(queue):
    queue.put(found())

def inner(*_):
    with telemetry.span("child.work") as span:
        return span.trace_id, span.parent_span_id

class Own(multiprocessing.get_context(sys.argv[1]).Process):
    def __init__(self, queue):
        super().__init__()
        self.queue = queue
    def run(self):
        put(self.queue)

if __name__ == "__main__":
    telemetry.set_backend(telemetry.MemoryBackend())
    telemetry.instrument_executors()
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    with telemetry.correlation("started"):
        processes = [context.Process(target=put, args=(queue,)), Own(queue)]
        for process in processes:
            process.start()
            assert "run" not in vars(process)
    assert [queue.get(timeout=60) for _ in processes] == ["started"] * 2
    for process in processes:
        process.join()
    with telemetry.correlation("created"):
        pool = context.Pool(1)
        executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
        executor.submit(found).result()
    for i in ("one", "two"):
        with telemetry.correlation(i):
            assert executor.submit(found).result() == i
            assert list(executor.map(found, range(3))) == [i] * 3
            assert pool.apply(found) == i
            assert pool.apply_async(func=found).get() == i
            assert pool.map(found, range(3)) == [i] * 3
            assert pool.starmap(found, [(1, 2)]) == [i]
            assert list(pool.imap(found, range(3))) == [i] * 3
            assert list(pool.imap_unordered(found, range(3), 2)) == [i] * 3
    with telemetry.span("parent.work") as outer:
        assert outer.trace_id and outer.span_id
        ids = outer.trace_id, outer.span_id
        assert executor.submit(inner).result() == pool.apply(inner) == ids
        assert pool.map(inner, range(3)) == [ids] * 3
    pool.close(); pool.join(); executor.shutdown()
    print("all")
"""


@pytest.mark.parametrize("method", METHODS)
def test_processes_of_all_kinds_carry_the_correlation_id(tmp_path, method):
    import subprocess
    import sys

    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    result = subprocess.run([sys.executable, str(program), method], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "all"


@pytest.mark.parametrize("method", METHODS)
def test_a_carried_function_needs_no_instrumentation(method):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        with telemetry.correlation("sent"):
            future = pool.submit(carried(context))
        assert future.result()[0] == "sent"
