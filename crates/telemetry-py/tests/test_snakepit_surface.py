"""Every name of the stock worker's telemetry modules, as ours has it: signature, default, type, and what it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[[str], None]

INSTALLED = """
from telemetry_py.compat import snakepit
snakepit.install()
"""

SURFACE = """
import contextvars
import importlib
import inspect
import logging
from inspect import Parameter

NO, ANY, NAMED = Parameter.empty, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY

def face(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]

def plain(*names, **defaults):
    return [(name, ANY, NO) for name in names] + [(name, ANY, default) for name, default in defaults.items()]

EMITTING = {
    "emit": plain("event", "measurements", metadata=None, correlation_id=None),
    "span": plain("operation", metadata=None, correlation_id=None),
    "set_backend": plain("backend"),
    "get_backend": [],
    "is_enabled": [],
}
TRACING = {
    "new_correlation_id": [],
    "set_correlation_id": plain("value"),
    "reset_correlation_id": plain("token"),
    "get_correlation_id": plain(default=None),
    "outgoing_metadata": plain(initial=None),
    "otel_span": [("name", ANY, NO), ("context_metadata", NAMED, None), ("attributes", NAMED, None)],
}
OF_MODULES = {
    "telemetry": EMITTING | TRACING,
    "telemetry.manager": EMITTING,
    "otel_tracing": TRACING,
}
WITHOUT_ARGUMENTS = ("setup_tracing", "get_tracer", "correlation_filter")

for module, expected in OF_MODULES.items():
    found = importlib.import_module(f"snakepit_bridge.{module}")
    for name, parameters in expected.items():
        assert face(getattr(found, name)) == parameters, (module, name, face(getattr(found, name)))
        assert getattr(found, name) is getattr(importlib.import_module("snakepit_bridge.telemetry"), name)
    if "otel_span" in expected:
        for name in WITHOUT_ARGUMENTS:
            inspect.signature(getattr(found, name)).bind()
        assert found.CORRELATION_HEADER == "x-snakepit-correlation-id"
    assert set(expected) <= set(found.__all__)

from snakepit_bridge import otel_tracing, telemetry
from snakepit_bridge.telemetry.backends.base import TelemetryBackend
from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
from snakepit_bridge.telemetry.backends.stderr import StderrBackend
from snakepit_bridge.telemetry.stream import TelemetryStream

# Classes.
FOUR = ["event", "measurements", "metadata", "correlation_id"]
assert face(TelemetryStream) == plain(max_buffer=1024)
assert face(TelemetryStream.stream) == plain("control_iter", "context")
assert inspect.isasyncgenfunction(TelemetryStream.stream)
assert face(TelemetryStream.close) == []
for owner in TelemetryStream, TelemetryBackend, GrpcBackend, StderrBackend:
    parameters = face(owner.emit)
    assert [name for name, _, _ in parameters][:4] == FOUR
    assert {kind for _, kind, _ in parameters} == {ANY}
    inspect.signature(owner.emit).bind(None, "event", {}, {}, "")
assert face(GrpcBackend)[0][:2] == ("stream", ANY)
inspect.signature(StderrBackend).bind()
assert inspect.isabstract(TelemetryBackend) and TelemetryBackend.__abstractmethods__ == {"emit"}
assert issubclass(GrpcBackend, TelemetryBackend) and issubclass(StderrBackend, TelemetryBackend)

# What attributes are, and that they are set.
stream = TelemetryStream(16)
assert [(type(v), v) for v in (stream.enabled, stream.sampling_rate, stream.dropped_count, stream._loop)] == [
    (bool, True), (float, 1.0), (int, 0), (type(None), None),
]
stream.sampling_rate = 0.25
stream.enabled = False
assert (stream.sampling_rate, stream.enabled) == (0.25, False)
stream.enabled, stream.sampling_rate = True, 1.0

# Emitting.
assert telemetry.get_backend() is None and telemetry.is_enabled() is False
backend = GrpcBackend(stream)
assert telemetry.set_backend(backend) is None
assert telemetry.get_backend() is backend and telemetry.is_enabled() is True
assert telemetry.emit("apps.work", {"n": 1}) is None
with telemetry.span("tool.execution") as yielded:
    assert yielded is None
assert stream.stats()["emitted"] == 3
telemetry.set_backend(None)
assert telemetry.get_backend() is None and telemetry.is_enabled() is False

# Correlation.
token = telemetry.set_correlation_id("c-1")
assert isinstance(token, contextvars.Token) and telemetry.get_correlation_id() == "c-1"
metadata = telemetry.outgoing_metadata()
assert metadata == [("x-snakepit-correlation-id", "c-1")]
assert telemetry.outgoing_metadata([("a", "b")])[:1] == [("a", "b")]
assert telemetry.reset_correlation_id(token) is None
assert telemetry.get_correlation_id() is None and telemetry.get_correlation_id("d") == "d"
assert telemetry.outgoing_metadata() == []
made = telemetry.new_correlation_id()
assert type(made) is str and len(made) == 32 and made != telemetry.new_correlation_id()

# Tracing, whatever of OpenTelemetry is there.
with telemetry.otel_span("work", context_metadata=[("traceparent", "rubbish")], attributes={"a": 1}):
    pass
assert hasattr(telemetry.get_tracer(), "start_as_current_span")
record = logging.LogRecord("n", logging.INFO, "p", 1, "m", (), None)
for made in telemetry.correlation_filter, telemetry.correlation_filter():
    assert made.filter(record) and record.correlation_id == "-"
"""


def test_every_name_is_as_there_beside_the_stock_package(beside_stock: Run) -> None:
    beside_stock(INSTALLED + SURFACE)


def test_every_name_is_as_there_without_the_stock_package(alone: Run) -> None:
    alone(INSTALLED + SURFACE)


@pytest.mark.parametrize("name", ["setup_tracing", "get_tracer", "correlation_filter", "outgoing_metadata", "otel_span"])
def test_tracing_is_ours(beside_stock: Run, name: str) -> None:
    beside_stock(
        INSTALLED
        + f"""
import telemetry_py
from snakepit_bridge import otel_tracing, telemetry
assert telemetry.{name} is otel_tracing.{name} is telemetry_py.{name}
"""
    )


def test_a_span_emits_what_the_stock_one_does(beside_stock: Run) -> None:
    beside_stock(
        INSTALLED
        + """
import time
from snakepit_bridge.telemetry import set_backend, span

seen = []

class Mine:
    def emit(self, event, measurements, metadata, correlation_id):
        seen.append((event, measurements, metadata, correlation_id))

set_backend(Mine())
with span("tool.execution", {"tool": "search"}, "c-1"):
    pass
try:
    with span("tool.execution", {"tool": "search"}):
        raise KeyError("k")
except KeyError:
    pass
(start, stop, again, failed) = seen
assert start[0] == "tool.execution.start" and list(start[1]) == ["system_time"]
assert abs(start[1]["system_time"] - time.time_ns()) < 60 * 10**9
assert stop[0] == "tool.execution.stop" and list(stop[1]) == ["duration"] and type(stop[1]["duration"]) is int
assert start[2:] == stop[2:] == ({"tool": "search"}, "c-1")
assert failed[0] == "tool.execution.exception" and list(failed[1]) == ["duration"]
assert failed[2] == {"tool": "search", "error_type": "KeyError", "error_message": "'k'"} and failed[3] == ""
"""
    )


def test_streams_are_buffers_of_their_own_that_drop_what_is_newest(beside_stock: Run) -> None:
    beside_stock(
        INSTALLED
        + """
import asyncio
from snakepit_bridge.snakepit_bridge_pb2 import TelemetryEvent
from snakepit_bridge.telemetry.stream import TelemetryStream

one, other = TelemetryStream(2), TelemetryStream()
for number in range(5):
    one.emit("apps.work", {"n": number})
other.emit("apps.other", {"n": 9}, None, None)
assert (one.dropped_count, other.dropped_count) == (3, 0)

async def read(stream):
    # With a full queue, too, it ends.
    stream.close()
    return [event async for event in stream.stream(None, None)]

async def attached():
    stream = TelemetryStream()
    stream.emit("apps.before", {})
    events = stream.stream(None, None)
    first = await anext(events)
    assert stream._loop is asyncio.get_running_loop()
    await events.aclose()
    assert stream._loop is None
    return first

async def main():
    found = await asyncio.wait_for(read(one), 60)
    assert [event.measurements["n"].int_value for event in found] == [0, 1]
    assert all(type(event) is TelemetryEvent for event in found)
    (event,) = await asyncio.wait_for(read(other), 60)
    assert list(event.event_parts) == ["apps", "other"] and not event.metadata and event.correlation_id == ""
    first = await asyncio.wait_for(attached(), 60)
    assert list(first.event_parts) == ["apps", "before"], "what comes before the first call waits for it"

asyncio.run(main())
"""
    )


def test_what_is_emitted_before_there_is_a_backend_reaches_none_and_is_counted(beside_stock: Run) -> None:
    """As there: telemetry is not enabled yet. But it does not vanish."""
    beside_stock(
        INSTALLED
        + """
import telemetry_py
from snakepit_bridge.telemetry import emit, is_enabled, set_backend, span
from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
from snakepit_bridge.telemetry.stream import TelemetryStream

assert not is_enabled()
emit("apps.early", {})
with span("early"):
    pass
stream = TelemetryStream()
set_backend(GrpcBackend(stream))
emit("apps.late", {})
assert stream.stats()["emitted"] == 1
stats = telemetry_py.stats()
assert (stats["emitted"], stats["queued"], stats["delivered"]) == (4, 3, 1), stats
telemetry_py.shutdown(0)
stats = telemetry_py.stats()
assert (stats["queued"], stats["delivered"], stats["dropped"]) == (0, 1, {"not_started": 3}), stats
"""
    )


def test_the_defects_of_the_stock_stream_are_not_ours(beside_stock: Run) -> None:
    beside_stock(
        INSTALLED
        + """
import asyncio
import os
import threading
import numpy
from snakepit_bridge import snakepit_bridge_pb2 as pb2
from snakepit_bridge.telemetry.stream import TelemetryStream

# Threads that are not those of the loop fill no more than the bound.
stream = TelemetryStream(max_buffer=10)
def flood():
    for _ in range(100):
        stream.emit("apps.work", {"n": numpy.int64(7), "ratio": numpy.float32(0.5), "on": numpy.bool_(True)})
threads = [threading.Thread(target=flood) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stats = stream.stats()
assert (stats["queued"], stats["dropped"]) == (10, {"queue_full": 390}), stats

# A forked child has none of its parent's events.
child = os.fork()
if child == 0:
    os._exit(0 if stream.stats()["emitted"] == 0 else 1)
assert os.waitpid(child, 0)[1] == 0

class Controls:
    '''One that cannot be applied, one that says nothing, and one that counts.'''
    def __init__(self):
        wrong = pb2.TelemetryControl(filter=pb2.TelemetryEventFilter(deny=["["]))
        self.left = [wrong, pb2.TelemetryControl(), pb2.TelemetryControl(filter=pb2.TelemetryEventFilter(deny=["apps.denied"]))]
        self.all_said = asyncio.Event()
    def __aiter__(self):
        return self
    async def __anext__(self):
        if not self.left:
            self.all_said.set()
            await asyncio.Event().wait()
        return self.left.pop(0)

async def main():
    controls = Controls()
    events = stream.stream(controls, None)
    first = await asyncio.wait_for(anext(events), 60)
    # Scalars of numpy are numbers.
    assert first.measurements["n"].int_value == 7
    assert first.measurements["ratio"].float_value == 0.5
    assert first.measurements["on"].int_value == 1
    # An error in one control ends neither control nor events.
    await asyncio.wait_for(controls.all_said.wait(), 60)
    assert "[" in stream.stats()["control_error"]
    stream.emit("apps.denied", {})
    for _ in range(9):
        await asyncio.wait_for(anext(events), 60)
    stream.emit("apps.work", {})
    last = await asyncio.wait_for(anext(events), 60)
    assert list(last.event_parts) == ["apps", "work"]
    await events.aclose()

asyncio.run(main())
assert stream.stats()["dropped"] == {"queue_full": 390, "filtered": 1}
"""
    )
