"""Spans: one start, exactly one end, and the caller's exception untouched."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref

import pytest
import telemetry_py as telemetry


def test_a_block_has_a_start_and_a_stop(memory):
    with telemetry.span("tool.execution", {"tool": "x"}, "id-1") as span:
        span.set(model="m")
        span.measure(count=2)
    start, stop = memory.events
    assert start.event == "tool.execution.start"
    assert start.metadata == {"tool": "x"}
    assert abs(start.measurements["system_time"] - time.time_ns()) < 10**10
    assert stop.event == "tool.execution.stop"
    assert stop.metadata == {"tool": "x", "model": "m"}
    assert stop.measurements["count"] == 2
    assert stop.measurements["duration"] == span.elapsed_ns > 0
    assert start.correlation_id == stop.correlation_id == span.correlation_id == "id-1"
    assert span.operation == "tool.execution"


def test_the_caller_keeps_its_dict_and_its_exception(memory):
    metadata = {"tool": "x"}
    error = ValueError("bad")
    with pytest.raises(ValueError) as caught:
        with telemetry.span("op", metadata) as span:
            span.set(more="y")
            raise error
    assert caught.value is error
    assert metadata == {"tool": "x"}
    end = memory.events[-1]
    assert end.event == "op.exception"
    assert end.metadata == {"tool": "x", "more": "y", "error_type": "ValueError", "error_message": "bad"}
    assert end.measurements["duration"] > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
def test_every_base_exception_is_an_exception(memory, error):
    with pytest.raises(error):
        with telemetry.span("op"):
            raise error
    assert memory.names() == ["op.start", "op.exception"]
    assert memory.events[-1].metadata["error_type"] == error.__name__


@pytest.mark.parametrize("code", [(), (None,), (0,), (False,)])
def test_a_program_that_ends_well_is_a_stop(memory, code):
    with pytest.raises(SystemExit):
        with telemetry.span("op"):
            raise SystemExit(*code)
    assert memory.names() == ["op.start", "op.stop"]


@pytest.mark.parametrize("code", [1, "no file", 0.0, -1, 2**70])
def test_a_program_that_ends_badly_is_an_exception(memory, code):
    with pytest.raises(SystemExit):
        with telemetry.span("op"):
            raise SystemExit(code)
    assert memory.names() == ["op.start", "op.exception"]
    assert memory.events[-1].metadata == {"error_type": "SystemExit", "error_message": str(code)}


def test_generator_exit_is_a_stop(memory):
    with pytest.raises(GeneratorExit):
        with telemetry.span("op"):
            raise GeneratorExit
    assert memory.names() == ["op.start", "op.stop"]


def test_an_exception_without_text_is_reported_all_the_same(memory):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    with pytest.raises(Mute):
        with telemetry.span("op"):
            raise Mute
    assert memory.events[-1].metadata["error_message"] == "<unprintable Mute>"


def test_a_recorded_exception_ends_the_span_as_one(memory):
    with telemetry.span("op") as span:
        span.record_exception(ValueError("handled"))
    assert memory.events[-1].event == "op.exception"
    assert memory.events[-1].metadata == {"error_type": "ValueError", "error_message": "handled"}


def test_it_ends_once(memory):
    span = telemetry.span("op")
    span.__enter__()
    span.__exit__(None, None, None)
    elapsed = span.elapsed_ns
    span.__exit__(None, None, None)
    assert memory.names() == ["op.start", "op.stop"]
    assert span.elapsed_ns == elapsed


def test_an_end_without_a_start_is_nothing(memory):
    telemetry.span("op").__exit__(None, None, None)
    assert memory.names() == []


def test_one_object_can_run_one_after_the_other(memory):
    span = telemetry.span("op")
    for _ in range(2):
        with span:
            pass
    assert memory.names() == ["op.start", "op.stop"] * 2


def test_start_measurements_go_with_the_start(memory):
    with telemetry.span("op", measurements={"request_size": 5}):
        pass
    assert memory.events[0].measurements["request_size"] == 5
    assert "request_size" not in memory.events[1].measurements


def test_an_event_of_a_span_carries_its_id(memory):
    with telemetry.span("op", None, "id-2") as span:
        span.event("tool.result_size", {"bytes": 3}, {"tool": "x"})
    assert memory.events[1] == ("tool.result_size", {"bytes": 3}, {"tool": "x"}, "id-2")


def test_an_id_given_to_a_span_holds_for_what_is_inside(memory):
    with telemetry.span("outer", None, "id-3"):
        telemetry.emit("a.b")
        assert telemetry.get_correlation_id() == "id-3"
    assert telemetry.get_correlation_id() is None
    assert {event.correlation_id for event in memory.events} == {"id-3"}


def test_while_telemetry_is_off_a_span_is_silent_and_measures():
    telemetry.set_backend(None)
    with telemetry.span("op") as span:
        pass
    assert span.elapsed_ns > 0


def test_a_span_that_started_off_stays_silent(memory):
    telemetry.set_backend(None)
    with telemetry.span("op"):
        telemetry.set_backend(memory)
    assert memory.names() == []


def test_a_hostile_operation_does_no_harm(memory):
    class Broken:
        def __str__(self):
            raise RuntimeError

    for operation in (Broken(), None, 5, "a b", "", "\ud800"):
        with telemetry.span(operation):
            pass
    # A number is a fine name.
    assert memory.names() == ["None.start", "None.stop", "5.start", "5.stop"]


def test_a_cycle_through_a_span_is_collected(memory):
    import weakref

    metadata = {}
    span = telemetry.span("op", metadata)
    metadata["span"] = span
    gone = weakref.ref(span)
    del span, metadata
    gc.collect()
    assert gone() is None


def test_decorated_function(memory):
    @telemetry.span("op", {"tool": "x"})
    def add(a, b=1):
        """Adds."""
        return a + b

    assert (add(1), add(1, b=2), add.__name__, add.__doc__) == (2, 3, "add", "Adds.")
    assert memory.names() == ["op.start", "op.stop"] * 2


def test_decorated_recursion_has_spans_of_its_own(memory):
    @telemetry.span("op")
    def down(n):
        return down(n - 1) if n else 0

    down(2)
    assert memory.names() == ["op.start"] * 3 + ["op.stop"] * 3


async def test_async_with(memory):
    async with telemetry.span("op", None, "id-4") as span:
        await asyncio.sleep(0)
        assert telemetry.get_correlation_id() == "id-4"
    assert isinstance(span, telemetry.Span)
    assert memory.names() == ["op.start", "op.stop"]


async def test_async_with_an_exception(memory):
    with pytest.raises(ValueError):
        async with telemetry.span("op"):
            raise ValueError
    assert memory.names() == ["op.start", "op.exception"]


async def test_decorated_coroutine_and_cancellation(memory):
    @telemetry.span("op")
    async def wait():
        await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert memory.names() == ["op.start", "op.exception"]
    assert memory.events[-1].metadata["error_type"] == "CancelledError"


def test_decorated_generator(memory):
    @telemetry.span("op")
    def count():
        got = yield 1
        assert got == "sent"
        yield 2
        return "result"

    def outer():
        return (yield from count())

    generator = outer()
    assert memory.names() == []
    assert next(generator) == 1
    assert memory.names() == ["op.start"]
    assert generator.send("sent") == 2
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "result"
    assert memory.names() == ["op.start", "op.stop"]


@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_generator_closed_early_is_a_stop(memory, end):
    @telemetry.span("op")
    def count():
        yield 1
        yield 2

    generator = count()
    next(generator)
    if end == "close":
        generator.close()
    else:
        del generator
        gc.collect()
    assert memory.names() == ["op.start", "op.stop"]


def _plain_and_decorated(function):
    return function, telemetry.span("op")(function)


def _outcome(call, *arguments):
    """What a call gives, or how it fails."""
    try:
        return call(*arguments)
    except (RuntimeError, StopIteration, StopAsyncIteration, GeneratorExit) as error:
        return type(error), getattr(error, "value", None), str(error).replace("async generator", "generator")


def test_a_generator_that_goes_on_when_it_is_to_end_does_so_decorated(memory):
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2
        return 3

    def yielding():
        try:
            yield 1
        except GeneratorExit:
            return 4

    def ends(function, *steps):
        generator = function()
        return [_outcome(step, generator) for step in (next, *steps)]

    def throw(generator):
        return generator.throw(GeneratorExit)

    def close(generator):
        return generator.close()

    for function in (stubborn, yielding):
        plain, decorated = _plain_and_decorated(function)
        for steps in ((throw, next), (throw, close), (close, close), (close, next)):
            memory.clear()
            assert ends(decorated, *steps) == ends(plain, *steps), (function, steps)
            assert memory.names() == ["op.start", "op.stop"], (function, steps)
    assert ends(stubborn, throw) == [1, 2]


async def test_an_async_generator_that_goes_on_when_it_is_to_end_does_so_decorated(memory):
    async def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    async def yielding():
        try:
            yield 1
        except GeneratorExit:
            return

    async def ends(function, *steps):
        generator = function()
        outcomes = []
        for step in (lambda it: anext(it), *steps):
            try:
                outcomes.append(await step(generator))
            except (RuntimeError, StopAsyncIteration, GeneratorExit) as error:
                outcomes.append((type(error), str(error)))
        return outcomes

    def throw(generator):
        return generator.athrow(GeneratorExit)

    def close(generator):
        return generator.aclose()

    for function in (stubborn, yielding):
        plain, decorated = _plain_and_decorated(function)
        for steps in ((throw, anext), (throw, close), (close,)):
            memory.clear()
            assert await ends(decorated, *steps) == await ends(plain, *steps), (function, steps)
            if function is yielding or steps != (close,):
                assert memory.names() == ["op.start", "op.stop"], (function, steps)
    assert await ends(stubborn, throw) == [1, 2]


@pytest.mark.parametrize("end", ["close", "throw"])
def test_a_generator_that_has_ended_holds_nothing(memory, end):
    class Held:
        pass

    held = []

    @telemetry.span("op")
    def count():
        local = Held()
        held.append(weakref.ref(local))
        yield 1

    generator = count()
    gc.disable()
    try:
        next(generator)
        if end == "close":
            generator.close()
        else:
            with pytest.raises(ValueError):
                generator.throw(ValueError("x"))
        del generator
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_generator_that_fails_is_an_exception(memory):
    @telemetry.span("op")
    def fail():
        yield 1
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        list(fail())
    assert memory.names() == ["op.start", "op.exception"]


async def test_decorated_async_generator(memory):
    closed = []

    @telemetry.span("op")
    async def count():
        try:
            got = yield 1
            try:
                yield got
            except ValueError:
                yield "thrown"
        finally:
            closed.append(True)

    generator = count()
    assert await anext(generator) == 1
    assert await generator.asend("sent") == "sent"
    assert await generator.athrow(ValueError) == "thrown"
    await generator.aclose()
    assert closed == [True]
    assert memory.names() == ["op.start", "op.stop"]
    assert [value async for value in count()] == [1, None]
    assert memory.names() == ["op.start", "op.stop"] * 2


async def test_an_async_generator_that_fails_is_an_exception(memory):
    @telemetry.span("op")
    async def fail():
        yield 1
        raise ValueError

    with pytest.raises(ValueError):
        async for _ in fail():
            pass
    assert memory.names() == ["op.start", "op.exception"]


def test_an_exit_in_another_context_is_tolerated(memory):
    span = telemetry.span("op", None, "id-5")
    contextvars.copy_context().run(span.__enter__)
    span.__exit__(None, None, None)
    assert memory.names() == ["op.start", "op.stop"]


async def test_an_exit_in_another_task_is_tolerated(memory):
    span = telemetry.span("op", None, "id-6")
    span.__enter__()

    async def leave():
        span.__exit__(None, None, None)

    await asyncio.create_task(leave())
    assert memory.names() == ["op.start", "op.stop"]


def test_a_decorator_needs_a_function(memory):
    with pytest.raises(TypeError, match="function"):
        telemetry.span("op")("no function")


def test_a_block_that_is_not_entered_leaves_no_id_behind(memory):
    class Interrupting:
        def __str__(self):
            raise KeyboardInterrupt

    span = telemetry.span("op", {"key": Interrupting()}, "id-7")
    with pytest.raises(KeyboardInterrupt):
        with span:
            pytest.fail("the block was entered")
    assert telemetry.get_correlation_id() is None
    span.__exit__(None, None, None)
    assert memory.names() == []
