"""Errors that nobody catches: told of once, then handled as before."""

from __future__ import annotations

import pytest

PRELUDE = """
import sys, threading
import telemetry_py as telemetry
told = []
class Teller:
    def emit(self, event, measurements, metadata, correlation_id):
        told.append((event, dict(metadata)))
        print("TOLD", event, metadata.get("error_type"), metadata.get("error_message"), flush=True)
telemetry.set_backend(Teller())
"""


def lines(result):
    return [line for line in result.stdout.splitlines() if line.startswith("TOLD")]


@pytest.fixture
def run(python):
    import textwrap

    return lambda program, **environment: python(PRELUDE + textwrap.dedent(program), **environment)


def test_an_uncaught_error_is_told_of_and_printed_as_ever(run):
    program = "raise ValueError('no such tool')\n"
    plain = run(program)
    result = run("telemetry.instrument_excepthooks()\n" + program)
    assert lines(result) == ["TOLD python.error.occurred ValueError no such tool"]
    assert result.returncode == plain.returncode == 1
    last = "ValueError: no such tool"
    assert result.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1] == last


def test_the_traceback_has_the_innermost_frames_and_is_bounded(run):
    result = run(
        """
        telemetry.instrument_excepthooks()
        def deep(n):
            if n == 0:
                raise ValueError("at last")
            deep(n - 1)
        def bottom():
            deep(200)
        thread = threading.Thread(target=bottom)
        thread.start(); thread.join()
        (_, metadata), = told
        frames = metadata["traceback"].splitlines()
        assert 1 < len(frames) <= 12, frames
        assert all(frame.endswith(" deep") for frame in frames), frames
        assert len(metadata["traceback"]) <= 1000
        """
    )
    assert result.returncode == 0, result.stderr


def test_secrets_in_messages_are_hidden(run):
    result = run("telemetry.instrument_excepthooks()\nraise ValueError('password=hunter2 at host')\n")
    assert "hunter2" not in result.stdout
    assert "at host" in lines(result)[0]


def test_threads_and_finalizers_are_told_of(run):
    result = run(
        """
        telemetry.instrument_excepthooks()
        def fails():
            raise KeyError("thread")
        thread = threading.Thread(target=fails)
        thread.start(); thread.join()
        class Bad:
            def __del__(self):
                raise OSError("finalizer")
        Bad()
        """
    )
    assert lines(result) == ["TOLD python.error.occurred KeyError 'thread'", "TOLD python.error.occurred OSError finalizer"]
    assert "KeyError: 'thread'" in result.stderr and "OSError: finalizer" in result.stderr
    assert result.returncode == 0


def test_loops_are_told_of_and_their_handlers_are_called(run):
    result = run(
        """
        import asyncio
        telemetry.instrument_excepthooks()
        def fails():
            raise LookupError("callback")
        async def main(handled):
            loop = asyncio.get_running_loop()
            if handled is not None:
                loop.set_exception_handler(lambda loop, context: handled.append(context["exception"]))
            loop.call_soon(fails)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        asyncio.run(main(None))
        handled = []
        asyncio.run(main(handled))
        assert [str(error) for error in handled] == ["callback"]
        """
    )
    assert lines(result) == ["TOLD python.error.occurred LookupError callback"] * 2
    assert result.stderr.count("LookupError: callback") == 1, "the default handler spoke once"
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("error", "code"), [("KeyboardInterrupt", -2), ("SystemExit(3)", 3), ("SystemExit('bye')", 1)])
def test_what_ends_a_program_in_order_is_no_error(run, error, code):
    program = f"raise {error}\n"
    result = run("telemetry.instrument_excepthooks()\n" + program)
    assert lines(result) == []
    assert result.returncode == code == run(program).returncode


def test_the_hook_from_before_gets_what_it_would_get(run):
    result = run(
        """
        def before(*arguments):
            print("BEFORE", arguments[0].__name__, arguments[1], arguments[2] is arguments[1].__traceback__)
        sys.excepthook = before
        telemetry.instrument_excepthooks()
        raise ValueError("mine")
        """
    )
    assert result.stdout.splitlines() == ["TOLD python.error.occurred ValueError mine", "BEFORE ValueError mine True"]


def test_two_calls_tell_once_and_undoing_puts_all_back(run):
    result = run(
        """
        import asyncio.base_events as loops
        hooks = lambda: (sys.excepthook, threading.excepthook, sys.unraisablehook, loops.BaseEventLoop.call_exception_handler)
        before = hooks()
        one = telemetry.instrument_excepthooks()
        assert telemetry.instrument_excepthooks() is one
        assert not set(before) & set(hooks())
        sys.excepthook(ValueError, ValueError("once"), None)
        assert len(told) == 1
        one.close()
        assert hooks() == before
        sys.excepthook(ValueError, ValueError("never"), None)
        assert len(told) == 1
        with telemetry.instrument_excepthooks():
            sys.excepthook(ValueError, ValueError("again"), None)
        assert hooks() == before
        assert len(told) == 2
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_hook_that_was_put_over_ours_stays_and_ours_is_silent_below(run):
    result = run(
        """
        one = telemetry.instrument_excepthooks()
        ours = sys.excepthook
        def above(*arguments):
            print("ABOVE"); ours(*arguments)
        sys.excepthook = above
        one.close()
        assert sys.excepthook is above
        with telemetry.instrument_excepthooks():
            sys.excepthook(ValueError, ValueError("once"), None)
        assert len(told) == 1, told
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_circle_of_hooks_ends(run):
    result = run(
        """
        target = []
        def below(*arguments):
            target[0](*arguments)
        sys.excepthook = below
        telemetry.instrument_excepthooks()
        target.append(sys.excepthook)
        raise ValueError("around")
        """
    )
    assert lines(result) == ["TOLD python.error.occurred ValueError around"]
    assert result.stderr.splitlines()[-1] == "ValueError: around"


def test_errors_of_errors_are_no_errors_of_ours(run):
    result = run(
        """
        telemetry.instrument_excepthooks()
        class Bad(Exception):
            def __str__(self):
                raise RuntimeError("no text")
        class Broken:
            def emit(self, *arguments):
                raise RuntimeError("no backend")
        sys.excepthook(Bad, Bad(), None)
        telemetry.set_backend(Broken())
        sys.excepthook(ValueError, ValueError("x"), None)
        sys.excepthook(None, None, None)
        telemetry.set_backend(None)
        """
    )
    assert result.returncode == 0, result.stderr
    assert lines(result) == ["TOLD python.error.occurred Bad <unprintable Bad>"]
