"""One trace across everything that work goes through, as the command `telemetry tap` shows it.

A host in Rust calls a worker in Python over gRPC; its handler gives work to a thread of an executor, the thread
forks, the child starts a program, which starts one in Rust. The tree is built again of the ids alone.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from patience import PATIENCE, until
from place import Place
from program import PROGRAMS
from real_manager import Manager, when_left

CALLS = 4
"""Traces that are under way at once."""

WAY = [
    ("tool.execution", "host"),
    ("call", None),
    ("tool.execution", "handler"),
    ("tool.execution", "thread"),
    ("tool.execution", "forked"),
    ("tool.execution", "subprocess"),
    ("tool.execution", "alone"),
]
"""The spans of a trace, each the parent of the next: operation, as handlers name it, and `tool`."""

PREFIX = "snakepit.python."


class Tap:
    """`telemetry tap` in a process of its own, once the manager has it as a viewer."""

    def __init__(self, manager: Manager) -> None:
        before = self._viewers(manager)
        command = [os.environ["APPS_COMMAND"], "tap", "--match", f"{PREFIX}*", "--url", f"http://{manager.authority}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True)
        self._reader.start()
        until(lambda: self._viewers(manager) > before, lambda: f"no viewer: {self.process.poll()}")

    @staticmethod
    def _viewers(manager: Manager) -> int:
        return sum(handler["id"].startswith("http-tap-") for handler in manager.get("/api/handlers"))

    def shown(self) -> list[Shown]:
        return [Shown.read(line) for line in list(self.lines)]

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stdout.close()


@dataclass
class Shown:
    """A line of the tap."""

    name: str
    pairs: dict[str, str]

    @classmethod
    def read(cls, line: str) -> Shown:
        assert "left out" not in line, f"the test read too slowly: {line}"
        _time, name, *pairs = shlex.split(line)
        return cls(name.removeprefix(PREFIX), dict(pair.split("=", 1) for pair in pairs))

    def __getitem__(self, key: str) -> str | None:
        return self.pairs.get(key)


@dataclass
class Node:
    """A span, of the events that carry its id."""

    start: Shown
    end: Shown | None = None
    inside: list[Shown] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


def trees(shown: list[Shown]) -> dict[str, Node]:
    """The roots by trace. Fails for an event without a span, a span without a parent that is there, an id that
    two spans have, and a trace with two roots."""
    nodes: dict[tuple[str, str], Node] = {}
    for event in shown:
        if event["phase"] == "start":
            key = (event["trace_id"], event["span_id"])
            assert key not in nodes, f"twice: {event}"
            nodes[key] = Node(event)
    assert len({span for _, span in nodes}) == len(nodes), "two traces share the id of a span"
    roots: dict[str, Node] = {}
    for event in shown:
        node = nodes.get((event["trace_id"], event["span_id"]))
        assert node is not None, f"in a span that never began: {event}"
        if event["phase"] == "inside":
            node.inside.append(event)
        elif event["phase"] == "stop":
            assert node.end is None and event["parent_span_id"] == node.start["parent_span_id"], event
            node.end = event
        else:
            assert event["phase"] == "start", event
            parent = event["parent_span_id"]
            if parent is None:
                assert event["trace_id"] not in roots, f"a second root: {event}"
                roots[event["trace_id"]] = node
            else:
                assert (event["trace_id"], parent) in nodes, f"an orphan: {event}"
                nodes[event["trace_id"], parent].children.append(node)
    assert {trace for trace, _ in nodes} == set(roots), "a trace without a root"
    return roots


@pytest.fixture
def worker(place: Place, manager: Manager) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "trace.py")],
        cwd=PROGRAMS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(place.directory / "output-worker").open("w"),
        text=True,
        env=place.environment(manager),
        start_new_session=True,
    )
    yield process
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


@pytest.fixture
def manager(place: Place) -> Iterator[Manager]:
    with Manager(place.directory) as manager:
        yield manager


def test_work_in_many_places_is_one_tree_for_each_call(place: Place, manager: Manager, worker: Any) -> None:
    with Tap(manager) as tap:
        address = worker.stdout.readline().strip()
        assert address, place.tell(manager)
        command = [os.environ["APPS_HOST"], address, str(CALLS)]
        ran = subprocess.run(command, env=place.environment(manager), capture_output=True, text=True, timeout=2 * PATIENCE)
        assert ran.returncode == 0, ran.stderr + place.tell(manager)
        worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0, place.tell(manager)
        # For each span a start and an end; an event in each but that of the call and the last.
        expected = CALLS * (2 * len(WAY) + len(WAY) - 2)
        until(lambda: len(tap.lines) >= expected, lambda: "".join(tap.lines) + place.tell(manager))
        place.check_all_arrived(manager)
        when_left(manager)
        assert manager.unknown() == 0, manager.totals()
        shown = tap.shown()
    assert len(shown) == expected, Counter(event.name for event in shown)

    roots = trees(shown)
    assert len(roots) == CALLS
    requests, processes = set(), set()
    for node in roots.values():
        request = node.start["correlation_id"]
        requests.add(request)
        of_processes = []
        for operation, tool in WAY:
            events = [node.start, node.end, *node.inside]
            assert (node.start.name, node.start["tool"]) == (f"{operation}.start", tool)
            assert node.end is not None and node.end.name == f"{operation}.stop"
            assert [event.name for event in node.inside] == {
                "host": ["tool.result_size"],
                None: [],
                "alone": [],
            }.get(tool, ["apps.work"])
            assert {event["correlation_id"] for event in events} == {request}
            (process,) = {event["worker_id"] for event in events}
            of_processes.append(process)
            if (operation, tool) == WAY[-1]:
                assert node.children == []
            else:
                (node,) = node.children
        # The handler and its thread are one process, and all others are processes of their own.
        host, call, handler, thread, *others = of_processes
        assert call == handler == thread
        assert len({host, call, *others}) == 5, of_processes
        processes |= set(of_processes)
    assert requests == {f"request-{number}" for number in range(CALLS)}
    assert len(processes) == 2 + 3 * CALLS, processes


def test_sampling_keeps_a_tree_whole_or_drops_it_over_all_its_processes(place: Place) -> None:
    """Each process decides for itself, by what its caller sent along. They write lines, so no manager has a say."""
    calls, lines = 24, place.directory / "lines"
    settings = place.environment(TELEMETRY_BACKEND="stderr", TELEMETRY_SAMPLING_RATE="0.5")
    with lines.open("a") as written:
        worker = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "trace.py")],
            cwd=PROGRAMS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env=settings,
        )
        try:
            command = [os.environ["APPS_HOST"], worker.stdout.readline().strip(), str(calls)]
            ran = subprocess.run(command, env=settings, stderr=written, timeout=2 * PATIENCE)
            worker.communicate(timeout=PATIENCE)
        finally:
            worker.kill()
            worker.communicate()
    said = lines.read_text().splitlines()
    assert (ran.returncode, worker.returncode) == (0, 0), said
    shown = []
    # gRPC has its own lines there.
    for line in said:
        if "TELEMETRY:" not in line:
            continue
        event = json.loads(line.removeprefix("TELEMETRY:"))
        told = event["metadata"] | event["span"] | {"correlation_id": event["correlation_id"]}
        shown.append(Shown(event["event"], told))
    events = Counter(event["trace_id"] for event in shown)
    assert set(events.values()) == {2 * len(WAY) + len(WAY) - 2}, events
    assert 0 < len(events) < calls
    assert trees(shown).keys() == events.keys()


def test_what_is_no_tree_is_found() -> None:
    """The test's own eyes."""

    def line(phase: str, span: str, parent: str = "", trace: str = "t") -> Shown:
        told = f" parent_span_id={parent}" if parent else ""
        return Shown.read(f"00:00:01.000  {PREFIX}op.{phase}  tool=a trace_id={trace} span_id={span}{told} phase={phase}")

    root, child = line("start", "1"), line("start", "2", "1")
    assert trees([child, root])["t"].children[0].start is child
    for wrong, because in [
        ([root, line("start", "2", "3")], "orphan"),
        ([root, line("start", "2")], "second root"),
        ([root, child, child], "twice"),
        ([root, line("start", "1", trace="u")], "share"),
        ([root, line("inside", "2")], "never began"),
        ([line("start", "1", "9")], "orphan"),
    ]:
        with pytest.raises(AssertionError, match=because):
            trees(wrong)
