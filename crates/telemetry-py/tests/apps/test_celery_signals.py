"""Tasks of celery as spans, in one process; real workers are in test_frameworks.py."""

from __future__ import annotations

import celery
import pytest
import telemetry_py as telemetry
from celery.contrib.testing.worker import start_worker
from telemetry_py.celery import instrument_celery, uninstrument_celery


@pytest.fixture
def app():
    made = celery.Celery("tasks", broker="memory://", backend="cache+memory://")
    made.conf.task_default_queue = "work"
    made.conf.broker_transport_options = {"polling_interval": 0.01}
    instrument_celery(made)

    @made.task(shared=False)
    def job(name="one"):
        telemetry.emit(f"inside.{name}")
        return name

    @made.task(shared=False)
    def broken():
        raise ValueError("no such job")

    @made.task(shared=False, bind=True, max_retries=2, default_retry_delay=0)
    def again(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        telemetry.emit("inside.again")

    @made.task(shared=False)
    def outer():
        job.apply()
        telemetry.emit("inside.outer")

    @made.task(shared=False)
    def leaving():
        raise SystemExit(3)

    @made.task(shared=False)
    def ignored():
        raise celery.exceptions.Ignore

    made.job, made.broken, made.again, made.outer, made.leaving, made.ignored = job, broken, again, outer, leaving, ignored
    yield made
    uninstrument_celery()


def ends(memory):
    return [(event.event, event.metadata) for event in memory.events if event.event in ("celery.task.stop", "celery.task.exception")]


def test_an_eager_task_is_a_span_under_the_ids_of_who_calls_it(app, memory):
    app.conf.task_always_eager = True
    with telemetry.correlation("abc"):
        app.job.delay()
        assert telemetry.get_correlation_id() == "abc"
    assert memory.names() == ["celery.task.start", "inside.one", "celery.task.stop"]
    assert {event.correlation_id for event in memory.events} == {"abc"}
    assert memory.events[0].metadata["task"].endswith("job") and memory.events[2].metadata["state"] == "SUCCESS"


def test_nested_tasks_end_in_order(app, memory):
    app.outer.apply()
    assert memory.names() == [
        *("celery.task.start", "celery.task.start", "inside.one", "celery.task.stop"),
        *("inside.outer", "celery.task.stop"),
    ]
    assert [metadata["task"].rpartition(".")[2] for _, metadata in ends(memory)] == ["job", "outer"]


def test_a_task_that_raises_ends_with_it(app, memory):
    app.broken.apply()
    ((end, metadata),) = ends(memory)
    assert end == "celery.task.exception"
    assert (metadata["error_type"], metadata["error_message"], metadata["state"]) == ("ValueError", "no such job", "FAILURE")


def test_each_try_is_a_span_that_says_which_it_is(app, memory):
    app.again.apply()
    found = [(end, metadata["retry_count"], metadata["state"]) for end, metadata in ends(memory)]
    assert sorted(found) == [
        ("celery.task.stop", "0", "RETRY"),
        ("celery.task.stop", "1", "RETRY"),
        ("celery.task.stop", "2", "SUCCESS"),
    ]
    assert memory.names().count("inside.again") == 1


def test_a_task_that_leaves_the_process_ends_with_that(app, memory):
    with pytest.raises(SystemExit):
        app.leaving.apply()
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"]) == ("celery.task.exception", "SystemExit")


def test_a_task_that_is_to_be_ignored_stops(app, memory):
    app.ignored.apply()
    assert [(end, metadata["state"]) for end, metadata in ends(memory)] == [("celery.task.stop", "IGNORED")]


def test_the_ids_of_the_sender_go_with_the_message(app, memory):
    """Through a broker, to a worker that runs in another thread."""
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="ERROR"):
        results = []
        for number in range(10):
            with telemetry.correlation(f"id{number}"):
                results.append(app.job.delay())
        assert [result.get(timeout=60) for result in results] == ["one"] * 10
    assert memory.names().count("celery.task.stop") == 10
    by_id = {}
    for event in memory.events:
        by_id.setdefault(event.correlation_id, []).append(event.event)
    assert by_id == {f"id{number}": ["celery.task.start", "inside.one", "celery.task.stop"] for number in range(10)}
    assert {metadata["queue"] for _, metadata in ends(memory)} == {"work"}


def test_another_application_is_left_alone(app, memory):
    other = celery.Celery("other", broker="memory://", set_as_current=False)

    @other.task(shared=False)
    def quiet():
        telemetry.emit("inside.quiet")

    quiet.apply()
    assert memory.names() == ["inside.quiet"]
    instrument_celery()
    quiet.apply()
    assert memory.names()[1:] == ["celery.task.start", "inside.quiet", "celery.task.stop"]


def test_what_was_instrumented_twice_makes_one_span_and_can_be_undone(app, memory):
    instrument_celery(app)
    app.job.apply()
    assert len(ends(memory)) == 1
    uninstrument_celery()
    app.job.apply()
    assert len(ends(memory)) == 1


def test_an_application_that_is_none_is_refused():
    with pytest.raises(TypeError, match="app is a celery application, not str"):
        instrument_celery("tasks")
