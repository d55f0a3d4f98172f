"""Task queues: celery with its prefork pool, whose children are recycled."""

from __future__ import annotations

import pytest
from patience import until
from place import Place
from real_manager import Manager

SEND = "import sys, tasks\nfor _ in range(int(sys.argv[1])): tasks.job.delay()"
"""Sends so many tasks, in a process that is connected as well."""

CELERY = ("celery", "--app", "tasks", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO")


@pytest.mark.parametrize("tasks", [20, pytest.param(500, marks=pytest.mark.long)])
def test_each_task_of_children_that_are_recycled_arrives(place: Place, tasks: int) -> None:
    """celery's children end by `os._exit`, but tell before."""
    with Manager(place.directory) as manager:
        with place.program(manager, *CELERY, "--max-tasks-per-child", "5") as worker:
            with place.program(manager, "python", "-c", SEND, str(tasks)) as sender:
                assert sender.wait() == 0, sender.said()
            patience = 30 + tasks
            until(lambda: place.truth().total() >= tasks, worker.said, patience)
            until(lambda: len(manager.arrived) >= tasks, lambda: place.tell(manager))
            children = {tag.split("-")[0] for tag in place.truth()}
            assert len(children) >= tasks // 5, f"not recycled: {children}"
            worker.check_processes()
            assert worker.end() == 0, worker.said()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)
