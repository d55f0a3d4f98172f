"""README, examples and stubs: what they say is so. What documents and docstrings show is in test_examples.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_every_variable_is_in_the_readme():
    sources = ROOT / "src/settings.rs", ROOT / "../telemetry-client/src/config/env.rs"
    text = "".join(source.read_text() for source in sources)
    named = set(re.findall(r'"((?:TELEMETRY|OTEL)_[A-Z_]+)"', text))
    assert len(named) > 10
    readme = (ROOT / "README.md").read_text()
    assert {name for name in named if f"`{name}`" not in readme} == set()


def test_every_reason_of_a_worker_is_in_the_manual_and_in_the_docstring():
    source = (ROOT / "../telemetry-core/src/ledger/reason.rs").read_text()
    reasons = {name for number, name in re.findall(r'= (\d+), "(\w+)";', source.partition("Note:")[0]) if int(number) < 19}
    assert len(reasons) > 10
    manual = (ROOT / "../../docs/operations.md").read_text()
    rows = "".join(re.findall(r"^\| worker \| ([^|]*)", manual, re.MULTILINE))
    assert {name for name in reasons if f"`{name}`" not in rows} == set()
    stats = (ROOT / "python/telemetry_py/_types.py").read_text().partition("class Stats(")[2].partition("class ")[0]
    assert {name for name in reasons if f"``{name}``" not in stats} == set()


def test_the_plain_worker_runs(python):
    source = (ROOT / "examples/plain_worker.py").read_text()
    result = python(source, TELEMETRY_BACKEND="stderr", PLAIN_WORKER_ROUNDS="5")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("TELEMETRY:") >= 10


def test_the_stubs_are_what_is_there(tmp_path):
    pytest.importorskip("mypy")
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "telemetry_py._native"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_package_passes_mypy_strict():
    pytest.importorskip("mypy")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "python/telemetry_py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stdout + result.stderr
