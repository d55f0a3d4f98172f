"""The correlation id of the work at hand."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest
import telemetry_py as telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_without_one_there_is_none(memory):
    assert telemetry.get_correlation_id() is None
    assert telemetry.get_correlation_id("default") == "default"


def test_a_new_id_is_32_hexadecimal_digits_and_unique():
    ids = {telemetry.new_correlation_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id) == 32 and int(id, 16) for id in ids)


def test_set_and_reset_nest(memory):
    outer = telemetry.set_correlation_id("outer")
    inner = telemetry.set_correlation_id("inner")
    telemetry.emit("a.b")
    telemetry.reset_correlation_id(inner)
    telemetry.emit("a.b")
    telemetry.reset_correlation_id(outer)
    telemetry.emit("a.b")
    telemetry.reset_correlation_id(outer)
    assert [event.correlation_id for event in memory.events] == ["inner", "outer", ""]


def test_an_argument_wins_over_the_context(memory):
    with telemetry.correlation("context"):
        telemetry.emit("a.b", correlation_id="argument")
    assert memory.events[0].correlation_id == "argument"


def test_a_block_makes_an_id(memory):
    with telemetry.correlation() as id:
        telemetry.emit("a.b")
    assert memory.events[0].correlation_id == id != ""
    assert telemetry.get_correlation_id() is None


def test_an_id_that_is_no_text_becomes_text(memory):
    telemetry.emit("a.b", correlation_id=42)
    telemetry.emit("a.b", correlation_id="\ud800")
    assert [event.correlation_id for event in memory.events] == ["42", "\ufffd"]


async def test_tasks_keep_theirs_apart(memory):
    async def work(id):
        async with telemetry.correlation(id):
            await asyncio.sleep(0)
            telemetry.emit("a.b", None, {"expected": id})

    await asyncio.gather(*(work(f"id-{i}") for i in range(10)))
    assert len(memory.events) == 10
    assert all(event.correlation_id == event.metadata["expected"] for event in memory.events)


def test_a_thread_starts_without_one(memory):
    with telemetry.correlation("outside"):
        thread = threading.Thread(target=telemetry.emit, args=("a.b",))
        thread.start()
        thread.join()
    assert memory.events[0].correlation_id == ""


@pytest.mark.parametrize("kind", ["correlation", "span", "extract"])
@pytest.mark.parametrize("where", ["elsewhere", "in a thread", "by the collector"])
def test_what_a_generator_worked_under_is_gone_wherever_it_ends(memory, kind, where):
    def steps():
        scopes = {
            "correlation": lambda: telemetry.correlation("request-1"),
            "span": lambda: telemetry.span("op", correlation_id="request-1"),
            "extract": lambda: telemetry.extract({"traceparent": CALLER, telemetry.CORRELATION_HEADER: "request-1"}),
        }
        with scopes[kind]():
            yield telemetry.get_correlation_id()

    def nothing():
        with telemetry.span("later") as later:
            assert later.parent_span_id == "" and later.trace_id != TRACE
        return (telemetry.get_correlation_id(), telemetry.current_span()) == (None, None)

    context = contextvars.copy_context()
    running = steps()
    assert context.run(next, running) == "request-1"
    copied = context.copy()
    assert not context.run(lambda: telemetry.get_correlation_id() is None), "it is open there"
    assert nothing(), "and was never here"
    if where == "elsewhere":
        running.close()
    elif where == "in a thread":
        thread = threading.Thread(target=running.close)
        thread.start()
        thread.join()
    else:
        del running
        gc.collect()
    assert context.run(nothing) and nothing()
    assert copied.run(nothing), "nor has a copy that was made meanwhile"
