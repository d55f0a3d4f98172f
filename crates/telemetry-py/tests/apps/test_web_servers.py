"""Servers that fork or spawn their workers, each with one line and one variable.

Each serves requests, an event each, from all its workers, and is ended in order.
"""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from patience import until
from place import Place
from program import OWN_THREADS, requests, requests_for, requests_to_all, when_up
from real_manager import Manager

LOAD_SECONDS = 60

GUNICORN = ("gunicorn", "--workers", "2", "--bind", "unix:{web}")
UWSGI = (
    *("uwsgi", "--master", "--processes", "2", "--http-socket", "{web}", "--module", "web_wsgi:app"),
    # Else a worker that is busy when the end comes does not end in order.
    *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
)

ORDERLY = {
    "gunicorn sync": (*GUNICORN, "web_wsgi:app"),
    "gunicorn sync preload": (*GUNICORN, "--preload", "web_wsgi:app"),
    "gunicorn gthread": (*GUNICORN, "--threads", "4", "web_wsgi:app"),
    "gunicorn gthread preload": (*GUNICORN, "--threads", "4", "--preload", "web_wsgi:app"),
    "uwsgi": UWSGI,
    "uwsgi lazy": (*UWSGI, "--lazy-apps"),
    "uwsgi threads": (*UWSGI, "--enable-threads"),
    "uwsgi lazy threads": (*UWSGI, "--lazy-apps", "--enable-threads"),
}
"""Those whose workers end in order at SIGTERM."""

UVICORN_WORKER = (*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker")

BY_SIGNAL = {
    "gunicorn uvicorn": (*UVICORN_WORKER, "web_asgi:app"),
    "gunicorn uvicorn preload": (*UVICORN_WORKER, "--preload", "web_asgi:app"),
    "hypercorn": ("hypercorn", "--workers", "2", "--bind", "unix:{web}", "web_asgi:app"),
    "uvicorn": ("uvicorn", "--workers", "2", "--uds", "{web}", "web_asgi:app"),
}
"""Those whose workers end by a signal: those of uvicorn raise the SIGTERM again that ended them, hypercorn sends
one to the others as soon as the first has ended."""


@pytest.mark.parametrize("name", [*ORDERLY, *BY_SIGNAL])
def test_each_request_of_each_worker_arrives(place: Place, name: str) -> None:
    arguments = {**ORDERLY, **BY_SIGNAL}[name]
    if arguments[0] == "uwsgi" and not shutil.which("uwsgi", path=place.environment()["PATH"]):
        pytest.skip("uwsgi could not be compiled: there is no C compiler")
    with Manager(place.directory) as manager:
        with place.program(manager, *(part.format(web=place.web) for part in arguments)) as server:
            when_up(place.web, server.said)
            answered = requests_to_all(place.web, workers=2, at_least=40)
            connected = {p.pid for p in server.family() if p.own_threads() == OWN_THREADS}
            assert connected >= set(answered), f"{connected} of {set(answered)} are connected"
            server.check_processes()
            server.end()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)


@pytest.mark.parametrize("name", ["uvicorn"])
def test_an_application_that_ends_telemetry_with_its_lifespan_leaves_nothing_unknown(place: Place, name: str) -> None:
    """Not so with hypercorn, which does not always let the lifespan of a worker end."""
    arguments = [part.replace("web_asgi:", "web_asgi_ending:").format(web=place.web) for part in BY_SIGNAL[name]]
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            requests_to_all(place.web, workers=2, at_least=40)
            server.end()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_a_killed_worker_loses_nothing(place: Place, preload: tuple[str, ...]) -> None:
    """Its successor's requests arrive as before."""
    arguments = [part.format(web=place.web) for part in (*GUNICORN, *preload, "web_wsgi:app")]
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            first = set(requests_to_all(place.web, workers=2, at_least=20))
            victim = first.pop()
            os.kill(victim, signal.SIGKILL)
            until(lambda: set(requests(place.web, 8)) - first, server.said)
            server.end()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)


@pytest.mark.long
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_recycled_workers_under_load_lose_nothing(place: Place, preload: tuple[str, ...]) -> None:
    """A minute of load on four workers that are replaced after 50 requests each."""
    recycle = ("--workers", "4", "--max-requests", "50", "--max-requests-jitter", "20")
    with Manager(place.directory) as manager:
        arguments = ("gunicorn", *recycle, "--bind", f"unix:{place.web}", *preload, "web_wsgi:app")
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            answered = requests_for(place.web, LOAD_SECONDS)
            assert len(set(answered)) > 20, "no worker was replaced"
            server.check_processes()
            server.end()
        print(f"{len(answered)} requests, {len(set(answered))} workers")
        place.check_all_arrived(manager)
        place.check_nothing_left(manager)
