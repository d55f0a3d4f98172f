"""What tests of other programs are given: capture and the fixture, under a pytest of their own."""

from __future__ import annotations

import pytest
import telemetry_py as telemetry
from telemetry_py.testing import capture

pytest_plugins = ["pytester"]


def test_a_block_is_captured_and_the_backend_before_is_back(memory):
    telemetry.emit("before")
    with capture() as captured:
        with telemetry.span("work"):
            telemetry.emit("inside", {"count": 1})
        with capture() as inner:
            telemetry.emit("innermost")
        assert inner.names() == ["innermost"]
        telemetry.emit("inside", {"count": 2})
    telemetry.emit("after")
    assert captured.names() == ["work.start", "inside", "work.stop", "inside"]
    assert [event.measurements for event in captured.of("inside")] == [{"count": 1}, {"count": 2}]
    assert captured.one("work.stop").event == "work.stop"
    assert memory.names() == ["before", "after"]


@pytest.mark.parametrize("backend", [None, telemetry.ServerBackend()])
def test_what_was_in_force_is_so_again(backend):
    telemetry.set_backend(backend)
    with capture():
        pass
    assert telemetry.get_backend() == backend


def test_one_event_that_is_none_or_two_fails():
    with capture() as captured:
        telemetry.emit("twice")
        telemetry.emit("twice")
    with pytest.raises(AssertionError, match="2 events 'twice'"):
        captured.one("twice")
    with pytest.raises(AssertionError, match=r"0 events 'never' .* there were \['twice', 'twice'\]"):
        captured.one("never")


def test_a_dropped_event_fails_the_block(memory):
    with pytest.raises(AssertionError, match="dropped: 1 invalid_name; captured were .'good'."), capture():
        telemetry.emit("good")
        telemetry.emit("not a name")
    assert telemetry.get_backend() is memory
    with capture(strict=False) as captured:
        telemetry.emit("not a name")
    assert captured.names() == []


def test_an_exception_of_the_block_is_not_replaced():
    with pytest.raises(ZeroDivisionError), capture():
        telemetry.emit("not a name")
        1 / 0


def test_what_the_environment_does_not_want_is_no_failure(python):
    result = python(
        """
        import telemetry_py as telemetry
        from telemetry_py.testing import capture
        with capture() as captured:
            telemetry.emit("wanted.event")
            telemetry.emit("other.event")
        assert captured.names() == ["wanted.event"], captured.names()
        """,
        TELEMETRY_ALLOW="wanted.*",
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that knows nothing of us but the name of the fixture."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def test_the_fixture_is_there_and_each_test_has_its_own(project):
    project.makepyfile(
        """
        import asyncio, threading
        import telemetry_py as telemetry

        def test_sync(telemetry_capture):
            telemetry.emit("one.event")
            thread = threading.Thread(target=telemetry.emit, args=("thread.event",))
            thread.start()
            thread.join()
            assert telemetry_capture.names() == ["one.event", "thread.event"]

        async def test_async(telemetry_capture):
            async def task():
                telemetry.emit("task.event")
            await asyncio.gather(task(), task())
            assert telemetry_capture.names() == ["task.event"] * 2

        def test_dropped(telemetry_capture):
            telemetry.emit("not a name")
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: events were dropped: 1 invalid_name*"])


def test_every_process_of_xdist_captures_its_own(project):
    project.makepyfile(
        """
        import os
        import pytest
        import telemetry_py as telemetry

        @pytest.mark.parametrize("number", range(40))
        def test_own(telemetry_capture, number):
            telemetry.emit(f"event.number{number}", metadata={"pid": os.getpid()})
            (event,) = telemetry_capture.events
            assert (event.event, event.metadata["pid"]) == (f"event.number{number}", str(os.getpid()))
            assert os.environ["PYTEST_XDIST_WORKER"]
        """
    )
    project.runpytest_subprocess("-q", "-n", "2").assert_outcomes(passed=40)


def test_a_project_that_does_not_use_it_loads_nothing(project):
    project.makepyfile(
        """
        import sys

        def test_nothing_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("telemetry_py")
            assert not [name for name in sys.modules if name.partition(".")[0] == "telemetry_py"]
        """
    )
    project.runpytest_subprocess("-q").assert_outcomes(passed=1)
