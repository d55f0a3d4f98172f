"""Forks that Python knows nothing of, as a server that is written in C does them: without the GIL.

In such a child the GIL has who had it at the fork. If that was a thread, which the child does not have, it
waits for ever for its first line of Python.
"""

from __future__ import annotations

FORKS = """
import ctypes, os, signal, sys, time
import telemetry_py as telemetry

libc = ctypes.{library}(None)
stuck = 0
for _ in range({times}):
    {before}
    # The GIL is given up for the call, and taken again after it, in the child as well.
    child = libc.fork()
    if child == 0:
        os._exit(7)
    deadline = time.monotonic() + 5
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            stuck += 1
            break
        time.sleep(0.001)
    else:
        assert os.waitstatus_to_exitcode(ended[1]) == 7, ended
    {after}
    if stuck:
        break
assert not stuck, f"a child could not run Python"
print("no child was stuck")
"""


def run(python, times: int, before: str, after: str, library: str = "CDLL") -> None:
    result = python(FORKS.format(times=times, before=before, after=after, library=library))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "no child was stuck\n"


def test_a_child_runs_python_also_if_it_begins_where_our_thread_does(python):
    connect = "telemetry.connect('unix:/run/nobody/manager.sock')"
    run(python, 200, connect, "telemetry.shutdown(0)")


def test_a_child_runs_python_also_if_it_begins_where_our_thread_ends(python):
    connect = "telemetry.connect('unix:/run/nobody/manager.sock'); telemetry.shutdown(0); time.sleep(0.0999)"
    run(python, 20, connect, "pass")


def test_a_child_runs_python_also_if_it_begins_where_samples_are_taken(python):
    begin = "sampler = telemetry.instrument_runtime(interval=0.01, gc=False)"
    run(python, 200, "telemetry.set_backend(telemetry.MemoryBackend()); " + begin, "sampler.close()")


def test_a_fork_with_the_gil_waits_for_nobody(python):
    """One in a hundred met the beat here, and one in a few of these children was stuck, when it did."""
    begin = "telemetry.is_enabled() or telemetry.connect('unix:/run/nobody/manager.sock')"
    run(python, 1_000, begin, "pass", library="PyDLL")
