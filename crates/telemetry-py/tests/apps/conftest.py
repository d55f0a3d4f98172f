"""Fixtures: a place for a test with a manager and a truth, and which tests run.

What these tests hold against each other: the file that the programs write before each event, and what the
manager dispatched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import telemetry_py as telemetry
from place import Place


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long ones too: minutes each")
    parser.addoption("--idle", type=float, default=600, help="seconds that a long one leaves a stock server idle")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long; run it with --long"))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A directory with a short path, for sockets, and the programs' environment."""
    for variable in list(os.environ):
        if variable.startswith(("TELEMETRY_", "OTEL_")):
            monkeypatch.delenv(variable)
    directory = Path(tmp_path_factory.mktemp("a", numbered=True))
    yield Place(directory)


@pytest.fixture
def memory() -> Iterator[telemetry.MemoryBackend]:
    """What the test's own process emits."""
    backend = telemetry.MemoryBackend()
    telemetry.set_backend(backend)
    yield backend
    telemetry.set_backend(None)
