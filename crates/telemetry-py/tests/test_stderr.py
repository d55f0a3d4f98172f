"""The stderr line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import telemetry_py as telemetry

SERVE_AND_EMIT = """
import telemetry_py as telemetry
server = telemetry.serve()
assert server.address == "" and server.clients == 0
telemetry.emit("tool.result_size", {"bytes": 5, "nan": float("nan")}, {"tool": "x"}, "id-1")
with telemetry.span("tool.execution"):
    pass
assert telemetry.flush() and server.close()
"""


def lines_of(text: str) -> list[dict]:
    return [
        json.loads(line.removeprefix("TELEMETRY:"))
        for line in text.splitlines()
        if line.startswith("TELEMETRY:")
    ]


def test_one_line_of_code_is_enough(python):
    result = python(SERVE_AND_EMIT, TELEMETRY_BACKEND="stderr")
    assert result.returncode == 0, result.stderr
    size, start, stop = lines_of(result.stderr)
    assert size.pop("timestamp_ns") > 0
    assert size == {
        "event": "tool.result_size",
        "measurements": {"bytes": 5, "nan": "NaN"},
        "metadata": {"tool": "x"},
        "correlation_id": "id-1",
    }
    assert [start["event"], stop["event"]] == ["tool.execution.start", "tool.execution.stop"]


def test_a_long_event_is_cut_to_one_write(tmp_path):
    path = tmp_path / "lines"
    with open(path, "wb") as file:
        backend = telemetry.StderrBackend(file.fileno())
        telemetry.set_backend(backend)
        telemetry.emit("a.b", {"count": 1}, {f"key{i}": "\x00" * 1000 for i in range(20)})
    line = path.read_bytes()
    assert len(line) <= 4096 and line.endswith(b"\n") and line.count(b"\n") == 1
    (event,) = lines_of(line.decode())
    assert event["measurements"] == {"count": 1}
    assert backend.truncated == 1


def test_a_reader_that_stops_reading_holds_nobody_up():
    read, write = os.pipe()
    try:
        backend = telemetry.StderrBackend(write)
        telemetry.set_backend(backend)
        for _ in range(200):
            telemetry.emit("a.b", None, {"key": "x" * 1000})
        assert backend.dropped > 0
    finally:
        os.close(read)
        os.close(write)


def test_a_closed_stderr_is_no_error():
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    backend = telemetry.StderrBackend(write)
    telemetry.set_backend(backend)
    telemetry.emit("a.b")
    assert backend.dropped == 1


def test_resources_are_sampled_as_lines():
    program = "import sys, telemetry_py; telemetry_py.serve(); sys.stdin.readline()"
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TELEMETRY_BACKEND": "stderr", "TELEMETRY_RESOURCE_INTERVAL_MS": "20"},
    )
    (first,) = lines_of(worker.stderr.readline())
    worker.communicate("go\n", timeout=60)
    assert worker.returncode == 0
    assert first["event"] == "python.memory.sampled"
    assert first["metadata"] == {"python_pid": str(worker.pid)}


def test_a_long_correlation_id_holds_nobody_up(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        read, write = os.pipe()
        telemetry.set_backend(telemetry.StderrBackend(write))
        for _ in range(2):
            telemetry.emit("a.b", None, None, "x" * 100_000)
        line = os.read(read, 100_000)
        assert line.count(b"\\n") == 2 and len(line) < 1000, len(line)
        backend = telemetry.StderrBackend(write)
        backend.emit("a.b", {}, {}, "x" * 100_000)
        assert backend.dropped == 1
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_process_that_takes_the_room_in_a_shared_pipe_holds_nobody_up(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        read, write = os.pipe()
        other = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK)
        backend = telemetry.StderrBackend(write)
        really_write = os.write
        def write_late(fd, line):
            try:
                while True:
                    really_write(other, b"x" * 4096)
            except BlockingIOError:
                pass
            return really_write(fd, line)
        os.write = write_late
        telemetry.set_backend(backend)
        telemetry.emit("a.b")
        assert backend.dropped == 1
        assert os.get_blocking(write), "the description that others share is left alone"
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_pipe_without_a_reader_raises_no_signal(python):
    result = python(
        """
        import os, signal, telemetry_py as telemetry
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        read, write = os.pipe()
        os.close(read)
        backend = telemetry.StderrBackend(write)
        telemetry.set_backend(backend)
        telemetry.emit("a.b")
        assert backend.dropped == 1
        """
    )
    assert result.returncode == 0, (result.returncode, result.stderr)


def test_what_a_terminal_would_act_on_is_escaped():
    read, write = os.pipe()
    telemetry.set_backend(telemetry.StderrBackend(write))
    evil = "\x1b[2J\x7f\x9b\u202e\r\n"
    telemetry.emit("a.b", None, {"key": evil})
    line = os.read(read, 4096)
    os.close(read)
    os.close(write)
    assert all(32 <= byte < 127 for byte in line[:-1]), line
    assert lines_of(line.decode())[0]["metadata"] == {"key": evil}


def drain(pipe: int) -> list[dict]:
    """What is in a pipe whose writers are gone."""
    with os.fdopen(pipe, "rb") as file:
        text = file.read().decode()
    assert text.endswith("\n"), "the last line is whole"
    return lines_of(text)


def counts() -> dict[str, int]:
    stats = telemetry.stats()
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())
    assert stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"]
    return {name: stats[name] for name in ("emitted", "sent", "delivered")} | stats["dropped"]


def grown(before: dict[str, int]) -> dict[str, int]:
    """What was counted since."""
    return {name: count - before.get(name, 0) for name, count in counts().items() if count != before.get(name, 0)}


def test_what_a_full_pipe_took_is_what_the_ledger_says():
    read, write = os.pipe()
    backend = telemetry.StderrBackend(write)
    telemetry.set_backend(backend)
    before = counts()
    for i in range(20_000):
        telemetry.emit("a.b", {"count": i})
    os.close(write)
    lines = drain(read)
    assert 0 < len(lines) < 20_000
    assert grown(before) == {"emitted": 20_000, "delivered": len(lines), "queue_full": 20_000 - len(lines)}
    assert backend.dropped == 20_000 - len(lines)


def test_a_pipe_that_does_not_wait_is_full_and_no_error():
    read, write = os.pipe()
    os.set_blocking(write, False)
    backend = telemetry.StderrBackend(write)
    telemetry.set_backend(backend)
    before = counts()
    for _ in range(2_000):
        telemetry.emit("a.b")
    os.close(write)
    lines = drain(read)
    assert grown(before) == {"emitted": 2_000, "delivered": len(lines), "queue_full": 2_000 - len(lines)}


def closed_descriptor() -> int:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    return write


def pipe_without_reader() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def test_what_cannot_be_written_is_a_backend_error():
    for output, error in ((closed_descriptor, "Bad file descriptor"), (pipe_without_reader, "Broken pipe"), (full_device, "No space left")):
        backend = telemetry.StderrBackend(output())
        telemetry.set_backend(backend)
        before = counts()
        for _ in range(10):
            telemetry.emit("a.b")
        assert grown(before) == {"emitted": 10, "backend_error": 10}
        assert backend.dropped == 10
        assert error in telemetry.stats()["last_error"]


def test_a_host_that_calls_it_meets_no_exception():
    backend = telemetry.StderrBackend(closed_descriptor())
    assert isinstance(backend.emit("a.b", {}, {}, ""), OSError)
    assert backend.dropped == 1
