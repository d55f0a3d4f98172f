"""Records of logging as events, and ids on records."""

from __future__ import annotations

import logging
import threading

import pytest
import telemetry_py as telemetry
from telemetry_py.logging import CorrelationFilter, TelemetryHandler


@pytest.fixture
def logger():
    made = logging.getLogger("tests.logging")
    made.propagate = False
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()
    made.filters.clear()


def test_a_record_is_an_event_with_the_ids_of_the_context(logger, memory):
    logger.addHandler(TelemetryHandler())
    with telemetry.correlation("abc"):
        logger.warning("disk is %d %% full", 91)
    (event,) = memory.events
    assert event.event == "python.log.recorded"
    assert event.measurements == {"count": 1}
    assert event.metadata == {"level": "WARNING", "logger": "tests.logging", "message": "disk is 91 % full"}
    assert event.correlation_id == "abc"


def test_an_exception_is_named(logger, memory):
    logger.addHandler(TelemetryHandler())
    try:
        raise ValueError("no such disk")
    except ValueError:
        logger.exception("failed")
    logger.error("nothing to tell", exc_info=True)
    told, untold = memory.events
    assert (told.metadata["error_type"], told.metadata["error_message"]) == ("ValueError", "no such disk")
    assert "error_type" not in untold.metadata


def test_levels_and_filters_are_those_of_any_handler(logger, memory):
    handler = TelemetryHandler(level="ERROR")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger.addHandler(handler)
    logger.warning("below")
    logger.error("secret")
    logger.error("above")
    assert [event.metadata["message"] for event in memory.events] == ["above"]


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("message", "arguments", "recorded"),
    [
        ("%d items", ("many",), "%d items"),
        (Unprintable(), (), "<unprintable Unprintable>"),
        ("%s", (Unprintable(),), "%s"),
        ("x" * 1_000_000, (), None),
        (7, (), "7"),
    ],
)
def test_any_record_is_recorded_and_none_raises(memory, capsys, message, arguments, recorded):
    TelemetryHandler().handle(logging.LogRecord("tests", logging.ERROR, "", 0, message, arguments, None))
    (event,) = memory.events
    if recorded is None:
        assert 0 < len(event.metadata["message"]) <= 4096
    else:
        assert event.metadata["message"] == recorded
    assert capsys.readouterr().err == ""


class Talkative:
    """A backend that logs while it emits."""

    def __init__(self, logger):
        self.logger = logger
        self.events = []

    def emit(self, event, measurements, metadata, correlation_id):
        self.events.append(event)
        self.logger.error("took %s", event)


def test_a_backend_that_logs_makes_no_loop(logger):
    backend = Talkative(logger)
    telemetry.set_backend(backend)
    logger.addHandler(TelemetryHandler())
    logger.error("first")
    assert backend.events == ["python.log.recorded"]
    telemetry.emit("a.b")
    assert backend.events[1:] in (["a.b"], ["a.b", "python.log.recorded"])


def test_another_thread_records_while_one_is_busy(logger):
    """The guard is the thread's own."""
    inside, leave, seen = threading.Event(), threading.Event(), []

    class Slow:
        def emit(self, event, measurements, metadata, correlation_id):
            seen.append(metadata["message"])
            if metadata["message"] == "slow":
                inside.set()
                assert leave.wait(60)

    telemetry.set_backend(Slow())
    logger.addHandler(TelemetryHandler())
    thread = threading.Thread(target=logger.error, args=("slow",))
    thread.start()
    assert inside.wait(60)
    logger.error("quick")
    leave.set()
    thread.join(60)
    assert seen == ["slow", "quick"]


def test_own_and_excluded_loggers_make_no_events(memory):
    handler = TelemetryHandler(exclude=["chatty"])
    for name in ("telemetry_py", "telemetry_py.x", "chatty", "chatty.pool", "chatty_not"):
        handler.handle(logging.LogRecord(name, logging.ERROR, "", 0, "said", None, None))
    assert [event.metadata["logger"] for event in memory.events] == ["chatty_not"]


def test_the_filter_puts_the_ids_on_every_record(logger, memory):
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler = Lines()
    handler.addFilter(CorrelationFilter())
    handler.setFormatter(logging.Formatter("%(correlation_id)s|%(trace_id)s|%(span_id)s|%(message)s"))
    logger.addHandler(handler)
    logger.info("none")
    with telemetry.correlation("abc"):
        logger.info("one")
        with telemetry.span("work") as span:
            logger.info("two")
    assert lines == ["|||none", "abc|||one", f"abc|{span.trace_id}|{span.span_id}|two"]
    assert len(span.trace_id) == 32 and len(span.span_id) == 16


def test_a_forked_child_and_a_configuration_can_use_it(python):
    result = python(
        """
        import logging.config, os
        import telemetry_py as telemetry
        memory = telemetry.MemoryBackend()
        telemetry.set_backend(memory)
        logging.config.dictConfig({
            "version": 1,
            "handlers": {"t": {"class": "telemetry_py.logging.TelemetryHandler", "level": "INFO", "exclude": ["x"]}},
            "root": {"handlers": ["t"], "level": "INFO"},
        })
        logging.info("parent")
        pid = os.fork()
        logging.info("each")
        assert [event.metadata["message"] for event in memory.events] == ["parent", "each"], memory.events
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_wrong_argument_is_told_at_once():
    with pytest.raises(TypeError, match="exclude"):
        TelemetryHandler(exclude="chatty")
