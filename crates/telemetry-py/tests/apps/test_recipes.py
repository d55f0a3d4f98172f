"""The programs and commands of docs/python.md, as they stand there, with the real packages and a real manager.

What is outside of telemetry is the truth here: requests that were answered, tasks that were sent, lines that
were printed.
"""

from __future__ import annotations

import http.client
import shlex
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from documented import GUIDE, Example, commands, files, in_docstrings
from jupyter_client import KernelManager
from patience import PATIENCE, until
from place import Place
from program import Program, WebClient
from real_manager import Manager, when_left

COMMANDS = commands(GUIDE)
WEB = [command for command in COMMANDS if command.startswith(("uvicorn ", "gunicorn "))]

CELERYCONFIG = """
broker_url = "filesystem://"
broker_transport_options = {{
    "data_folder_in": "{messages}", "data_folder_out": "{messages}", "control_folder": "{messages}", "polling_interval": 0.05,
}}
"""


class Recipe:
    """The files of the guide in a directory, and programs that run there with the one variable."""

    def __init__(self, place: Place) -> None:
        self.place = place
        for name, text in files(GUIDE).items():
            (place.directory / name).write_text(text)

    def run(self, manager: Manager, command: str, *more: str) -> Program:
        """A command of the guide, with what makes a test of it."""
        assert command in COMMANDS, f"the guide has no {command!r}; it has {COMMANDS}"
        return self.start(manager, *shlex.split(command), *more)

    def start(self, manager: Manager | None, *arguments: str, **more: str) -> Program:
        """Any command, in that directory."""
        return Program(self.place.directory, *arguments, cwd=self.place.directory, **self.place.environment(manager, **more))


@pytest.fixture
def recipe(place: Place) -> Recipe:
    return Recipe(place)


def counted(manager: Manager) -> Counter[str]:
    """How many events of each name came from workers."""
    names = (event["name"] for event in list(manager.events))
    own = Counter(name.removeprefix("snakepit.python.") for name in names if name.startswith("snakepit.python."))
    # A machine that is busy enough lets Python stand still.
    return Counter({name: count for name, count in own.items() if not name.startswith("stall.")})


def check(place: Place, manager: Manager, expected: dict[str, int], *, ends_any: bool = False) -> None:
    """Whether just these events came, and all processes left with a last word; not so where a server may end
    `any` that it has just begun."""
    until(lambda: counted(manager) == expected, lambda: f"{counted(manager)} is not {expected}\n{place.tell(manager)}")
    assert not manager.left_out, f"the test read too slowly: {manager.left_out}"
    if ends_any:
        when_left(manager)
    else:
        place.check_last_words(manager)
    assert counted(manager) == expected
    place.check_nothing_left(manager)


def is_answered(path: Path) -> bool:
    """One request to the programs of the guide; false if nobody listens yet."""
    client = WebClient(path)
    try:
        client.request("GET", "/items/7", headers={"Connection": "close"})
        answer = client.getresponse()
        body = answer.read()
        assert (answer.status, body) == (200, b"7"), body
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
    return True


def test_the_guide_has_its_commands() -> None:
    assert [command.split()[0] for command in WEB] == ["uvicorn", *["gunicorn"] * 7]


@pytest.mark.parametrize("command", WEB)
def test_each_request_is_a_span_with_its_event(recipe: Recipe, command: str) -> None:
    place = recipe.place
    socket = ("--uds", str(place.web)) if command.startswith("uvicorn ") else ("--bind", f"unix:{place.web}")
    with Manager(place.directory) as manager:
        with recipe.run(manager, command, *socket) as server:
            until(lambda: is_answered(place.web), server.said)
            answered = 1

            def have_answered() -> bool:
                nonlocal answered
                with ThreadPoolExecutor(8) as threads:
                    assert all(threads.map(is_answered, [place.web] * 40)), server.said()
                answered += 40
                # The manager keeps few events for a reader that is slow.
                until(lambda: counted(manager)["http.server.stop"] >= answered, lambda: place.tell(manager))
                return answered > 200 and len({event["metadata"]["worker_id"] for event in manager.named("tool.result_size")}) >= 4

            # One that is ended while it begins has no handler of signals yet.
            until(have_answered, server.said)
            server.end()
        names = ("http.server.start", "tool.result_size", "http.server.stop")
        check(place, manager, dict.fromkeys(names, answered), ends_any="--max-requests" in command)


def test_each_task_is_a_span_with_its_event(recipe: Recipe) -> None:
    place, tasks = recipe.place, 20
    messages = place.directory / "messages"
    (place.directory / "celeryconfig.py").write_text(CELERYCONFIG.format(messages=messages))
    (command,) = [command for command in COMMANDS if command.startswith("celery ")]
    send = f"import tasks\nfor number in range({tasks}): tasks.resize.delay(number)"
    with Manager(place.directory) as manager:
        with recipe.run(manager, command, "--max-tasks-per-child", "5", "--loglevel", "INFO") as worker:
            with recipe.start(manager, "python", "-c", send) as sender:
                assert sender.wait() == 0, sender.said()
            until(lambda: counted(manager)["celery.task.stop"] >= tasks, lambda: f"{worker.said()}\n{place.tell(manager)}")
            assert worker.end() == 0, worker.said()
        check(place, manager, dict.fromkeys(("celery.task.start", "tool.result_size", "celery.task.stop"), tasks))


def test_each_prompt_is_a_span_in_the_trace_of_its_batch(recipe: Recipe) -> None:
    place = recipe.place
    with Manager(place.directory) as manager:
        with recipe.run(manager, "python infer.py") as program:
            assert program.wait() == 0, program.said()
        prompts = len(program.said().splitlines())
        assert prompts == 60, program.said()
        spans = prompts + 3
        check(place, manager, {"tool.execution.start": spans, "tool.result_size": prompts, "tool.execution.stop": spans})
        stops = manager.named("tool.execution.stop")
        traces = Counter(stop["span"]["trace_id"] for stop in stops)
        assert sorted(traces.values()) == [21] * 3, traces
        roots = {stop["span"]["span_id"] for stop in stops if stop["metadata"]["tool"] == "batch"}
        assert {stop["span"]["parent_span_id"] for stop in stops if stop["metadata"]["tool"] == "infer"} == roots


def test_each_run_of_a_script_is_a_span(recipe: Recipe) -> None:
    place, runs = recipe.place, 10
    with Manager(place.directory) as manager:
        for _ in range(runs):
            with recipe.run(manager, "python job.py") as program:
                assert program.wait() == 0, program.said()
                assert program.said() == ""
        check(place, manager, {"tool.execution.start": runs, "tool.result_size": runs, "tool.execution.stop": runs})


def test_a_script_without_a_manager_ends_at_once(recipe: Recipe) -> None:
    nobody = {"TELEMETRY_MANAGER": f"unix:{recipe.place.directory}/nobody.sock", "TELEMETRY_EXIT_TIMEOUT_MS": "60000"}
    with recipe.start(None, "python", "job.py", **nobody) as program:
        assert program.wait(PATIENCE) == 0, program.said()


def test_the_three_lines_reach_a_manager(recipe: Recipe) -> None:
    with Manager(recipe.place.directory) as manager:
        with recipe.start(manager, "python", "hello.py") as program:
            assert program.wait() == 0, program.said()
        check(recipe.place, manager, {"tool.result_size": 1})


@pytest.fixture
def kernel(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelManager]:
    """A kernel of Jupyter, which is not started yet."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place.directory / "jupyter"))
    made = KernelManager(kernel_name="python3")
    yield made
    if made.has_kernel:
        made.shutdown_kernel(now=True)
    made.cleanup_resources()


def run_cell(kernel: KernelManager, cell: str, times: int) -> None:
    """Runs a cell as a notebook does."""
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        for _ in range(times):
            reply = client.execute_interactive(cell, timeout=PATIENCE, allow_stdin=False)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()


def test_each_run_of_a_cell_is_a_span_and_a_kernel_is_one_worker(recipe: Recipe, kernel: KernelManager) -> None:
    place = recipe.place
    cell = files(GUIDE)["cell.py"]
    with Manager(place.directory) as manager:
        kernel.start_kernel(env=place.environment(manager, IPYTHONDIR=str(place.directory / "ipython")), cwd=str(place.directory))
        run_cell(kernel, cell, 3)
        until(lambda: counted(manager)["tool.execution.stop"] == 3, lambda: place.tell(manager))
        assert len(manager.get("/api/workers")) == 1
        kernel.restart_kernel()
        run_cell(kernel, cell, 2)
        kernel.shutdown_kernel()
        check(place, manager, {"tool.execution.start": 5, "tool.result_size": 5, "tool.execution.stop": 5})
        assert len({event["metadata"]["worker_id"] for event in manager.named("tool.execution.stop")}) == 2


LEFT = [example for example in in_docstrings() if example.needs_apps]


@pytest.mark.parametrize("example", LEFT, ids=[example.place for example in LEFT])
def test_an_example_of_a_docstring_runs(place: Place, example: Example) -> None:
    with place.program(None, "python", "-c", example.code) as program:
        assert program.wait() == 0, f"{example.code}\n{program.said()}"
