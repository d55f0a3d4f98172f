"""What the program hands over may do harm: nothing of ours breaks by it, waits for ever, or keeps it from its work."""

from __future__ import annotations

import itertools
import logging
import os
import random
import subprocess
import sys

import pytest
import telemetry_py as telemetry
from telemetry_py import wsgi
from telemetry_py._configure import SETTINGS
from telemetry_py.asgi import TelemetryMiddleware
from telemetry_py.instrumentation import instrument_asyncio
from telemetry_py.logging import CorrelationFilter, TelemetryHandler


class Broken(Exception):
    pass


class Fails:
    """Fails whatever it is asked for."""

    def __getattribute__(self, name):
        raise Broken(name)


class EndlessItems:
    """A mapping without an end."""

    def items(self):
        return ((f"key{count}", count) for count in itertools.count())


class EndlessTraceback(Exception):
    """Says that it has a traceback, which leads to itself."""

    @property
    def __traceback__(self):
        return self

    def __getattr__(self, name):
        return 1 if name == "tb_lineno" else self


def test_a_mapping_without_an_end_is_more_than_an_event_can_have(memory, ledger):
    telemetry.emit("a.b", EndlessItems(), EndlessItems())
    with telemetry.span("op", EndlessItems(), measurements=EndlessItems()) as span:
        span.set(more=1)
        span.event("c.d", EndlessItems())
    with pytest.raises(ValueError), telemetry.timed("e.f", EndlessItems()):
        raise ValueError
    assert ledger()["dropped"] == {"too_many_fields": 5}


def test_a_carrier_without_an_end_is_read_as_far_as_headers_go():
    pairs = itertools.chain([("x-snakepit-correlation-id", "id")], itertools.repeat(("a", "b")))
    with telemetry.extract(pairs):
        assert telemetry.get_correlation_id() == "id"


def test_a_traceback_that_is_none_comes_to_no_end(memory):
    with telemetry.instrumentation.instrument_excepthooks():
        from telemetry_py.instrumentation.excepthooks import report

        error = EndlessTraceback()
        report(EndlessTraceback, error, error.__traceback__)
    span = telemetry.span("op", record_stacktrace=True)
    span.__enter__()
    span.__exit__(EndlessTraceback, error, None)
    assert memory.names() == ["python.error.occurred", "op.start", "op.exception"]


@pytest.mark.parametrize("name", ["TRACEPARENT", "TRACESTATE", "BAGGAGE"])
def test_an_environment_that_is_no_text_lets_the_package_be_imported(python, name):
    result = python("import telemetry_py as telemetry; print(telemetry.outgoing_metadata())", **{name: "a\udcffb"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("value", [{"traceparent": "\ud800"}, [("baggage", "\ud800"), 3, None, ("a",)], 7], ids=repr)
def test_headers_that_are_no_text_are_ignored(value):
    with telemetry.extract(value):
        assert telemetry.get_correlation_id() is None


def test_one_header_that_cannot_be_read_takes_nothing_from_the_others():
    with telemetry.extract([(Fails(), "a"), ("x-snakepit-correlation-id", "id")]):
        assert telemetry.get_correlation_id() == "id"


def test_what_cannot_be_written_to_goes_out_as_it_is():
    carrier = Fails()
    with telemetry.correlation("id"):
        assert telemetry.inject(carrier) is carrier
        assert telemetry.outgoing_metadata([("a", "b"), (b"x-snakepit-correlation-id", "theirs"), 3]) == [
            ("a", "b"),
            3,
            ("x-snakepit-correlation-id", "id"),
        ]


def test_a_correlation_id_is_told_as_text(memory):
    class Odd:
        def __str__(self):
            return "odd"

        def __bool__(self):
            raise Broken

    with telemetry.span("op", correlation_id=Odd()):
        assert telemetry.get_correlation_id() == "odd"
        assert telemetry.inject({})["x-snakepit-correlation-id"] == "odd"
    assert telemetry.span(Odd()).operation == "odd"


def test_what_is_no_token_resets_nothing():
    class Token:
        def __repr__(self):
            raise Broken

    with telemetry.correlation("id"):
        telemetry.reset_correlation_id(Token())
        assert telemetry.get_correlation_id() == "id"


def test_a_record_that_holds_anything_harms_nobody(memory):
    record = logging.LogRecord("a", logging.INFO, "f.py", 1, "text", None, None)
    record.exc_info = record.name = Fails()
    for take in (TelemetryHandler().handle, CorrelationFilter().filter, telemetry.correlation_filter.filter):
        take(record)
    TelemetryHandler().emit(Fails())
    assert CorrelationFilter().filter(Fails()) and telemetry.correlation_filter.filter(Fails())
    # And the next one becomes an event.
    TelemetryHandler().handle(logging.LogRecord("a", logging.INFO, "f.py", 1, "text", None, None))
    assert memory.names() == ["python.log.recorded"]


@pytest.mark.parametrize("key", ["path", "headers", "root_path", "method", "route", "path_params"])
async def test_a_scope_that_holds_anything_reaches_the_application(memory, key):
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        for message in ({"type": "http.response.start", "status": Fails(), "headers": 7}, Fails(), {}):
            await send(message)

    async def receive():
        return Fails()

    async def send(message):
        seen.append(message)

    scope = {"type": "http", "path": "/", "headers": [(b"a", b"b"), 3], "method": "GET", key: Fails()}
    await TelemetryMiddleware(app)(scope, receive, send)
    assert len(seen) == 4
    assert memory.names() == ["http.server.start", "http.server.stop"]


@pytest.mark.parametrize("key", ["PATH_INFO", "REQUEST_METHOD", "HTTP_TRACEPARENT", "wsgi.file_wrapper", "telemetry_py.route"])
def test_an_environ_that_holds_anything_reaches_the_application(memory, key):
    started = []

    def app(environ, start_response):
        start_response(7, Fails())
        return iter([b"a"])

    body = wsgi.TelemetryMiddleware(app)({"PATH_INFO": "/", key: Fails()}, lambda *given: started.append(given))
    assert list(body) == [b"a"]
    body.close()
    assert started[0][0] == 7
    assert memory.names() == ["http.server.start", "http.server.stop"]


def test_a_backend_whose_parts_fail_when_they_are_asked_for_harms_nobody():
    class Backend:
        backends = property(lambda self: 1 / 0)
        flush = property(lambda self: 1 / 0)
        close = property(lambda self: 1 / 0)

        def emit(self, *arguments):
            return True

    memory = telemetry.MemoryBackend()
    for backend in (Backend(), telemetry.CompositeBackend(Backend(), memory)):
        telemetry.set_backend(backend)
        telemetry.emit("a.b")
        assert telemetry.flush(0) in (True, False)
    backend.close()
    assert memory.names() == ["a.b"]


def test_constructors_say_what_is_wrong():
    with pytest.raises(TypeError, match="stream=7 is not allowed"):
        telemetry.GrpcBackend(7)
    with pytest.raises(TypeError, match="tracer_provider=7 is not allowed"):
        telemetry.OtelBackend(7)
    with pytest.raises(ValueError, match="max_buffer=9223372036854775807 is not allowed; expected a number of events from 1"):
        telemetry.TelemetryStream(10**400)
    with pytest.raises(ValueError, match="interval=1000.* is not allowed"):
        instrument_asyncio(interval=10**400)


VALUES = (
    *(b"\xff", b"", b"1", b"-1", b"1e400", b"nan", b"9" * 400, b"a=b,c", b",,,", b"unix:", b"unix:/\xff", b"127.0.0.1:0"),
    *(b"*", b"[", b"connect,stderr,memory", b"grpc", b"otel,statsd", b"server", b"\xed\xa0\x80", b"x" * 100_000, b"%", b"\n"),
)

PROGRAM = """
import telemetry_py as telemetry
from telemetry_py.compat import snakepit
snakepit.install()
import snakepit_bridge.telemetry as stock
stock.emit("early.event", {})
telemetry.start()
with stock.span("op"):
    stock.emit("a.b", {"count": 1})
stock.set_backend(stock.GrpcBackend(stock.TelemetryStream()))
stock.emit("c.d", {})
telemetry.shutdown(0)
stats = telemetry.stats()
assert not stats["queued"], stats
assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats
"""


@pytest.mark.parametrize("seed", range(8))
def test_an_environment_that_makes_no_sense_stops_nobody(tmp_path, seed):
    choose = random.Random(seed)
    variables = {variable.encode(): choose.choice(VALUES) for variable in SETTINGS.values() if choose.random() < 0.6}
    variables[b"TELEMETRY_STRICT"] = b"0"
    environment = {key: value for key, value in os.environb.items() if not key.startswith((b"TELEMETRY_", b"OTEL_"))}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**environment, **variables}, capture_output=True, timeout=60, cwd=tmp_path
    )
    assert result.returncode == 0, (variables, result.stderr)
    assert b"panicked" not in result.stderr and b"Traceback" not in result.stderr, result.stderr


def test_what_a_stock_program_emits_before_it_sets_a_backend_is_counted(python):
    result = python(PROGRAM + 'print(stats["dropped"], stats["delivered"])')
    assert (result.returncode, result.stdout) == (0, "{'not_started': 4} 1\n"), result.stderr


def test_a_composite_tells_of_a_mapping_that_cannot_be_read():
    class Unreadable(dict):
        def keys(self):
            raise ValueError("no")

        def __iter__(self):
            raise ValueError("no")

    memory = telemetry.MemoryBackend()
    composite = telemetry.CompositeBackend(memory)
    assert isinstance(composite.emit("a.b", {}, Unreadable(a=1)), ValueError)
    assert composite.emit("a.b", {}, {"a": "1"}) is True
    assert memory.names() == ["a.b"]
