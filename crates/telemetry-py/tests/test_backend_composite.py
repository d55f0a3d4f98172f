"""Several backends at once: each fails for itself, and an event is counted once."""

from __future__ import annotations

import json

import pytest
import telemetry_py as telemetry
from acceptor import Acceptor


class Broken:
    def emit(self, event, measurements, metadata, correlation_id):
        measurements["spoilt"] = 1
        metadata.clear()
        raise OSError("no disk")


class Full:
    def emit(self, event, measurements, metadata, correlation_id):
        return False


class TakesSpan:
    takes_span = True

    def __init__(self):
        self.calls = []

    def emit(self, *arguments):
        self.calls.append(arguments)


def balanced(stats):
    return (
        stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())
        and stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"]
    )


def change(before, after, key):
    return after[key] - before[key]


def test_each_part_gets_every_event_and_fails_for_itself():
    memory = telemetry.MemoryBackend()
    composite = telemetry.CompositeBackend(Broken(), Full(), memory)
    telemetry.set_backend(composite)
    assert telemetry.get_backend() is composite
    before = telemetry.stats()
    telemetry.emit("a.b", {"n": 1}, {"k": "v"}, "id")
    after = telemetry.stats()
    assert memory.events == [("a.b", {"n": 1}, {"k": "v"}, "id")]
    # One event, taken by one of them.
    assert change(before, after, "emitted") == change(before, after, "delivered") == 1
    assert before["dropped"] == after["dropped"] and balanced(after)
    assert after["parts"] == [
        {"backend": "Broken", "delivered": 0, "dropped": {"backend_error": 1}},
        {"backend": "Full", "delivered": 0, "dropped": {"queue_full": 1}},
        {"backend": "MemoryBackend", "delivered": 1, "dropped": {}},
    ]


@pytest.mark.parametrize(("parts", "reason"), [((Broken, Full), "backend_error"), ((Full, Broken), "queue_full")])
def test_what_none_takes_is_dropped_for_the_reason_of_the_first(parts, reason):
    telemetry.set_backend(telemetry.CompositeBackend(*(part() for part in parts)))
    before = telemetry.stats()
    telemetry.emit("a.b")
    after = telemetry.stats()
    assert after["dropped"].get(reason, 0) - before["dropped"].get(reason, 0) == 1
    assert change(before, after, "emitted") == 1 and change(before, after, "delivered") == 0 and balanced(after)


def test_an_interrupt_of_a_part_goes_on():
    class Interrupted:
        def emit(self, *_):
            raise KeyboardInterrupt

    telemetry.set_backend(telemetry.CompositeBackend(Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        telemetry.emit("a.b")
    assert telemetry.stats()["parts"][0]["dropped"] == {"backend_error": 1}


def test_parts_that_want_the_span_are_given_it_and_the_others_are_not():
    part = TakesSpan()
    plain = telemetry.MemoryBackend()
    composite = telemetry.CompositeBackend(part, plain)
    marker = object()
    composite.emit("a.b", {}, {}, "", marker)
    assert part.calls == [("a.b", {}, {}, "", marker)]
    # A host that knows nothing of spans.
    composite.emit("a.b", None, None, "")
    assert part.calls[1] == ("a.b", {}, {}, "", None)


def test_composites_within_are_flattened():
    memory, other = telemetry.MemoryBackend(), telemetry.MemoryBackend()
    inner = telemetry.CompositeBackend(telemetry.ServerBackend(), memory)
    composite = telemetry.CompositeBackend(inner, other, telemetry.ServerBackend())
    assert composite.backends == (memory, other, telemetry.ServerBackend())


@pytest.mark.parametrize("wrong", [(), (None,), (object(),), (telemetry.MemoryBackend,), ("stderr",)])
def test_what_is_no_backend_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="CompositeBackend"):
        telemetry.CompositeBackend(*wrong)


def test_values_are_read_once_and_noted_once(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            f"""
            import telemetry_py as telemetry
            class Once:
                read = 0
                def __str__(self):
                    Once.read += 1
                    return "x" * 100_000
            memory = telemetry.MemoryBackend()
            telemetry.set_backend(telemetry.CompositeBackend(memory, telemetry.ServerBackend()))
            telemetry.connect({manager.address!r})
            telemetry.emit("a.b", {{"big": 2 ** 70}}, {{"text": Once(), "password": "hush"}})
            assert telemetry.flush(30)
            stats = telemetry.stats()
            assert Once.read == 1, Once.read
            assert stats["notes"] == {{"coerced": 1, "truncated": 1, "redacted": 1}}, stats
            (event,) = memory.events
            assert event.metadata["password"] != "hush" and len(event.metadata["text"]) < 100_000
            assert (stats["emitted"], stats["sent"], stats["delivered"]) == (1, 1, 0), stats
            """
        )
        assert result.returncode == 0, result.stderr
        assert manager.names(1) == ["a.b"]


def test_the_queue_and_lines_by_a_comma_list(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            """
            import os
            import telemetry_py as telemetry
            telemetry.start()
            telemetry.start()
            for i in range(20):
                telemetry.emit(f"parent.n{i}")
            child = os.fork()
            if not child:
                for i in range(20):
                    telemetry.emit(f"child.n{i}")
                ok = telemetry.flush(30) and telemetry.stats()["sent"] == 20 and telemetry.stats()["parts"][0]["delivered"] == 20
                # An end in order: gRPC forgets what it has read of a stream that is cut.
                telemetry.shutdown(30)
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert telemetry.flush(30)
            stats = telemetry.stats()
            assert (stats["emitted"], stats["sent"], stats["delivered"]) == (20, 20, 0), stats
            assert stats["parts"] == [{"backend": "StderrBackend", "delivered": 20, "dropped": {}}]
            """,
            TELEMETRY_BACKEND="stderr, connect",
            TELEMETRY_MANAGER=manager.address,
        )
        assert result.returncode == 0, result.stderr
        everything = sorted([f"parent.n{i}" for i in range(20)] + [f"child.n{i}" for i in range(20)])
        assert sorted(manager.names(40)) == everything
    lines = [json.loads(line.removeprefix("TELEMETRY:")) for line in result.stderr.splitlines() if line.startswith("TELEMETRY:")]
    assert sorted(line["event"] for line in lines) == everything


def test_a_full_queue_is_the_fate_of_an_event_and_parts_get_it_all_the_same(python):
    result = python(
        """
        import telemetry_py as telemetry
        memory = telemetry.MemoryBackend()
        telemetry.configure(max_buffer=1)
        telemetry.set_backend(telemetry.CompositeBackend(telemetry.ServerBackend(), memory))
        for _ in range(1000):
            telemetry.emit("a.b")
        stats = telemetry.stats()
        dropped = sum(stats["dropped"].values())
        assert dropped > 0 and stats["queued"] + dropped == 1000 == stats["emitted"], stats
        assert len(memory.events) == 1000
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_part_that_emits_is_no_loop(python):
    result = python(
        """
        import telemetry_py as telemetry
        class Talks:
            def emit(self, *_):
                telemetry.emit("from.within")
        telemetry.set_backend(telemetry.CompositeBackend(telemetry.ServerBackend(), Talks()))
        telemetry.emit("a.b")
        stats = telemetry.stats()
        assert stats["dropped"] == {"reentrant": 1} and stats["queued"] == 1 and stats["emitted"] == 2, stats
        """
    )
    assert result.returncode == 0, result.stderr


def test_sampling_is_decided_once_for_all_parts(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.configure(sampling_rate=0.5)
        memory = telemetry.MemoryBackend()
        telemetry.set_backend(telemetry.CompositeBackend(memory, telemetry.ServerBackend()))
        for _ in range(4000):
            telemetry.emit("a.b")
        stats = telemetry.stats()
        kept = len(memory.events)
        assert 1600 < kept < 2400 and kept == stats["queued"], (kept, stats)
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_part_that_cannot_be_had_is_said_and_left_out(python):
    program = """
        import sys
        sys.modules["opentelemetry"] = None
        import telemetry_py as telemetry
        telemetry.start()
        assert type(telemetry.get_backend()).__name__ == "StderrBackend"
        telemetry.emit("a.b")
        """
    result = python(program, TELEMETRY_BACKEND="otel,stderr")
    assert result.returncode == 0, result.stderr
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("telemetry: ")]
    assert "otel" in said and "opentelemetry-sdk" in said
    assert result.stderr.count("TELEMETRY:{") == 1
    result = python(program, TELEMETRY_BACKEND="otel,stderr", TELEMETRY_STRICT="1")
    assert "ImportError" in result.stderr and "opentelemetry-sdk" in result.stderr


def test_close_and_flush_reach_every_part():
    class Part:
        def __init__(self, error=None):
            self.heard, self.error = [], error

        def emit(self, *_):
            pass

        def flush(self, timeout):
            self.heard.append("flush")
            if self.error:
                raise self.error

        def close(self):
            self.heard.append("close")
            if self.error:
                raise self.error

    parts = Part(ValueError()), Part()
    composite = telemetry.CompositeBackend(*parts)
    assert composite.flush(1.0) is False
    composite.close()
    assert [part.heard for part in parts] == [["flush", "close"]] * 2
