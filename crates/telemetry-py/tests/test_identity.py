"""Spans have ids, one tree per root: over tasks, threads, generators, executors and processes, and on the wire."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import telemetry_py as telemetry
from manager import Manager

INSIDE, START, STOP, EXCEPTION, CANCELLED = range(5)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


def ids(span):
    return span.trace_id, span.span_id, span.parent_span_id


def child_of(child, parent):
    return child.trace_id == parent.trace_id and child.parent_span_id == parent.span_id


def test_ids_of_nested_spans_arrive_on_the_wire(roomy_server):
    with telemetry.span("outer") as outer:
        with telemetry.span("inner") as inner:
            telemetry.emit("tool.result_size", {"bytes": 1})
        with pytest.raises(ValueError), telemetry.span("failing"):
            raise ValueError
    telemetry.emit("after.all")
    manager = Manager(roomy_server.address)
    try:
        events = manager.until("after.all")
    finally:
        manager.close()
    seen = {".".join(e.event_parts): e.span for e in events}
    phases = {name: span.phase for name, span in seen.items()}
    assert phases == {
        "outer.start": START,
        "inner.start": START,
        "tool.result_size": INSIDE,
        "inner.stop": STOP,
        "failing.start": START,
        "failing.exception": EXCEPTION,
        "outer.stop": STOP,
        "after.all": INSIDE,
    }
    for name in ("inner.start", "inner.stop", "tool.result_size"):
        assert seen[name].trace_id.hex() == outer.trace_id
        assert f"{seen[name].span_id:016x}" == inner.span_id
        assert f"{seen[name].parent_span_id:016x}" == outer.span_id
    assert seen["outer.start"].parent_span_id == 0
    assert not seen["after.all"].trace_id


def test_a_root_takes_the_trace_of_its_correlation_id(memory):
    with telemetry.span("op", correlation_id="request-1") as span:
        assert span.trace_id == "b3c2eebc8a33dbe9c8ec5e112c1c485f"
    with telemetry.correlation(TRACE.upper()), telemetry.span("op") as span:
        assert span.trace_id == TRACE
    with telemetry.span("op") as one, telemetry.correlation("other"), telemetry.span("op") as two:
        assert child_of(two, one) and two.correlation_id == "other"


def test_without_telemetry_there_are_no_ids():
    telemetry.set_backend(None)
    with telemetry.span("op") as span:
        assert ids(span) == ("", "", "")
        assert telemetry.current_span() is None


def test_ids_are_unique_over_threads(memory):
    memory.limit = 0
    found: list[set[str]] = []

    def work():
        mine = set()
        for _ in range(1_000):
            with telemetry.span("op") as span:
                mine.add(span.span_id)
        found.append(mine)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set().union(*found)) == 16_000


async def test_tasks_keep_their_own_span_and_inherit_their_makers(memory):
    async def work(gate):
        async with telemetry.span("task") as span:
            await gate.wait()
            assert telemetry.current_span() is span
            with telemetry.span("within") as within:
                assert child_of(within, span)
            return span

    gate = asyncio.Event()
    with telemetry.span("root") as root:
        tasks = [asyncio.create_task(work(gate)) for _ in range(8)]
        await asyncio.sleep(0)
        assert telemetry.current_span() is root
    gate.set()
    spans = await asyncio.gather(*tasks)
    assert all(child_of(span, root) for span in spans)
    assert telemetry.current_span() is None


def test_wrapped_functions_work_in_the_span_that_they_were_given_out_in(memory):
    def work():
        with telemetry.span("thread") as span:
            return span

    with telemetry.span("root") as root, ThreadPoolExecutor(4) as pool:
        wrapped = telemetry.wrap_context(work)
        futures = [pool.submit(wrapped) for _ in range(8)]
        bare = pool.submit(work).result()
    assert all(child_of(future.result(), root) for future in futures)
    assert bare.trace_id != root.trace_id


def test_generator_is_in_its_span_only_while_it_runs(memory):
    @telemetry.span("steps")
    def steps():
        while True:
            yield telemetry.current_span()

    with telemetry.span("root") as root:
        running = steps()
        inside = next(running)
        assert inside.operation == "steps" and child_of(inside, root)
        assert telemetry.current_span() is root
        assert next(running) is inside
        running.close()
        assert telemetry.current_span() is root
    assert memory.names().count("steps.stop") == 1


async def test_async_generator_is_in_its_span_only_while_it_runs(memory):
    @telemetry.span("steps")
    async def steps():
        while True:
            await asyncio.sleep(0)
            yield telemetry.current_span()

    with telemetry.span("root") as root:
        running = steps()
        inside = await anext(running)
        assert inside.operation == "steps" and child_of(inside, root)
        assert telemetry.current_span() is root
        assert await anext(running) is inside
        await running.aclose()
    assert memory.names().count("steps.stop") == 1


@pytest.mark.parametrize("kind", ["correlation", "span", "extract"])
def test_what_a_generator_left_early_worked_under_is_left_behind_nowhere(memory, kind):
    def scope():
        if kind == "correlation":
            return telemetry.correlation("request-1")
        if kind == "span":
            return telemetry.span("op", correlation_id="request-1")
        return telemetry.extract({"traceparent": CALLER, telemetry.CORRELATION_HEADER: "request-1"})

    async def stream():
        with scope():
            for index in range(5):
                yield index

    async def main():
        ended = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: ended.append(context))
        seen = []
        for _ in range(3):
            async for _value in stream():
                seen.append(telemetry.get_correlation_id())
                break
            gc.collect()
            # The loop closes the generator in a task of its own.
            await asyncio.sleep(0)
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.gather(*tasks)
        assert seen == ["request-1"] * 3
        telemetry.emit("tool.result_size", {"bytes": 1})
        assert memory.events[-1].correlation_id == ""
        assert telemetry.current_span() is None
        with telemetry.span("later") as later:
            assert later.parent_span_id == "" and later.trace_id != TRACE
        assert ended == []

    asyncio.run(main())


def test_ends_out_of_order_leave_nothing_behind(memory):
    one, two = telemetry.span("one"), telemetry.span("two")
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert telemetry.current_span() is two
    two.__exit__(None, None, None)
    assert telemetry.current_span() is None
    token = telemetry.set_correlation_id("a")
    with telemetry.span("op"):
        telemetry.reset_correlation_id(token)
    assert (telemetry.get_correlation_id(), telemetry.current_span()) == (None, None)


def test_a_token_of_another_context_ends_the_id_in_this_one(memory):
    token = telemetry.set_correlation_id("a")
    elsewhere = contextvars.copy_context()

    def reset():
        telemetry.reset_correlation_id(token)
        return telemetry.get_correlation_id()

    assert elsewhere.run(reset) is None


def test_carriers_of_all_kinds_are_read(memory):
    carriers = [
        {"TraceParent": CALLER, "X-Snakepit-Correlation-Id": "request-1"},
        [(b"traceparent", CALLER.encode()), (b"x-snakepit-correlation-id", b"request-1")],
        {"HTTP_TRACEPARENT": CALLER, "HTTP_X_SNAKEPIT_CORRELATION_ID": "request-1"},
        {"TRACEPARENT": CALLER, "BAGGAGE": "user=1,correlation_id=request-1"},
    ]
    for carrier in carriers:
        with telemetry.extract(carrier) as context, telemetry.span("op") as span:
            assert context.correlation_id == "request-1"
            assert (span.trace_id, span.parent_span_id) == (TRACE, "00f067aa0ba902b7"), carrier
            assert span.correlation_id == "request-1"
            sent = telemetry.inject({})
            assert sent["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
            assert sent[telemetry.CORRELATION_HEADER] == "request-1"
    assert telemetry.inject({}) == {}


@pytest.mark.parametrize("carrier", [None, 1, {}, {"traceparent": "rubbish"}, {1: 2}, [(1,)], object(), {"traceparent": CALLER[:-1]}])
def test_rubbish_is_no_caller(memory, carrier):
    with telemetry.extract(carrier), telemetry.span("op") as span:
        assert span.parent_span_id == ""


def test_what_a_caller_sent_is_passed_on(memory):
    headers = {"traceparent": CALLER[:-1] + "0", "tracestate": "vendor=1", "baggage": "user=7"}
    with telemetry.extract(headers):
        assert telemetry.inject({}) == headers
        with telemetry.span("op") as span:
            pairs = telemetry.outgoing_metadata([("a", "b"), ("traceparent", "old")])
            assert pairs == [
                ("a", "b"),
                ("traceparent", f"00-{TRACE}-{span.span_id}-00"),
                ("tracestate", "vendor=1"),
                ("baggage", "user=7"),
            ]


CHILD = """
import telemetry_py as telemetry, threading
telemetry.set_backend(telemetry.MemoryBackend())
found = []
def work():
    with telemetry.span("child") as span:
        found.append((span.trace_id, span.parent_span_id, span.correlation_id))
work()
thread = threading.Thread(target=work); thread.start(); thread.join()
assert found[0] == found[1], found
print(*found[0])
"""


def test_a_subprocess_goes_on_with_the_trace(memory):
    with telemetry.span("root", correlation_id="request 1, or so") as root:
        environ = telemetry.outgoing_environ()
        told = subprocess.run([sys.executable, "-c", CHILD], env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split(maxsplit=2) == [root.trace_id, root.span_id, "request 1, or so\n"]


def _in_child(pipe, carrier):
    telemetry.set_backend(telemetry.MemoryBackend())
    with telemetry.extract(carrier), telemetry.span("child") as span:
        pipe.send(ids(span))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_all_start_methods_go_on_with_the_trace(memory, method):
    context = multiprocessing.get_context(method)
    found = []
    with telemetry.span("root") as root:
        for _ in range(3):
            ours, theirs = context.Pipe()
            child = context.Process(target=_in_child, args=(theirs, telemetry.inject({})))
            child.start()
            assert ours.poll(60)
            found.append(ours.recv())
            child.join()
    assert {(trace, parent) for trace, _, parent in found} == {(root.trace_id, root.span_id)}
    assert len({span for _, span, _ in found}) == 3


def test_a_forked_child_is_in_its_parents_span_without_a_word(python):
    result = python(
        """
        import os, tempfile, telemetry_py as telemetry
        telemetry.set_backend(telemetry.MemoryBackend(limit=0))
        with telemetry.span("root") as root:
            written = tempfile.TemporaryFile("a+")
            for _ in range(100):
                if os.fork() == 0:
                    lines = []
                    for _ in range(10):
                        with telemetry.span("child") as span:
                            lines.append(f"{span.trace_id} {span.parent_span_id} {span.span_id}")
                    os.write(written.fileno(), ("\\n".join(lines) + "\\n").encode())
                    os._exit(0)
                os.wait()
        written.seek(0)
        lines = [line.split() for line in written.read().splitlines()]
        assert len(lines) == 1000
        assert {(trace, parent) for trace, parent, _ in lines} == {(root.trace_id, root.span_id)}
        assert len({span for _, _, span in lines}) == 1000
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_cancelled_task_ends_its_span_as_cancelled(roomy_server):
    async def main():
        async def work():
            async with telemetry.span("op"):
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    manager = Manager(roomy_server.address)
    try:
        events = manager.until("op.exception")
    finally:
        manager.close()
    assert events[-1].span.phase == CANCELLED
    assert events[-1].span.span_id == events[0].span.span_id


def test_backends_that_ask_for_it_are_told_the_span(memory):
    with telemetry.span("outer") as outer, telemetry.span("inner") as inner:
        telemetry.emit("tool.result_size", {"bytes": 1})
    telemetry.emit("after.all")
    told = {event.event: event.span for event in memory.events}
    assert told.pop("after.all") is None
    assert {name: span.phase for name, span in told.items()} == {
        "outer.start": "start",
        "inner.start": "start",
        "tool.result_size": "inside",
        "inner.stop": "stop",
        "outer.stop": "stop",
    }
    assert ids(told["tool.result_size"]) == ids(inner) == (outer.trace_id, inner.span_id, outer.span_id)
    assert ids(told["outer.stop"]) == ids(outer)
