"""What type checkers are told: the package is typed throughout, its stubs are true, and programs that use it
are checked by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python/telemetry_py"

PROGRAM = '''
import asyncio
from collections.abc import Mapping

import telemetry_py as telemetry


class Newest:
    """A backend by its shape alone."""

    def __init__(self) -> None:
        self.event = ""

    def emit(self, event: str, measurements: Mapping[str, object], metadata: Mapping[str, object], correlation_id: str) -> None:
        self.event = event


backend: telemetry.SupportsEmit = Newest()
telemetry.set_backend(backend)
telemetry.set_backend(telemetry.CompositeBackend(Newest(), telemetry.MemoryBackend()))
telemetry.emit("tool.result_size", {"bytes": 512, "ratio": 0.5, "kind": "text"}, {"tool": "search", "n": 1})

stats = telemetry.stats()
balance: int = stats["emitted"] - stats["accepted"] - sum(stats["dropped"].values())
part_names: list[str] = [part["backend"] for part in stats["parts"]]
stream_stats: int = telemetry.TelemetryStream(max_buffer=8, overflow="drop_oldest").stats()["queued"]

with telemetry.span("tool.execution", {"tool": "search"}) as span:
    ids: tuple[str, str, str] = (span.trace_id, span.span_id, span.parent_span_id)
    span.set(model="small")
    span.measure(count=1)
current: telemetry.Span | None = telemetry.current_span()


@telemetry.span
def bare(n: int) -> int:
    return n


@telemetry.span("tool.execution")
def named(n: int) -> int:
    return n


@telemetry.instrument(name="cart.add")
def instrumented(n: int) -> int:
    return n


doubled: list[int] = [bare(1), named(2), instrumented(3), telemetry.wrap_context(bare)(4)]


async def work() -> None:
    async with telemetry.span("tool.execution"):
        with telemetry.extract({"traceparent": ""}), telemetry.correlation() as id:
            text: str = id
            print(text)


asyncio.run(work())
headers: dict[str, str] = telemetry.inject({})
pairs: list[tuple[str, str]] = telemetry.outgoing_metadata([("a", "b")])
environ: dict[str, str] = telemetry.outgoing_environ()
'''

WRONG = '''
import telemetry_py as telemetry

class Nameless:
    def emit(self, event: str) -> None: ...

telemetry.set_backend(Nameless())
telemetry.stats()["emited"]
telemetry.emit(3)
telemetry.span("op", record_stacktrace="yes")
telemetry.TelemetryStream(overflow="drop")
telemetry.configure(sampling_rate=[1])
'''
"""Each line after the class is wrong in one way."""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # It asks the first `python3` that it finds for the places of packages.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=cwd, env={**os.environ, "PATH": path}
    )


def test_the_stubs_are_what_is_there() -> None:
    pytest.importorskip("mypy")
    result = run(
        *("mypy.stubtest", "telemetry_py", "--mypy-config-file", "pyproject.toml"),
        *("--allowlist", "tests/stubtest_allowed.txt", "--ignore-unused-allowlist"),
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_package_passes_mypy_strict() -> None:
    pytest.importorskip("mypy")
    result = run("mypy", "--strict", "--cache-dir", "/dev/null", str(PACKAGE), cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [(), ("--ignoreexternal",)], ids=["with_types_of_others", "own_types"])
def test_nearly_every_public_name_has_a_known_type(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What is left are classes that derive from those of packages without types."""
    pytest.importorskip("basedpyright")
    result = run("basedpyright", *arguments, "--outputjson", "--verifytypes", "telemetry_py", cwd=tmp_path)
    found = json.loads(result.stdout)["typeCompleteness"]
    assert Path(found["moduleRootDirectory"]).samefile(PACKAGE), found["moduleRootDirectory"]
    unknown = [symbol["name"] for symbol in found["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert found["completenessScore"] >= 0.98, unknown
    assert found["exportedSymbolCounts"]["withKnownType"] > 250, "most of the package was not looked at"


@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_program_is_checked(tmp_path: Path, checker: str) -> None:
    pytest.importorskip(checker)
    strict = ["--strict", "--cache-dir", "/dev/null"] if checker == "mypy" else ["--level", "error"]
    (tmp_path / "program.py").write_text(PROGRAM)
    result = run(checker, *strict, "program.py", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    (tmp_path / "wrong.py").write_text(WRONG)
    result = run(checker, *strict, "wrong.py", cwd=tmp_path)
    wrong = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.startswith("telemetry.")}
    told = {number for number in wrong if f"wrong.py:{number}:" in result.stdout}
    assert (result.returncode, told) == (1, wrong), result.stdout + result.stderr


def test_that_program_runs(python) -> None:
    result = python(PROGRAM)
    assert result.returncode == 0, result.stderr
