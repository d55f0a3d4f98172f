"""Everything public, called with objects that do harm; see ``fuzz.py``.

A sample of it always, the same each time, and 400,000 other calls with ``pytest -m long``.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

OF_THE_OBJECT_ITSELF = r"Exception ignored in: <function _hook[^\n]*\nTraceback[^\n]*\n(?: [^\n]*\n)*[^\n]*\n?"
"""What Python prints of a `__del__` that is hostile."""


@pytest.mark.parametrize("calls", [20_000, pytest.param(400_000, marks=pytest.mark.long)])
def test_no_object_breaks_anything(tmp_path, calls):
    # The same each time, so that a change which passes passes again; the long run is another one each time.
    seed = 1 if calls < 100_000 else random.randrange(10**9)
    with open(tmp_path / "stderr", "wb") as stderr:
        result = subprocess.run(
            [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("fuzz.py")), str(calls), str(seed)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60 + calls / 500,
        )
    said = (tmp_path / "stderr").read_text(errors="replace")
    assert result.returncode == 0, f"seed {seed}: {result.stdout[-1000:]}{said[-10_000:]}"
    assert int(result.stdout.splitlines()[-1].split()[0]) >= calls
    said = re.sub(OF_THE_OBJECT_ITSELF, "", said)
    assert "panicked" not in said and "Traceback" not in said, said[-10_000:]


def test_the_fuzzer_goes_over_all_names(python):
    # In a process of its own: the fuzzer puts our modules in the place of Snakepit's.
    result = python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import fuzz_surface
        import telemetry_py as telemetry
        from pathlib import Path

        names = {{path.rpartition(".")[2] for path in fuzz_surface.ALL}}
        assert {{name for name in telemetry.__all__ if callable(getattr(telemetry, name))}} <= names
        assert set(fuzz_surface.NEVER) <= names | {{"Instrumentation"}}
        package = Path(telemetry.__file__).parent
        files = [path.stem for path in package.glob("*.py")] + [path.parent.name for path in package.glob("*/__init__.py")]
        modules = {{f"telemetry_py.{{name}}" for name in files if not name.startswith("_")}}
        # One whose only name telemetry_py itself has, those of packages that are not there, and an empty one.
        elsewhere = {{"telemetry_py.server", "telemetry_py.celery", "telemetry_py.django", "telemetry_py.compat"}}
        assert modules - elsewhere <= set(fuzz_surface.MODULES), modules
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_tracing_exporter_that_is_none_harms_nobody(python):
    result = python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import telemetry_py as telemetry
        from hostile_objects import Recipe, build
        for act in ("raise", "none", "huge"):
            assert telemetry.setup_tracing(build(Recipe("object", (("__str__", act), ("__bool__", act))))) in (True, False)
            assert telemetry.setup_tracing("shop", exporter=build(Recipe("object", (("__getattr__", act),)))) in (True, False)
        with telemetry.otel_span("work"):
            pass
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("act", ["raise", "type", "huge", "nan", "interrupt"])
@pytest.mark.parametrize("end", ["flush", "shutdown", "close"])
def test_a_timeout_that_is_none_counts_as_not_given(python, end, act):
    call = {"flush": "telemetry.flush", "shutdown": "telemetry.shutdown", "close": "telemetry.serve().close"}[end]
    result = python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import telemetry_py as telemetry
        from hostile_objects import Interrupt, Recipe, build
        telemetry.emit("a.b")
        for base in ("object", "dict"):
            for hook in ("__float__", "__index__"):
                try:
                    ended = {call}(build(Recipe(base, ((hook, {act!r}),))))
                    assert ended in (True, False)
                except Interrupt:
                    assert {act!r} == "interrupt"
        """
    )
    assert result.returncode == 0, result.stderr
