"""Ours in the place of the stock package: its names, and that an unmodified worker goes through ours.

`tests/stock` holds a small stand-in for that package. Each of its functions fails, so whatever works is ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import telemetry_py as telemetry
from documented import ROOT, files
from manager import PATIENCE, Manager, name_of
from raw_call import RawCall

STOCK = Path(__file__).parent / "stock"
PING = "/snakepit.bridge.BridgeService/Ping"

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def beside_stock(python: Python) -> Callable[[str], None]:
    """Runs a program that can import the stock package, and expects it to succeed."""

    def run(program: str) -> None:
        result = python(program, PYTHONPATH=str(STOCK))
        assert result.returncode == 0, result.stderr

    return run


@pytest.fixture
def alone(python: Python) -> Callable[[str], None]:
    """Runs a program that cannot."""

    def run(program: str) -> None:
        result = python(program)
        assert result.returncode == 0, result.stderr

    return run


SIGNATURES = """
import inspect
from telemetry_py.compat import snakepit
snakepit.install()
import snakepit_bridge.otel_tracing as otel_tracing
import snakepit_bridge.telemetry as t
import snakepit_bridge.telemetry.manager as manager
from snakepit_bridge.telemetry.stream import TelemetryStream
from snakepit_bridge.telemetry.backends.base import TelemetryBackend
from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
from snakepit_bridge.telemetry.backends.stderr import StderrBackend

def face(function):
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.name != "self"}

NO = inspect.Parameter.empty
assert face(t.emit) == {"event": NO, "measurements": NO, "metadata": None, "correlation_id": None}
assert face(t.span) == {"operation": NO, "metadata": None, "correlation_id": None}
assert list(face(t.set_backend)) == ["backend"]
assert face(t.get_backend) == face(t.is_enabled) == {}
assert face(t.set_correlation_id).keys() == {"value"}
assert face(t.reset_correlation_id).keys() == {"token"}
assert face(t.get_correlation_id) == {"default": None}
assert face(TelemetryStream) == {"max_buffer": 1024}
assert list(face(TelemetryStream.stream)) == ["control_iter", "context"]
assert inspect.isasyncgenfunction(TelemetryStream.stream)
assert face(TelemetryStream.close) == {}
assert list(face(TelemetryStream.emit)) == ["event", "measurements", "metadata", "correlation_id"]
assert list(face(GrpcBackend)) == ["stream"]
assert list(face(TelemetryBackend.emit)) == ["event", "measurements", "metadata", "correlation_id"]
assert issubclass(GrpcBackend, TelemetryBackend) and issubclass(StderrBackend, TelemetryBackend)
assert t.CORRELATION_HEADER == otel_tracing.CORRELATION_HEADER == "x-snakepit-correlation-id"
for name in ("emit", "span", "set_backend", "get_backend", "is_enabled"):
    assert getattr(manager, name) is getattr(t, name)
for name in ("new_correlation_id", "set_correlation_id", "reset_correlation_id", "get_correlation_id"):
    assert getattr(otel_tracing, name) is getattr(t, name)

stream = TelemetryStream()
assert (type(stream.enabled), type(stream.sampling_rate), type(stream.dropped_count)) == (bool, float, int)
assert (stream.enabled, stream.sampling_rate, stream.dropped_count, stream._loop) == (True, 1.0, 0, None)

assert t.get_backend() is None and t.is_enabled() is False
backend = GrpcBackend(stream)
t.set_backend(backend)
assert t.get_backend() is backend and t.is_enabled() is True
assert t.emit("apps.work", {"n": 1}) is None
with t.span("tool.execution") as yielded:
    assert yielded is None
assert stream.stats()["emitted"] == 3

from contextvars import Token
token = t.set_correlation_id("c-1")
assert isinstance(token, Token) and t.get_correlation_id() == "c-1"
t.reset_correlation_id(token)
assert t.get_correlation_id() is None and t.get_correlation_id("d") == "d"
assert len(t.new_correlation_id()) == 32
"""


def test_every_name_has_its_signature_beside_the_stock_package(beside_stock: Any) -> None:
    beside_stock(SIGNATURES)


def test_every_name_has_its_signature_without_the_stock_package(alone: Any) -> None:
    alone(SIGNATURES)


@pytest.mark.parametrize("name", ["setup_tracing", "get_tracer", "correlation_filter", "outgoing_metadata", "otel_span"])
def test_tracing_is_ours(beside_stock: Any, name: str) -> None:
    if not hasattr(telemetry, name):
        pytest.skip(f"telemetry_py has no {name}")
    beside_stock(
        f"""
        from telemetry_py.compat import snakepit
        snakepit.install()
        import telemetry_py
        from snakepit_bridge import otel_tracing, telemetry
        assert telemetry.{name} is otel_tracing.{name} is telemetry_py.{name}
        """
    )


def test_what_was_imported_before_is_replaced_wherever_it_stands(beside_stock: Any) -> None:
    beside_stock(
        """
        import snakepit_bridge.telemetry
        import snakepit_bridge.telemetry.backends.grpc
        import snakepit_bridge.telemetry.stream
        from snakepit_bridge import telemetry as alias
        from snakepit_bridge.otel_tracing import get_correlation_id
        from snakepit_bridge.telemetry import emit, span
        from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
        from snakepit_bridge.telemetry.stream import TelemetryStream

        class Mine:
            events = []
            def emit(self, event, measurements, metadata, correlation_id):
                self.events.append(event)

        stock_manager = snakepit_bridge.telemetry.manager
        mine = Mine()
        snakepit_bridge.telemetry.set_backend(mine)

        from telemetry_py.compat import snakepit
        snakepit.install()
        snakepit.install()

        assert alias is snakepit_bridge.telemetry
        assert snakepit_bridge.telemetry.get_backend() is mine, "a backend stays in force"
        emit("apps.one", {})
        snakepit_bridge.telemetry.emit("apps.two", {})
        stock_manager.emit("apps.three", {})
        with span("op"):
            pass
        assert mine.events == ["apps.one", "apps.two", "apps.three", "op.start", "op.stop"]
        assert get_correlation_id() is None
        GrpcBackend(TelemetryStream())
        """
    )


def test_the_rest_of_the_stock_package_stays(beside_stock: Any) -> None:
    beside_stock(
        """
        from telemetry_py.compat import snakepit
        snakepit.install()
        from snakepit_bridge.telemetry.helpers import WHOSE
        import snakepit_bridge
        assert WHOSE == "stock"
        assert snakepit_bridge.__file__.endswith("stock/snakepit_bridge/__init__.py")
        import snakepit_bridge.snakepit_bridge_pb2
        """
    )


def test_installing_imports_nothing_of_the_stock_package(beside_stock: Any) -> None:
    beside_stock(
        """
        import sys
        from telemetry_py.compat import snakepit
        snakepit.install()
        assert not [name for name in sys.modules if name.startswith("snakepit_bridge")]
        import snakepit_bridge.telemetry
        assert not {"grpc", "asyncio", "google.protobuf"} & set(sys.modules)
        """
    )


def test_a_span_is_a_decorator_too_and_masks_no_exception(beside_stock: Any) -> None:
    beside_stock(
        """
        import asyncio, time
        from telemetry_py import MemoryBackend
        from telemetry_py.compat import snakepit
        snakepit.install()
        from snakepit_bridge.telemetry import set_backend, span
        memory = MemoryBackend()
        set_backend(memory)

        @span("op.sync")
        def f():
            raise KeyError("k")

        try:
            f()
        except KeyError:
            pass
        clock, time.time = time.time, lambda: 0.0
        with span("op.clock", {"a": "b"}, "c-1"):
            pass
        time.time = clock

        async def cancelled():
            with span("op.task"):
                await asyncio.sleep(60)

        async def main():
            task = asyncio.ensure_future(cancelled())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())
        names = memory.names()
        assert names == [
            "op.sync.start", "op.sync.exception", "op.clock.start", "op.clock.stop", "op.task.start", "op.task.exception",
        ], names
        failed = memory.events[1]
        assert (failed.metadata["error_type"], failed.metadata["error_message"]) == ("KeyError", "'k'")
        clocked = memory.events[3]
        assert 0 < clocked.measurements["duration"] < 10**9, "measured by a clock that nobody sets"
        assert (clocked.metadata["a"], clocked.correlation_id) == ("b", "c-1")
        assert "system_time" in memory.events[2].measurements
        """
    )


def test_no_value_and_no_backend_takes_the_caller_down(beside_stock: Any) -> None:
    beside_stock(
        """
        from telemetry_py.compat import snakepit
        snakepit.install()
        from snakepit_bridge.telemetry import emit, set_backend, span
        from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
        from snakepit_bridge.telemetry.stream import TelemetryStream

        class Silent:
            def __str__(self):
                raise RuntimeError("no")

        class Failing:
            def emit(self, *_):
                raise OSError("no")

        stream = TelemetryStream()
        for backend in GrpcBackend(stream), Failing():
            set_backend(backend)
            emit("apps.work", None)
            emit("apps.work", {"n": 2**63})
            emit("apps.work", {1: 1}, {2: 2})
            emit("apps.work", {}, {"k": "\\ud800"}, "\\udfff")
            emit("apps.work", {"n": Silent()}, {"k": Silent()})
            with span("op", {"k": Silent()}):
                pass
        assert stream.stats()["accepted"] == 7
        """
    )


class Worker:
    """The stock worker's script, run with ours in place."""

    def __init__(self, *before: str, script: Path = STOCK / "stock_worker.py", env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *before, str(script), "a worker"],
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate(timeout=PATIENCE)[1])
        self.port = int(line)

    def ping(self, message: str) -> str:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            text = message.encode()
            answer: bytes = channel.unary_unary(PING)(b"\x0a" + bytes([len(text)]) + text, timeout=PATIENCE)
        return answer[2 : 2 + answer[1]].decode()

    def end(self) -> str:
        """Ends it in order; returns what it said."""
        _, said = self.process.communicate("", timeout=PATIENCE)
        assert self.process.returncode == 0, said
        return said


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("-m", "telemetry_py.compat.snakepit")
    yield worker
    if worker.process.poll() is None:
        worker.process.kill()
        worker.process.communicate()


EVENTS = ["tool.execution.start", "tool.result_size", "tool.execution.stop"]


def test_an_unmodified_worker_sends_its_events_through_ours(worker: Worker) -> None:
    """The stock functions fail, so the worker itself would not even start; its other calls go on as ever."""
    assert worker.ping("before") == "before by a worker"
    with Manager(f"127.0.0.1:{worker.port}") as manager:
        assert [name_of(manager.next()) for _ in EVENTS] == EVENTS
        assert worker.ping("during") == "during by a worker"
        events = [manager.next() for _ in EVENTS]
    assert [name_of(event) for event in events] == EVENTS
    assert events[1].measurements["bytes"].int_value == 6
    assert (events[1].metadata["tool"], events[1].correlation_id) == ("during", "c-1")
    assert [event.sequence for event in events] == [4, 5, 6]
    assert worker.end() == ""


def test_an_unmodified_worker_loses_nothing_at_the_deadlines_of_its_manager(worker: Worker) -> None:
    pings, seen = 0, 0
    for _ in range(4):
        call = RawCall(worker.port, "500m")
        while call.end is None:
            worker.ping("x")
            pings += 1
        call.wait()
        call.close()
        assert call.messages
        seen += len(call.messages)
    rest = RawCall(worker.port, None)
    rest.wait_for(3 * pings - seen)
    worker.end()
    rest.wait()
    assert seen + len(rest.messages) == 3 * pings
    rest.close()


def test_the_script_that_a_pool_starts_instead_is_that_worker_with_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of docs/snakepit.md, beside a worker that is called as Snakepit calls its own."""
    script = tmp_path / "worker.py"
    script.write_text(files(ROOT / "docs/snakepit.md")["worker.py"])
    (tmp_path / "grpc_server.py").write_text((STOCK / "stock_worker.py").read_text())
    monkeypatch.chdir(tmp_path)
    worker = Worker(script=script, env={"PYTHONPATH": str(STOCK)})
    assert worker.ping("x") == "x by a worker"
    with Manager(f"127.0.0.1:{worker.port}") as manager:
        assert [name_of(manager.next()) for _ in EVENTS] == EVENTS
    assert worker.end() == ""


def test_without_ours_that_worker_could_not_run() -> None:
    """The stand-in is one that cannot work by itself."""
    with pytest.raises(AssertionError, match="the stock stream was made"):
        Worker(env={"PYTHONPATH": str(STOCK)})


def test_a_module_runs_as_well_and_its_exit_code_goes_on(python: Python, tmp_path: Path) -> None:
    (tmp_path / "some_module.py").write_text("import sys\nfrom snakepit_bridge.telemetry import emit\nsys.exit(len(sys.argv) + 40)\n")
    command = [sys.executable, "-m", "telemetry_py.compat.snakepit"]
    ran = subprocess.run([*command, "-m", "some_module", "argument"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 42, ran.stderr
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr.startswith("usage: ")) == (2, True)
