"""One object for blocks of several tasks and threads at once, as people keep one at the top of a module."""

from __future__ import annotations

import asyncio
import threading

import pytest

import telemetry_py as telemetry

KINDS = {
    "suppress": telemetry.suppress,
    "correlation": lambda: telemetry.correlation("shared"),
    "extract": lambda: telemetry.extract({telemetry.CORRELATION_HEADER: "shared"}),
}


def state() -> tuple[str | None, int]:
    """What a block changes: the id of the context, and whether an event is recorded."""
    before = telemetry.stats()["emitted"]
    telemetry.emit("a.b")
    return telemetry.get_correlation_id(), telemetry.stats()["emitted"] - before


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_tasks_end_each_for_itself(memory, kind):
    shared = KINDS[kind]()
    with shared:
        within = state()
    without = state()
    assert within != without

    async def work(turns: int) -> None:
        for _ in range(3):
            with shared:
                for _ in range(turns):
                    await asyncio.sleep(0)
                    assert state() == within
            assert state() == without

    async def all_of_them() -> None:
        await asyncio.gather(*(work(turns) for turns in range(1, 11)))

    asyncio.run(all_of_them())
    assert state() == without


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_threads_end_each_for_itself(memory, kind):
    shared = KINDS[kind]()
    steps = [threading.Event() for _ in range(3)]
    seen = {}

    def first() -> None:
        with shared:
            steps[0].set()
            steps[1].wait(10)
        seen["first, after"] = telemetry.get_correlation_id(), telemetry.emit("first.after")
        steps[2].set()

    def second() -> None:
        steps[0].wait(10)
        with shared:
            steps[1].set()
            steps[2].wait(10)
            seen["second, within"] = telemetry.get_correlation_id(), telemetry.emit("second.within")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen["first, after"][0] is None
    if kind == "suppress":
        assert memory.names() == ["first.after"]
    else:
        assert seen["second, within"][0] == "shared"


def test_what_tasks_measure_at_once_is_the_time_of_each(memory):
    measured = telemetry.timed("a.measured")

    async def work(seconds: float) -> None:
        with measured:
            await asyncio.sleep(seconds)

    async def both() -> None:
        await asyncio.gather(work(0.2), work(0.02))

    asyncio.run(both())
    short, long = (event.measurements["duration"] for event in memory.events)
    assert short < 150_000_000 < 195_000_000 < long


def test_a_block_that_ends_where_it_did_not_begin_ends(memory):
    shared = telemetry.correlation("shared")
    shared.__enter__()
    thread = threading.Thread(target=lambda: shared.__exit__(None, None, None))
    thread.start()
    thread.join()
    shared.__exit__(None, None, None)
    with shared:
        assert telemetry.get_correlation_id() == "shared"
