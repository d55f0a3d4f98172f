"""Backends in hosts that are not ours: called positionally, with `None`, with values nobody has cleared."""

from __future__ import annotations

import json
import os

import pytest
import telemetry_py as telemetry


class Identity:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    span_id = "00f067aa0ba902b7"
    parent_span_id = ""
    phase = "start"


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines"
    file = path.open("wb")
    backend = telemetry.StderrBackend(file.fileno())

    def read():
        return [json.loads(line.removeprefix("TELEMETRY:")) for line in path.read_text().splitlines()]

    yield backend, read
    file.close()


class Hostile:
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


ODD = [
    (None, None, ""),
    (None, None, None),
    ({}, {}, "id"),
    ({"n": True, "big": 2**80, "f": float("inf")}, {"k": 3}, "id"),
    ({1: 2}, {None: None}, 5),
    ({"n": object()}, {"k": b"bytes"}, "\ud800"),
]


@pytest.mark.parametrize(("measurements", "metadata", "correlation_id"), ODD)
def test_a_stock_host_calls_with_anything(lines, measurements, metadata, correlation_id):
    stderr, read = lines
    memory = telemetry.MemoryBackend()
    for backend in (stderr, memory, telemetry.CompositeBackend(telemetry.MemoryBackend()), telemetry.ServerBackend()):
        assert backend.emit("a.b", measurements, metadata, correlation_id) in (True, None)
        assert backend.close() is None
    (line,) = read()
    assert line["event"] == "a.b" and isinstance(line["measurements"], dict) and "span" not in line
    assert len(memory.events) == 1


def test_what_cannot_be_written_is_told_and_not_raised(lines):
    backend, read = lines
    assert isinstance(backend.emit("a.b", {"n": Hostile()}, {}, ""), ValueError)
    assert isinstance(backend.emit("a.b", {}, {"k": Hostile()}, ""), ValueError)
    assert isinstance(backend.emit("a.b", 5, {}, ""), AttributeError)
    assert backend.dropped == 3 and read() == []


def test_a_line_has_the_span_if_there_is_one(lines):
    backend, read = lines
    backend.emit("op.start", {}, {}, "", Identity())
    (line,) = read()
    assert line["span"] == {
        "trace_id": Identity.trace_id,
        "span_id": Identity.span_id,
        "parent_span_id": "",
        "phase": "start",
    }


def test_memory_keeps_the_span_beside_the_event():
    memory = telemetry.MemoryBackend(limit=2)
    span = Identity()
    memory.emit("a.b", {}, {}, "", span)
    memory.emit("a.b", {}, {}, "")
    assert memory.emit("a.b", {}, {}, "") is False
    assert [event.span for event in memory.events] == [span, None] and memory.dropped == 1
    name, _, _, _ = memory.events[0]
    assert name == "a.b"
    memory.clear()
    assert memory.dropped == 0 and memory.events == []


def test_a_class_that_derives_needs_emit_alone():
    class Mine(telemetry.TelemetryBackend):
        def emit(self, event, measurements, metadata, correlation_id):
            return None

    backend = Mine()
    assert backend.takes_span is False and backend.flush() is True and backend.close() is None
    with pytest.raises(TypeError):
        telemetry.TelemetryBackend()
    assert isinstance(backend, telemetry.SupportsEmit)
    assert not isinstance(object(), telemetry.SupportsEmit)


def test_a_class_instead_of_an_object_is_refused():
    with pytest.raises(TypeError, match="the class MemoryBackend"):
        telemetry.set_backend(telemetry.MemoryBackend)


def test_a_class_that_takes_the_span_gets_five_arguments_and_no_other_does():
    class Five:
        takes_span = True

        def emit(self, *arguments):
            self.count = len(arguments)

    class Four(Five):
        takes_span = "yes"

    class Anything(Five):
        takes_span = None

        def __getattr__(self, name):
            return lambda *_: True

    for backend, expected in ((Five(), 5), (Four(), 4), (Anything(), 4)):
        telemetry.set_backend(backend)
        telemetry.emit("a.b")
        assert backend.count == expected


@pytest.mark.parametrize("wrong", [-1, "2", None, True])
def test_a_wrong_descriptor_or_limit_is_refused(wrong):
    with pytest.raises(ValueError, match="fd="):
        telemetry.StderrBackend(wrong)
    with pytest.raises(ValueError, match="limit="):
        telemetry.MemoryBackend(wrong)


def test_counts_of_backends_are_exact_over_threads_and_begin_anew_in_a_child(python):
    result = python(
        """
        import os, threading
        import telemetry_py as telemetry
        memory = telemetry.MemoryBackend(limit=0)
        threads = [threading.Thread(target=lambda: [memory.emit("a.b", {}, {}, "") for _ in range(20_000)]) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert memory.dropped == 160_000, memory.dropped
        child = os.fork()
        if not child:
            memory.emit("a.b", {}, {}, "")
            os._exit(memory.dropped)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        """
    )
    assert result.returncode == 0, result.stderr


def test_shutdown_closes_the_backend_and_flush_flushes_it(python):
    result = python(
        """
        import telemetry_py as telemetry
        class Backend:
            heard = []
            def emit(self, *_): pass
            def flush(self, timeout): self.heard.append("flush"); return self.answer
            def close(self): self.heard.append("close"); raise ValueError
        backend = Backend()
        telemetry.set_backend(backend)
        backend.answer = True
        assert telemetry.flush(1.0) is True
        backend.answer = False
        assert telemetry.flush(1.0) is False
        assert telemetry.shutdown() is True
        assert backend.heard == ["flush", "flush", "close"]
        """
    )
    assert result.returncode == 0, result.stderr


def test_an_unknown_part_of_the_list_is_told_with_all_there_is(python):
    result = python("import telemetry_py as telemetry; telemetry.start()", TELEMETRY_BACKEND="stderr,kafka")
    assert result.returncode == 0
    for name in ("none", "connect", "server", "stderr", "memory", "grpc", "otel", "statsd"):
        assert name in result.stderr


def test_descriptors_that_are_closed_are_no_exception():
    read, write = os.pipe()
    backend = telemetry.StderrBackend(write)
    os.close(read)
    os.close(write)
    assert isinstance(backend.emit("a.b", None, None, ""), OSError)
