"""Event loops that are held up, and errors of tasks that nobody asks for."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
import telemetry_py as telemetry


def lags(memory):
    return [event.measurements["duration"] / 1e9 for event in memory.events if event.event == "python.asyncio.lagged"]


async def held_up(seconds):
    await asyncio.sleep(0.05)
    time.sleep(seconds)
    await asyncio.sleep(0.05)


def test_a_loop_that_is_held_up_is_told_of(memory):
    with telemetry.instrument_asyncio():
        asyncio.run(held_up(0.6))
    (lag,) = lags(memory)
    assert 0.4 < lag < 5


def test_the_loop_that_runs_now_is_met_too(memory):
    async def main():
        with telemetry.instrument_asyncio(threshold=0.1, interval=0.02):
            await held_up(0.3)
        await held_up(0.3)

    asyncio.run(main())
    (lag,) = lags(memory)
    assert 0.2 < lag < 5


def test_time_between_two_runs_is_no_lag(memory):
    loop = asyncio.new_event_loop()
    with telemetry.instrument_asyncio(threshold=0.25, interval=0.05):
        loop.run_until_complete(asyncio.sleep(0.1))
        time.sleep(0.6)
        loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
    assert lags(memory) == []


def test_a_lag_below_the_threshold_is_none(memory):
    with telemetry.instrument_asyncio(threshold=30.0):
        asyncio.run(held_up(0.3))
    assert lags(memory) == []


def test_a_task_whose_error_nobody_asks_for_is_told_of_once(memory):
    async def fails():
        raise ValueError("lost")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: handled.append(1))
        task = loop.create_task(fails())
        await asyncio.sleep(0.01)
        del task
        gc.collect()

    handled = []
    with telemetry.instrument_asyncio(), telemetry.instrument_excepthooks():
        asyncio.run(main())
    with telemetry.instrument_asyncio():
        asyncio.run(main())
    asyncio.run(main())
    errors = [event.metadata["error_message"] for event in memory.events if event.event == "python.error.occurred"]
    assert errors == ["lost"] * 2
    assert len(handled) == 3


def test_two_calls_probe_once_and_undoing_puts_all_back(memory):
    loops = asyncio.base_events.BaseEventLoop
    before = loops.run_forever, loops.call_exception_handler
    one = telemetry.instrument_asyncio()
    assert telemetry.instrument_asyncio() is one
    asyncio.run(held_up(0.6))
    assert len(lags(memory)) == 1
    one.close()
    assert (loops.run_forever, loops.call_exception_handler) == before
    asyncio.run(held_up(0.6))
    assert len(lags(memory)) == 1


@pytest.mark.parametrize("arguments", [{"threshold": 0}, {"interval": -1}, {"threshold": float("inf")}])
def test_wrong_times_are_told_of(arguments):
    (name, value), = arguments.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        telemetry.instrument_asyncio(**arguments)
    with pytest.raises(TypeError, match=name):
        telemetry.instrument_asyncio(**{name: "1"})


def test_a_loop_of_another_maker_is_met_where_it_runs(python):
    pytest.importorskip("uvloop")
    result = python(
        """
        import asyncio, gc, time, uvloop
        import telemetry_py as telemetry
        memory = telemetry.MemoryBackend()
        telemetry.set_backend(memory)
        handled = []
        async def fails():
            raise ValueError("lost")
        async def main():
            loop = asyncio.get_running_loop()
            assert type(loop).__module__.startswith("uvloop")
            loop.set_exception_handler(lambda loop, context: handled.append(context["exception"]))
            telemetry.instrument_asyncio(threshold=0.1, interval=0.02)
            await asyncio.sleep(0.05)
            time.sleep(0.3)
            await asyncio.sleep(0.05)
            task = loop.create_task(fails())
            await asyncio.sleep(0.01)
            del task
            gc.collect()
        uvloop.run(main())
        assert memory.names() == ["python.asyncio.lagged", "python.error.occurred"], memory.names()
        assert [str(error) for error in handled] == ["lost"]
        """
    )
    assert result.returncode == 0, result.stderr
