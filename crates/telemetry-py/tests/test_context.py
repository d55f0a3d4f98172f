"""The correlation id of the work at hand."""

from __future__ import annotations

import asyncio
import threading

import telemetry_py as telemetry


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
