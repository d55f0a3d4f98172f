"""Requests and tasks as spans, with the real frameworks, servers and queues.

The truth is what the programs wrote before each event, one event in each request or task; each has to be in
one whole span.
"""

from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from patience import PATIENCE, until
from place import Place
from program import Program, WebClient, requests_to_all, when_up
from real_manager import Manager

SERVERS = {
    "fastapi uvicorn": ("uvicorn", "--workers", "2", "--uds", "{web}", "web_fastapi:app"),
    "flask gunicorn": ("gunicorn", "--workers", "2", "--bind", "unix:{web}", "web_flask:app"),
    "flask gunicorn threads": ("gunicorn", "--workers", "2", "--threads", "4", "--bind", "unix:{web}", "web_flask:app"),
}

ROUTES = {
    "fastapi": {"/": "/", "/items/{}": "/items/{{number}}", "/parts/{}": "/parts/{{number}}", "/broken": "/broken"},
    "flask": {"/": "/", "/items/{}": "/items/<int:number>", "/parts/{}": "/parts/<int:number>", "/broken": "/broken"},
}


def get(path: Path, where: str) -> int:
    """One request; returns its status."""
    client = WebClient(path)
    try:
        client.request("GET", where, headers={"Connection": "close"})
        answer = client.getresponse()
        answer.read()
        return answer.status
    finally:
        client.close()


@pytest.mark.parametrize("name", SERVERS)
def test_each_request_is_one_span(place: Place, name: str) -> None:
    arguments = (part.format(web=place.web) for part in SERVERS[name])
    routes = {where: route.format() for where, route in ROUTES[name.split()[0]].items()}
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            begun = len(requests_to_all(place.web, workers=2, at_least=8)) + 1
            sent = [where for where in routes for _ in range(25)]
            with ThreadPoolExecutor(8) as threads:
                numbered = [where.format(number) for number, where in enumerate(sent)]
                answered = Counter(threads.map(lambda where: get(place.web, where), numbered))
            assert answered == {200: 75, 500: 25}
            for _ in range(5):
                assert get(place.web, "/healthz") == 200
            server.end()
        assert place.truth().total() == begun + len(sent)
        place.check_all_arrived(manager)
        ends = place.check_spans(manager, "http.server")
        by_route = Counter(
            (end["name"].rpartition(".")[2], end["metadata"]["route"], end["metadata"]["status_code"]) for end in ends
        )
        expected = Counter(
            ("exception" if where == "/broken" else "stop", routes[where], "500" if where == "/broken" else "200")
            for where in sent
        )
        expected["stop", "/", "200"] += begun
        assert by_route == expected
        place.check_last_words(manager)
        place.check_nothing_left(manager)


@pytest.mark.parametrize("name", SERVERS)
def test_a_client_that_leaves_ends_its_span(place: Place, name: str) -> None:
    """It has read of a stream that has no end."""
    arguments = (part.format(web=place.web) for part in SERVERS[name])
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            for _ in range(3):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(PATIENCE)
                    client.connect(str(place.web))
                    client.sendall(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
                    assert client.recv(100)
            until(lambda: place.truth().total() == 4, server.said)
            ends = place.check_spans(manager, "http.server")
            assert Counter(end["metadata"]["route"] for end in ends) == {"/": 1, "/endless": 3}
            server.end()
        place.check_all_arrived(manager)
        place.check_nothing_left(manager)


CELERY = ("celery", "--app", "spans", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO")
SEND = """
import sys, spans
import telemetry_py as telemetry
for name in sys.argv[1:]:
    with telemetry.correlation():
        getattr(spans, name).delay()
"""


def send(place: Place, manager: Manager, *names: str) -> None:
    """Sends tasks, each under an id of its own."""
    with place.program(manager, "python", "-c", SEND, *names) as sender:
        assert sender.wait() == 0, sender.said()


def work_until(place: Place, manager: Manager, worker: Program, number: int) -> None:
    """Waits until so many events were written down, and arrived."""
    until(lambda: place.truth().total() >= number, worker.said)
    until(lambda: manager.arrived.total() >= number, lambda: place.tell(manager))


def test_each_task_is_one_span_under_the_ids_of_who_sent_it(place: Place) -> None:
    with Manager(place.directory) as manager:
        with place.program(manager, *CELERY, "--max-tasks-per-child", "5") as worker:
            send(place, manager, *["job"] * 15, *["broken"] * 5)
            work_until(place, manager, worker, 20)
            ends = place.check_spans(manager, "celery.task")
            assert worker.end() == 0, worker.said()
        place.check_all_arrived(manager)
        found = Counter(
            (end["name"].rpartition(".")[2], *(end["metadata"][key] for key in ("task", "queue", "state"))) for end in ends
        )
        assert found == {
            ("stop", "spans.job", "work", "SUCCESS"): 15,
            ("exception", "spans.broken", "work", "FAILURE"): 5,
        }
        place.check_last_words(manager)
        place.check_nothing_left(manager)


def test_tries_and_tasks_that_tasks_send_keep_the_ids(place: Place) -> None:
    with Manager(place.directory) as manager:
        with place.program(manager, *CELERY) as worker:
            send(place, manager, *["again"] * 5, *["sends"] * 5)
            work_until(place, manager, worker, 10)
            until(lambda: len(manager.named("celery.task.stop")) >= 20, lambda: place.tell(manager))
            assert worker.end() == 0, worker.said()
        stops = manager.named("celery.task.stop")
        by_id: dict[str, list[tuple[str, ...]]] = {}
        for stop in stops:
            key = tuple(stop["metadata"][name] for name in ("task", "retry_count", "state"))
            by_id.setdefault(stop["correlation_id"], []).append(key)
        assert Counter(tuple(sorted(found)) for found in by_id.values()) == {
            (("spans.again", "0", "RETRY"), ("spans.again", "1", "SUCCESS")): 5,
            (("spans.job", "0", "SUCCESS"), ("spans.sends", "0", "SUCCESS")): 5,
        }
        assert len(manager.named("celery.task.start")) == len(stops) == 20
        place.check_nothing_left(manager)


def test_a_task_whose_process_is_killed_has_no_end_and_nothing_of_it_is_lost(place: Place) -> None:
    with Manager(place.directory) as manager:
        with place.program(manager, *CELERY) as worker:
            send(place, manager, "killed", "job", "job")
            work_until(place, manager, worker, 3)
            until(lambda: len(manager.named("celery.task.stop")) >= 2, lambda: place.tell(manager))
            worker.end()
        assert Counter(e["metadata"]["task"] for e in manager.named("celery.task.start")) == {"spans.killed": 1, "spans.job": 2}
        assert Counter(e["metadata"]["task"] for e in manager.named("celery.task.stop")) == {"spans.job": 2}
        assert manager.named("celery.task.exception") == []
        place.check_nothing_left(manager)
