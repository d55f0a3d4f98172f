"""Spans are one tree for each root, wherever they begin, and no two have one id; both by what the programs wrote down."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE, until
from place import Place
from program import PROGRAMS
from real_manager import Manager

ROOTS = 2
"""So many that all their events nearly fit into what a manager keeps for a tap that does not read: 256."""


def edges(events: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Each span that began, by its label, and the span around it, found by ids alone."""
    begun = [event for event in events if event["span"]["phase"] == "start"]
    labels = {(event["span"]["trace_id"], event["span"]["span_id"]): event["metadata"]["tool"] for event in begun}
    assert len(labels) == len(begun), "two spans have one id"
    found = Counter()
    for event in begun:
        span = event["span"]
        parent = span.get("parent_span_id")
        found[event["metadata"]["tool"], "-" if parent is None else labels.get((span["trace_id"], parent), "an orphan")] += 1
    return found


def test_spans_of_tasks_threads_generators_executors_and_children_are_one_tree_for_each_root(place: Place) -> None:
    written = place.directory / "edges"
    with Manager(place.directory) as manager:
        with place.program(manager, "python", "trees.py", str(ROOTS), APPS_EDGES=str(written)) as program:
            assert program.wait(2 * PATIENCE) == 0, program.said()
        true = Counter(tuple(line.split(" ")) for line in written.read_text().splitlines())
        assert len({label for label, _ in true}) == true.total() > 40 * ROOTS
        until(
            lambda: len(manager.named("tool.execution.stop")) >= true.total() or manager.left_out,
            lambda: place.tell(manager),
        )
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        events = list(manager.events)
    spans = [event for event in events if event["name"] != "snakepit.python.apps.work"]
    assert edges(spans) == true
    # Each has one end, and work belongs to the inner span of two.
    begun, ended = (
        Counter(event["span"]["span_id"] for event in spans if event["span"]["phase"] == phase) for phase in ("start", "stop")
    )
    assert begun == ended
    tools = {event["span"]["span_id"]: event["metadata"]["tool"] for event in spans}
    inside = Counter(tools[event["span"]["span_id"]] for event in events if event["name"] == "snakepit.python.apps.work")
    assert inside == Counter(label for label, _ in true if label.endswith("/in"))
    # The correlation id of a root is that of its tree, and of nothing beside.
    for event in events:
        root = tools[event["span"]["span_id"]].partition("/")[0]
        assert event["correlation_id"] == ("" if root.endswith("-apart") else root)


@pytest.mark.parametrize(
    ("of_a_thread", "of_a_child"),
    [pytest.param(100, 36, id="sample"), pytest.param(10_000, 3_600, id="a_million", marks=pytest.mark.long)],
)
def test_ids_of_64_threads_and_100_forks_are_unique(place: Place, of_a_thread: int, of_a_child: int) -> None:
    ids = place.directory / "ids"
    ids.mkdir()
    numbers = ("64", str(of_a_thread), "100", str(of_a_child))
    ran = subprocess.run(
        [sys.executable, str(PROGRAMS / "unique.py"), str(ids), *numbers],
        capture_output=True,
        text=True,
        env=place.environment(),
        timeout=10 * PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    check_unique(ids, 64 * of_a_thread + 100 * of_a_child)


def check_unique(directory: Path, number: int) -> None:
    records = [
        content[at : at + 24]
        for content in (file.read_bytes() for file in directory.iterdir())
        for at in range(0, len(content), 24)
    ]
    assert len(records) == number
    assert len({record[16:] for record in records}) == number, "two spans have one id"
    assert len({record[:16] for record in records}) == number, "two roots have one trace"
    assert not any(record[16:] == bytes(8) or record[:16] == bytes(16) for record in records)
