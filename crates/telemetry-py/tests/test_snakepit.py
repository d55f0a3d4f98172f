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
    # The class that the worker has generated does not know the field, and keeps it.
    spans = [event.span for event in events]
    assert [span.phase for span in spans] == [1, 0, 2]
    assert len({(bytes(span.trace_id), span.span_id) for span in spans}) == 1 and spans[0].span_id
    assert len(spans[0].trace_id) == 16 and not spans[0].parent_span_id
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


CHILDREN = """
import multiprocessing
import sys

from snakepit_bridge.telemetry import emit, set_backend
from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
from snakepit_bridge.telemetry.stream import TelemetryStream


def work(number):
    import snakepit_bridge.telemetry.stream as module

    stream = TelemetryStream(max_buffer=8)
    set_backend(GrpcBackend(stream))
    emit("tool.result_size", {"bytes": number})
    return module.TelemetryStream.__module__, stream.stats()["queued"], __name__


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        print(*sorted({*pool.map(work, range(4)), *pool.map(work, range(4))}))
    child = context.Process(target=work, args=(1,))
    child.start()
    child.join()
    print(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("installed", ["by_the_command", "by_the_program", "by_the_program_late"])
def test_children_of_all_start_methods_have_ours_too(tmp_path: Path, method: str, installed: str) -> None:
    """The stock functions fail, and so would a child that has them."""
    install = "from telemetry_py.compat import snakepit; snakepit.install()"
    before = {
        "by_the_command": "",
        "by_the_program": f"if __name__ == '__main__':\n    {install}",
        "by_the_program_late": f"import multiprocessing.spawn\nif __name__ == '__main__':\n    {install}",
    }
    script = tmp_path / "worker.py"
    script.write_text(f"{before[installed]}\n{CHILDREN}")
    command = ["-m", "telemetry_py.compat.snakepit"] if installed == "by_the_command" else []
    ran = subprocess.run(
        [sys.executable, *command, str(script), method],
        env={**os.environ, "PYTHONPATH": str(STOCK)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    main = "__main__" if method == "fork" else "__mp_main__"
    assert ran.stdout.splitlines() == [f"('telemetry_py.compat._surface', 1, '{main}')", "0"], ran.stderr
    assert ran.stderr == ""


def test_a_child_that_cannot_have_ours_runs_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        "    from telemetry_py.compat import snakepit, _children\n"
        "    snakepit.install()\n"
        f"    _children._PROGRAM = {str(tmp_path / 'broken.py')!r}\n"
        "    child = multiprocessing.get_context('spawn').Process(target=print, args=('ran',))\n"
        "    child.start(); child.join(); sys.exit(child.exitcode)\n"
    )
    spawned = Path(telemetry.__file__).parent / "compat/_spawned.py"
    (tmp_path / "broken.py").write_text(spawned.read_text().replace(" install()", " raise OSError('on purpose')"))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, "ran\n"), ran.stderr
    assert "a spawned child goes on" in ran.stderr and "on purpose" in ran.stderr


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
