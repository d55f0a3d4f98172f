"""Programs that ask to serve, in several processes at once, with one address for all."""

from __future__ import annotations

import pytest
from place import Place
from program import requests_to_all, when_up
from real_manager import Manager

UVICORN = ("uvicorn", "--workers", "4", "--uds", "{web}", "web_lifespan:app")
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "unix:{web}")


def test_with_a_manager_to_call_each_worker_calls_it(place: Place) -> None:
    """`serve` in the lifespan of four workers, one address, one manager."""
    address = f"unix:{place.directory}/worker.sock"
    arguments = [part.format(web=place.web) for part in UVICORN]
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments, TELEMETRY_ADDRESS=address) as server:
            when_up(place.web, server.said)
            requests_to_all(place.web, workers=4, at_least=80)
            server.check_processes()
            server.end()
        place.check_all_arrived(manager)
        place.check_nothing_left(manager)
    assert not list(place.directory.glob("worker*.sock")), "a socket is left"


def test_without_one_each_takes_a_name_beside_the_others(place: Place) -> None:
    """A manager that watches a directory finds all four."""
    watched = place.directory / "watched"
    watched.mkdir(mode=0o700)
    arguments = [part.format(web=place.web) for part in UVICORN]
    with Manager(place.directory, f'\n[watch]\ndirectory = "{watched}"\n') as manager:
        with place.program(None, *arguments, TELEMETRY_ADDRESS=f"unix:{watched}/web.sock") as server:
            when_up(place.web, server.said)
            requests_to_all(place.web, workers=4, at_least=80)
            server.check_processes()
            place.check_all_arrived(manager)
            server.end()
        place.check_all_arrived(manager)
        place.check_nothing_left(manager)
    assert not list(watched.iterdir()), "a socket is left"


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_serving_at_import_calls_the_manager(place: Place, preload: tuple[str, ...]) -> None:
    arguments = [part.format(web=place.web) for part in (*GUNICORN, *preload, "web_serving:app")]
    with Manager(place.directory) as manager:
        with place.program(manager, *arguments) as server:
            when_up(place.web, server.said)
            requests_to_all(place.web, workers=2, at_least=40)
            server.check_processes()
            server.end()
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)
