"""Children of a Python program: multiprocessing in every start method, executors, billiard."""

from __future__ import annotations

import pytest
from place import Place
from real_manager import Manager

METHODS = ["fork", "spawn", "forkserver"]

CHILDREN = [(kind, method) for kind in ("pool", "process", "executor") for method in METHODS]
BILLIARD = [("pool", "billiard.fork"), ("process", "billiard.fork"), ("pool", "billiard.spawn")]


def run(place: Place, kind: str, method: str, jobs: int) -> None:
    # A pool of billiard takes up to a second for each child that it replaces.
    with Manager(place.directory) as manager:
        with place.program(manager, "python", "processes.py", kind, method, str(jobs)) as program:
            assert program.wait(30 + jobs / 5) == 0, program.said()
        assert place.truth().total() == jobs + 1, program.said()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)


@pytest.mark.parametrize(("kind", "method"), [*CHILDREN, *BILLIARD])
def test_each_job_of_each_child_arrives(place: Place, kind: str, method: str) -> None:
    run(place, kind, method, jobs=20)


@pytest.mark.long
@pytest.mark.parametrize("method", [*METHODS, "billiard.fork"])
def test_a_hundred_recycled_children_lose_nothing(place: Place, method: str) -> None:
    run(place, "pool", method, jobs=500)


@pytest.mark.parametrize("kind", ["terminated", "exiting", "killed"])
def test_children_that_end_without_a_word_lose_nothing(place: Place, kind: str) -> None:
    """A pool that is left by `with`, children that call `os._exit`, children that are killed."""
    with Manager(place.directory) as manager:
        with place.program(manager, "python", "processes.py", kind, "fork", "20") as program:
            assert program.wait() == 0, program.said()
        assert place.truth().total() == 21, program.said()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)
