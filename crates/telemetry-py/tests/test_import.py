"""What importing does, which is nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import telemetry_py as telemetry

IMPORT_MILLISECONDS = 12
"""Of the processor's time, of which a bare interpreter takes about as much to start."""

IMPORT_MODULES = 20
"""Modules that are loaded by it, its own included."""


def test_importing_and_emitting_pull_in_and_start_nothing(python):
    result = python(
        """
        import os, sys, threading
        before = set(os.listdir("/proc/self/fd"))
        import telemetry_py
        telemetry_py.emit("a.b", {"count": 1})
        with telemetry_py.span("op"):
            pass
        loaded = {"asyncio", "logging", "grpc", "google.protobuf", "inspect", "multiprocessing", "typing", "json", "signal"}
        assert not loaded & set(sys.modules), loaded & set(sys.modules)
        assert len(os.listdir("/proc/self/task")) == 1
        assert set(os.listdir("/proc/self/fd")) == before
        import atexit
        assert atexit._ncallbacks() == 0
        """
    )
    assert result.returncode == 0, result.stderr


def test_importing_costs_less_than_the_start_of_python_and_few_modules(tmp_path):
    """The least of ten: whatever else the machine does only adds."""
    program = """
import sys, time
before, began = set(sys.modules), time.process_time()
import telemetry_py
print(began, time.process_time() - began, len(set(sys.modules) - before))
"""
    # Compiled once, as an installed package is.
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    runs = []
    for _ in range(11):
        ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        start, spent, modules = ran.stdout.split()
        runs.append((float(start) * 1e3, float(spent) * 1e3, int(modules)))
    start, spent, modules = (min(kind) for kind in zip(*runs))
    assert 0 < spent <= max(start, IMPORT_MILLISECONDS), runs
    assert modules <= IMPORT_MODULES, runs


def test_a_subinterpreter_gets_a_no_op_with_a_warning(python):
    result = python(
        """
        import sys
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            try:
                import _interpreters as interpreters
            except ImportError:
                sys.exit(77)
        import telemetry_py
        assert telemetry_py.NATIVE
        inner = '''
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import telemetry_py
        assert not telemetry_py.NATIVE
        assert [w for w in caught if "telemetry is off" in str(w.message)], caught
        telemetry_py.emit("a.b", {"count": 1})
        with telemetry_py.span("op") as span:
            span.set(a=1)
        assert telemetry_py.serve().address == ""
        assert telemetry_py.stats()["emitted"] == 0
        '''
        import textwrap
        interpreters.run_string(interpreters.create(), textwrap.dedent(inner))
        """
    )
    assert result.returncode in (0, 77), result.stderr


def test_the_stand_in_has_the_same_face():
    import telemetry_py._fallback as fallback
    from telemetry_py import _native

    public = {name for name in vars(_native) if not name.startswith("_")}
    assert public <= set(vars(fallback)), public - set(vars(fallback))
    for name in ("Span", "Server"):
        native = {n for n in vars(getattr(_native, name)) if not n.startswith("__")}
        stand_in = set(dir(getattr(fallback, name)("op") if name == "Span" else fallback.Server))
        assert native <= stand_in, native - stand_in


def test_everything_public_is_there():
    for name in telemetry.__all__:
        assert hasattr(telemetry, name)
