"""Workers of a manager's pool that are programs of many processes themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from patience import until
from place import Place
from processes_seen import below
from program import OWN_THREADS, PROGRAMS, requests_to_all, when_up
from real_manager import Manager
from test_queues import CELERY, SEND

GUNICORN = ("gunicorn", "--workers", "3", "--bind", "unix:{web}")


def pool_of(command: tuple[str, ...], web: Path) -> str:
    """The section of a pool called `web` of one worker."""
    arguments = json.dumps([part.format(web=web) for part in command])
    return f'\n[[pool]]\nname = "web"\nsize = 1\ncommand = {arguments}\ncwd = "{PROGRAMS}"\n'


def check_members(manager: Manager) -> None:
    """What arrived came from the pool: from its worker, or from children called by its name."""
    strangers = {worker for worker in manager.workers if worker != "web-1" and not worker.startswith("web-1.")}
    assert not strangers, strangers
    assert manager.workers != {"web-1"}, "no child has a name of its own"
    pools = {pool["pool_name"] for pool in manager.get("/api/pools")}
    assert pools == {"web"}, pools


@pytest.mark.parametrize(
    "command",
    [
        (*GUNICORN, "web_wsgi:app"),
        (*GUNICORN, "--preload", "web_wsgi:app"),
        (*GUNICORN, "web_serving:app"),
        (*GUNICORN, "--preload", "web_serving:app"),
    ],
    ids=["start", "start preload", "serve", "serve preload"],
)
def test_each_request_of_a_server_in_a_pool_arrives(place: Place, command: tuple[str, ...]) -> None:
    with Manager(place.directory, pool_of(command, place.web), **place.environment()) as manager:
        when_up(place.web, manager.log)
        answered = requests_to_all(place.web, workers=3, at_least=60)
        place.check_all_arrived(manager)
        check_members(manager)
        connected = {p.pid for p in below(manager.process.pid) if p.own_threads() == OWN_THREADS}
        assert connected >= set(answered), f"{connected} of {set(answered)} are connected"
        place.check_nothing_left(manager, to_the_end=True)
    place.check_all_arrived_by_the_end(manager)


def test_each_task_of_a_queue_in_a_pool_arrives(place: Place) -> None:
    command = (*CELERY, "--max-tasks-per-child", "5")
    with Manager(place.directory, pool_of(command, place.web), **place.environment()) as manager:
        environment = {"TELEMETRY_WORKER_ID": "web-1.sender", "TELEMETRY_POOL": "web"}
        with place.program(manager, "python", "-c", SEND, "20", **environment) as sender:
            assert sender.wait() == 0, sender.said()
        until(lambda: place.truth().total() >= 20, lambda: place.tell(manager))
        place.check_all_arrived(manager)
        check_members(manager)
        place.check_nothing_left(manager, to_the_end=True)
    place.check_all_arrived_by_the_end(manager)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_each_job_of_children_in_a_pool_arrives(place: Place, method: str) -> None:
    command = ("python", "processes.py", "pool", method, "20")
    environment = place.environment(APPS_STAY="1")
    with Manager(place.directory, pool_of(command, place.web), **environment) as manager:
        until(lambda: place.truth().total() == 21, lambda: place.tell(manager))
        place.check_all_arrived(manager)
        check_members(manager)
        place.check_nothing_left(manager, to_the_end=True)
    place.check_all_arrived_by_the_end(manager)
