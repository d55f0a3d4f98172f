"""README, example and stubs: what they say is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "../../README.md"]
EXAMPLES = [
    example
    for readme in READMES
    for example in re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
]


MODULES = ["asgi", "wsgi", "logging", "http_client", "grpc_context", "testing/__init__"]


@pytest.mark.parametrize("module", MODULES)
def test_the_example_of_a_module_runs(python, module):
    """The first indented block of its docstring."""
    source = (ROOT / f"python/telemetry_py/{module}.py").read_text()
    text = ast.get_docstring(ast.parse(source))
    example = re.search(r"\n\n((?:    .*\n|\n)+)", text)[1]
    assert "telemetry_py" in example
    result = python(example)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_readme_example_runs(python, example):
    result = python(example)
    assert result.returncode == 0, result.stderr


def test_every_variable_is_in_the_readme():
    sources = ROOT / "src/settings.rs", ROOT / "../telemetry-client/src/config/env.rs"
    text = "".join(source.read_text() for source in sources)
    named = set(re.findall(r'"((?:TELEMETRY|OTEL)_[A-Z_]+)"', text))
    assert len(named) > 10
    readme = (ROOT / "README.md").read_text()
    assert {name for name in named if f"`{name}`" not in readme} == set()


def test_the_plain_worker_runs(python):
    source = (ROOT / "examples/plain_worker.py").read_text()
    result = python(source, TELEMETRY_BACKEND="stderr", PLAIN_WORKER_ROUNDS="5")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("TELEMETRY:") >= 10
