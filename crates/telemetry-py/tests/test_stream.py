"""`TelemetryStream` by itself: its queue, policy and ledger, and how its consumers are woken."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
import types
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
import telemetry_py as telemetry
from manager import CLASSES, PATIENCE, name_of
from telemetry_py import GrpcBackend, TelemetryStream

Event = CLASSES["Event"]


def made(**options: Any) -> TelemetryStream:
    return TelemetryStream(event_class=Event, **options)


def control(**fields: Any) -> bytes:
    return bytes(CLASSES["Control"](**fields).SerializeToString())


ON = control(toggle=CLASSES["Toggle"](enabled=True))
OFF = control(toggle=CLASSES["Toggle"](enabled=False))


class Controls:
    """Controls that come when a test says so."""

    def __init__(self, *first: object) -> None:
        self._waiting: asyncio.Queue[object] = asyncio.Queue()
        for one in first:
            self._waiting.put_nowait(one)

    def say(self, one: object) -> None:
        self._waiting.put_nowait(one)

    def __aiter__(self) -> Controls:
        return self

    async def __anext__(self) -> object:
        one = await self._waiting.get()
        if isinstance(one, BaseException):
            raise one
        return one


async def take(events: AsyncIterator[Any], count: int) -> list[Any]:
    return [await asyncio.wait_for(anext(events), PATIENCE) for _ in range(count)]


async def for_ever(events: AsyncIterator[Any]) -> None:
    """Takes whatever comes; without `wait_for`, which may swallow a cancellation."""
    async for _ in events:
        pass


async def drained(stream: TelemetryStream) -> list[Any]:
    """What it holds; it is closed for that."""
    stream.close()
    return [event async for event in stream.stream(None, None)]


def test_the_face_is_as_it_is_written_down() -> None:
    assert str(inspect.signature(TelemetryStream)) == (
        "(max_buffer: 'int' = 1024, *, overflow: \"Literal['drop_newest', 'drop_oldest']\" = 'drop_newest',"
        " event_class: 'type[Any] | None' = None) -> 'None'"
    )
    assert list(inspect.signature(TelemetryStream.stream).parameters) == ["self", "control_iter", "context"]
    assert inspect.isasyncgenfunction(TelemetryStream.stream)
    assert inspect.isgeneratorfunction(TelemetryStream.stream_sync)
    stream = TelemetryStream()
    assert (stream.enabled, stream.sampling_rate, stream.dropped_count, stream._loop) == (True, 1.0, 0, None)


@pytest.mark.parametrize("max_buffer", [0, -1, 1 << 21])
def test_a_bound_that_is_none_is_refused(max_buffer: int) -> None:
    with pytest.raises(ValueError, match=f"max_buffer={max_buffer} is not allowed; expected a number of events from 1 to"):
        TelemetryStream(max_buffer)


@pytest.mark.parametrize("options", [{"max_buffer": "8"}, {"max_buffer": True}, {"event_class": int}])
def test_arguments_of_other_types_are_refused(options: Any) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(options))}=.* is not allowed; expected"):
        TelemetryStream(**options)


def test_an_unknown_overflow_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="overflow='wait' is not allowed; expected drop_newest or drop_oldest"):
        TelemetryStream(overflow="wait")  # type: ignore[arg-type]


async def test_two_streams_share_nothing() -> None:
    one, other = made(max_buffer=2), made()
    for n in range(3):
        one.emit("apps.one", {"n": n})
    other.emit("apps.other")
    one.set_sampling(0.0)
    one.emit("apps.one")
    other.emit("apps.other")
    assert one.stats()["dropped"] == {"queue_full": 1, "sampled_out": 1}
    assert other.stats()["dropped"] == {}
    assert (one.sampling_rate, other.sampling_rate, one.dropped_count) == (0.0, 1.0, 1)
    assert telemetry.stats()["emitted"] == 0 or telemetry.get_backend() is None
    assert {name_of(event) for event in await drained(other)} == {"apps.other"}
    assert {name_of(event) for event in await drained(one)} == {"apps.one"}


async def test_a_full_queue_drops_what_is_newest_or_oldest_as_it_was_asked() -> None:
    newest, oldest = made(max_buffer=4), made(max_buffer=4, overflow="drop_oldest")
    for stream in newest, oldest:
        for n in range(10):
            stream.emit("apps.work", {"n": n})
    assert newest.stats()["dropped"] == {"queue_full": 6}
    assert oldest.stats()["dropped"] == {"evicted_oldest": 6}
    assert [event.measurements["n"].int_value for event in await drained(newest)] == [0, 1, 2, 3]
    assert [event.measurements["n"].int_value for event in await drained(oldest)] == [6, 7, 8, 9]


async def test_a_filter_and_a_toggle_hold_before_there_is_a_manager() -> None:
    stream = made()
    stream.set_filter(deny=["apps.secret*"])
    stream.emit("apps.secret.one")
    stream.emit("apps.work")
    stream.enabled = False
    stream.emit("apps.work")
    stream.enabled = True
    assert stream.stats()["dropped"] == {"filtered": 1}
    assert stream.dropped_count == 0, "whoever asks for it loses nothing"
    assert [name_of(event) for event in await drained(stream)] == ["apps.work"]


@pytest.mark.parametrize("wrong", [lambda s: s.set_sampling(2.0), lambda s: s.set_filter(allow=["[a"]), lambda s: setattr(s, "sampling_rate", -1)])
def test_a_policy_that_is_none_raises_and_changes_nothing(wrong: Any) -> None:
    stream = made()
    with pytest.raises(ValueError):
        wrong(stream)
    stream.emit("apps.work")
    assert stream.stats()["queued"] == 1


async def test_hostile_values_raise_nothing_and_arrive_as_text() -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no")

    stream = made()
    stream.emit("apps.work", None)
    stream.emit("apps.work", {1: 2**63, "s": "\ud800", "o": Silent()}, {2: Silent()}, 3)  # type: ignore[dict-item, arg-type]
    stream.emit(None)  # type: ignore[arg-type]
    stats = stream.stats()
    assert (stats["emitted"], stats["accepted"], stats["dropped"]) == (3, 2, {"invalid_name": 1})
    event = (await drained(stream))[1]
    assert event.measurements["1"].float_value == 2.0**63
    assert "unprintable" in event.measurements["o"].string_value
    assert event.correlation_id == "3"


async def test_an_event_takes_the_correlation_id_of_its_context() -> None:
    stream = made()
    with telemetry.correlation("c-7"):
        stream.emit("apps.work")
    stream.emit("apps.work")
    assert [event.correlation_id for event in await drained(stream)] == ["c-7", ""]


async def test_a_thread_that_emits_wakes_the_loop_once_for_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_BATCH_DELAY_MS", "0")
    stream = made(max_buffer=4096)
    loop = asyncio.get_running_loop()
    events = stream.stream(Controls(ON), None)
    stream.emit("apps.first")
    await take(events, 1)
    taking = asyncio.ensure_future(take(events, 2000))
    woken: list[int] = []
    genuine = loop.call_soon_threadsafe

    def counting(callback: Any, *arguments: Any, **options: Any) -> Any:
        woken.append(threading.get_ident())
        return genuine(callback, *arguments, **options)

    # It waits, and nothing else wakes this loop.
    for _ in range(10):
        await asyncio.sleep(0)
    assert stream._loop is loop
    loop.call_soon_threadsafe = counting  # type: ignore[method-assign]
    try:
        producer = threading.Thread(target=lambda: [stream.emit("apps.work") for _ in range(2000)])
        producer.start()
        found = await taking
        producer.join()
    finally:
        del loop.call_soon_threadsafe  # type: ignore[method-assign]
    assert len(found) == 2000
    assert 1 <= len(woken) < 500, len(woken)
    assert set(woken) == {producer.ident}
    await events.aclose()


async def test_it_is_attached_while_a_call_lasts() -> None:
    stream = made()
    events = stream.stream(Controls(ON), None)
    assert stream._loop is None
    stream.emit("apps.work")
    await take(events, 1)
    assert stream._loop is asyncio.get_running_loop()
    assert stream.stats()["streams"] == 1
    await events.aclose()
    assert stream._loop is None
    assert stream.stats()["streams"] == 0


async def test_cancelling_whoever_waits_loses_nothing() -> None:
    stream = made()
    for round_ in range(20):
        waiting = asyncio.ensure_future(for_ever(stream.stream(Controls(ON), None)))
        await asyncio.sleep(0.001)
        stream.emit("apps.work", {"n": round_})
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    seen = [event.measurements["n"].int_value for event in await drained(stream)]
    assert seen == sorted(set(seen)) and seen[-1] == 19


async def test_controls_hold_and_one_that_fails_ends_nothing() -> None:
    class Unreadable:
        def SerializeToString(self) -> bytes:
            raise RuntimeError("no bytes")

    stream = made()
    controls = Controls(ON, ValueError("broken control"), Unreadable(), object(), b"\xff\xff", OFF)
    events = stream.stream(controls, None)
    taking = asyncio.ensure_future(take(events, 1))
    while stream.enabled:
        await asyncio.sleep(0)
    assert "could not be read" in (stream.stats()["control_error"] or "")
    stream.emit("apps.off")
    controls.say(CLASSES["Control"].FromString(ON))
    while not stream.enabled:
        await asyncio.sleep(0)
    stream.emit("apps.on")
    assert [name_of(event) for event in await taking] == ["apps.on"]
    await events.aclose()


async def test_controls_that_break_off_leave_the_events() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield ON
        raise ConnectionError("gone")

    stream = made()
    events = stream.stream(breaking(), None)
    stream.emit("apps.work")
    await take(events, 1)
    while stream.stats()["control_error"] is None:
        await asyncio.sleep(0)
    stream.emit("apps.work")
    await take(events, 1)
    assert stream.stats()["control_error"] == "ConnectionError: gone"
    await events.aclose()


@pytest.mark.parametrize("controls", [None, [ON], iter([ON])], ids=["none", "list", "iterator"])
async def test_controls_may_come_from_anything(controls: Any) -> None:
    stream = made()
    stream.emit("apps.work")
    events = stream.stream(controls, None)
    await take(events, 1)
    await events.aclose()


def test_without_a_class_of_events_it_says_what_to_do(python: Any) -> None:
    result = python(
        """
        import asyncio
        from telemetry_py import TelemetryStream

        async def main():
            stream = TelemetryStream()
            stream.emit("apps.work")
            try:
                async for _ in stream.stream(None, None):
                    raise AssertionError
            except LookupError as error:
                assert "stream_raw" in str(error), error
            assert stream.stats()["queued"] == 1
            stream.close()
            assert len([raw async for raw in stream.stream_raw(None, None)]) == 1

        asyncio.run(main())
        """
    )
    assert result.returncode == 0, result.stderr


def test_making_one_imports_and_starts_nothing(python: Any) -> None:
    result = python(
        """
        import os, sys
        from telemetry_py import GrpcBackend, TelemetryStream, set_backend
        stream = TelemetryStream()
        set_backend(GrpcBackend(stream))
        stream.emit("apps.work")
        assert not {"asyncio", "grpc", "google.protobuf", "threading"} & set(sys.modules)
        assert len(os.listdir("/proc/self/task")) == 1
        """
    )
    assert result.returncode == 0, result.stderr


async def test_a_forked_child_has_an_empty_queue_and_a_ledger_of_its_own() -> None:
    stream = made()
    events = stream.stream(Controls(ON), None)
    stream.emit("apps.parent")
    await take(events, 1)
    for _ in range(5):
        stream.emit("apps.parent")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            first = stream.stats()
            stream.emit("apps.child")
            stream.close()
            found = [Event.FromString(raw) for raw in _all_sync(stream)]
            told = f"{first['emitted']} {first['queued']} {[(name_of(e), e.sequence) for e in found]}"
            os.write(writer, told.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told == "0 0 [('apps.child', 1)]"
    assert len(await take(events, 5)) == 5
    await events.aclose()
    assert stream.stats()["sent"] == 6


def _all_sync(stream: TelemetryStream) -> list[bytes]:
    return list(stream.stream_sync_raw(None, None))


def test_a_thread_waits_for_events_without_a_loop() -> None:
    stream = made()
    found: list[Any] = []
    events = stream.stream_sync(iter([ON]), None)
    consumer = threading.Thread(target=lambda: found.extend(events))
    consumer.start()
    for n in range(100):
        stream.emit("apps.work", {"n": n})
    stream.close()
    consumer.join(PATIENCE)
    assert [event.measurements["n"].int_value for event in found] == list(range(100))


async def test_it_ends_in_order_before_its_deadline() -> None:
    context = types.SimpleNamespace(time_remaining=lambda: 0.2)
    stream = made()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert [event async for event in stream.stream(Controls(ON), context)] == []
    assert 0.1 < loop.time() - begun < 10
    context.time_remaining = lambda: 0.0
    stream.emit("apps.work")
    assert [event async for event in stream.stream(Controls(ON), context)] == []
    assert stream.stats()["queued"] == 1


async def test_a_stream_that_nobody_has_any_more_is_let_go() -> None:
    stream = made()
    events = stream.stream(Controls(ON), None)
    stream.emit("apps.work")
    await take(events, 1)
    await events.aclose()
    gone = weakref.ref(stream)
    del stream, events
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_the_backend_puts_events_into_its_stream_and_tells_what_found_no_room() -> None:
    stream = made(max_buffer=2)
    backend = GrpcBackend(stream)
    telemetry.set_backend(backend)
    before = telemetry.stats()
    for _ in range(3):
        telemetry.emit("apps.work", {"n": 1}, {"k": "v"}, "c")
    after = telemetry.stats()
    assert telemetry.get_backend() is backend
    assert after["delivered"] - before["delivered"] == 2
    assert after["dropped"].get("queue_full", 0) - before["dropped"].get("queue_full", 0) == 1
    assert [event.correlation_id for event in await drained(stream)] == ["c", "c"]


def test_the_backend_takes_anything_with_emit_and_raises_for_nothing() -> None:
    class Failing:
        def emit(self, *_: object) -> None:
            raise OSError("no")

    assert isinstance(GrpcBackend(Failing()).emit("a.b", {}), OSError)
    assert list(inspect.signature(GrpcBackend).parameters) == ["stream"]
