"""Does the same over and over and looks at what the process has: ``python leaks.py WHAT TIMES [ADDRESS]``.

Prints what it did and by how much it grew. After a warm-up all that is kept for good is there.
"""

from __future__ import annotations

import contextvars
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable

import telemetry_py as telemetry

LARGEST_GROWTH = 6 * 2**20
"""Bytes of memory that may come and go: allocators keep some of what they have had."""


def resident() -> int:
    gc.collect()
    # What has ended is added up, and let go, when somebody asks.
    telemetry.stats()
    # What is free is given back, or it would be chance how much of it is.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def held() -> tuple[int, int, int]:
    """Descriptors, threads of the system, threads of Python."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()


def settled(before: tuple[int, ...]) -> tuple[int, ...]:
    """What is held once threads that were told to end have ended; of what does not end, what is left."""
    deadline = time.monotonic() + 10
    while any(now > then for now, then in zip(held(), before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held()


def emits(times: int, _address: str) -> int:
    emit = telemetry.emit
    for count in range(times):
        emit("a.b", {"count": count}, {"key": "value"})
    return times


def odd_emits(times: int, _address: str) -> int:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    for count in range(times):
        telemetry.emit("a.b", {"odd": Odd(), "huge": 10**30}, {f"key{count % 7}": [count], 1: None}, f"id-{count}")
    return times


def spans(times: int, _address: str) -> int:
    for count in range(times):
        try:
            with telemetry.span("op", {"i": str(count)}) as span:
                span.set(more=count)
                raise ValueError(f"failed {count}")
        except ValueError:
            pass
    return 2 * times


def otel_spans(times: int, _address: str) -> int:
    from opentelemetry.sdk.trace import TracerProvider

    telemetry.set_backend(telemetry.OtelBackend(TracerProvider()))
    for _ in range(times):
        with telemetry.span("op"):
            pass
    return 2 * times


def left_open(times: int, _address: str) -> int:
    """Spans that nobody leaves, each of its own kind."""

    @telemetry.span("generator.run")
    def generator():  # type: ignore[no-untyped-def]
        yield 1
        yield 2

    @telemetry.span("agenerator.run")
    async def async_generator():  # type: ignore[no-untyped-def]
        yield 1

    @telemetry.span("coroutine.run")
    async def coroutine():  # type: ignore[no-untyped-def]
        await Forever()

    class Forever:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    events = 0
    for count in range(times):
        # What enters a context for good goes with it.
        contextvars.copy_context().run(telemetry.span("dropped.span").__enter__)
        telemetry.span("never.entered")
        next(generator())
        waiting = coroutine()
        waiting.send(None)
        waiting.close()
        stepped = async_generator()
        try:
            stepped.__anext__().send(None)
        except StopIteration:
            pass
        del stepped, waiting
        events += 7
    return events


def streams(times: int, _address: str) -> int:
    for _ in range(times):
        stream = telemetry.TelemetryStream(64)
        stream.emit("a.b", {"count": 1})
        call = stream.stream_sync_raw(None, None)
        assert isinstance(next(call), bytes)
        call.close()
        stream.close()
    return 0


def serves(times: int, _address: str) -> int:
    for _ in range(times):
        with telemetry.serve():
            telemetry.emit("a.b")
    return times


def connects(times: int, address: str) -> int:
    for _ in range(times):
        telemetry.connect(address)
        telemetry.emit("a.b")
        telemetry.flush(5)
        telemetry.shutdown()
    return times


KINDS: dict[str, Callable[[int, str], int]] = {
    kind.__name__: kind for kind in (emits, odd_emits, spans, otel_spans, left_open, streams, serves, connects)
}


def main(what: str, times: int, address: str = "") -> None:
    act = KINDS[what]
    if what in ("emits", "odd_emits", "spans", "left_open"):
        telemetry.serve()
    begun = telemetry.stats()["emitted"]
    idle = held()
    expected = act(max(times // 10, 20), address)
    before_held = settled(idle)
    before = resident()
    expected += act(times, address)
    now_held = settled(before_held)
    grown = resident() - before
    stats = telemetry.stats()
    print(f"{what}: {times} times, {expected} events, {grown} bytes, {before_held} to {now_held}")
    assert grown < LARGEST_GROWTH, grown
    assert all(now <= then for now, then in zip(now_held, before_held)), (before_held, now_held)
    assert stats["emitted"] - begun == expected, (stats, expected)
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
