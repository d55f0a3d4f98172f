"""Every face under every interpreter that is there, with warnings as errors and with memory that is checked.

``exercise.py`` needs nothing but the standard library and the package as it lies here, so nothing is installed.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import telemetry_py as telemetry

EXERCISE = Path(__file__).with_name("exercise.py")
PACKAGE = Path(telemetry.__file__).parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> str | None:
    """An interpreter of that version, if this machine has one."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    places = [f"{root}/versions/{version}.*/bin/python{version}" for root in roots if root]
    found = [path for place in places for path in sorted(glob.glob(place))]
    return found[-1] if found else shutil.which(f"python{version}")


def exercise(python: str, path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TELEMETRY_", "OTEL_"))}
    return subprocess.run(
        [python, *options, str(EXERCISE)],
        env={**kept, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_face_works_without_a_warning(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    # Development mode checks memory, too; children get both by their environment.
    result = exercise(python, PACKAGE.parent, "-X", "dev", "-W", "error", PYTHONDEVMODE="1", PYTHONWARNINGS="error", PYTHONMALLOC="debug")
    if result.returncode and "undefined symbol" in result.stderr:
        pytest.skip(f"Python {version} is no CPython that loads modules of the stable ABI")
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    events, kind = result.stdout.split()
    assert kind == "native" and int(events) > 20


def test_a_fork_warns_only_of_threads_that_are_documented(python):
    """Python 3.12 and later tell of threads at a fork; those of telemetry are two of the system and one of Python."""
    found = interpreter("3.12")
    if found is None:
        pytest.skip("this machine has no Python 3.12")
    program = """
        import os, sys, warnings
        import telemetry_py as telemetry

        def forked():
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
            return [warning.category.__name__ for warning in told]

        # Neither the import nor an event nor a span has any.
        telemetry.emit("a.b")
        with telemetry.span("op"):
            pass
        assert forked() == [], forked()
        server = telemetry.serve()
        assert forked() == ["DeprecationWarning"], forked()
        server.close()
        telemetry.set_backend(None)
    """
    import textwrap

    result = subprocess.run(
        [found, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
def without_native(tmp_path):
    """The package as an interpreter sees it that knows no modules of the stable ABI: those without a GIL."""
    shutil.copytree(PACKAGE, tmp_path / "telemetry_py", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("version", VERSIONS)
def test_without_the_native_module_every_face_does_nothing_with_one_warning(without_native, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    result = exercise(python, without_native)
    assert (result.returncode, result.stdout) == (0, "0 nothing\n"), result.stderr
    # One for this process, and one for each of its two children.
    assert result.stderr.count("RuntimeWarning: telemetry is off") == 3, result.stderr
    # Where warnings are errors the program runs on all the same.
    result = exercise(python, without_native, "-W", "error", PYTHONWARNINGS="error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "0 nothing\n", "")


def test_an_interpreter_without_the_gil_imports_it_as_nothing_with_one_warning():
    places = [os.path.expanduser("~/.pyenv/versions/*t/bin/python3"), "/usr/bin/python3.*t", "/usr/local/bin/python3.*t"]
    found = next((path for place in places for path in sorted(glob.glob(place))), None) or shutil.which("python3.13t")
    if found is None:
        pytest.skip("this machine has no Python without the GIL; a package without its native module is shown above")
    result = exercise(found, PACKAGE.parent, PYTHON_GIL="0")
    assert (result.returncode, result.stdout) == (0, "0 nothing\n"), result.stderr
    assert "telemetry is off" in result.stderr
