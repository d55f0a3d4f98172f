"""Stock workers: the manager dials a grpcio server and dispatches what Google's protobuf wrote, as it was meant."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grpcio_worker import GrpcioWorker
from place import Place
from random_events import EVENTS, MAX_FIELDS, Drawn, Source, seed
from real_manager import Manager

BATCH = 100
"""Events that are under way at once: a tap keeps 256 for who reads it."""
KEYS = [f"random_{number}" for number in range(2 * MAX_FIELDS)]
"""Keys of measurements; a manager lets no other ones through than those of its catalog."""
ENDPOINT = '[[endpoint]]\nworker_id = "grpcio"\naddress = {address}\n'
UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

SOCKETS = ["worker.sock", "with some spaces", "per%cent", "per%20cent", "@at@", "co:lon", "[brackets]", "a?b#c", "ünïcode"]


def shown(text: str) -> str:
    """As the API shows a text: what a terminal obeys is spelt."""
    return UNSAFE.sub(lambda found: f"\\u{{{ord(found[0]):04X}}}", text)


def endpoint(address: str) -> str:
    return ENDPOINT.format(address=json.dumps(address, ensure_ascii=False))


def catalog(source: Source) -> str:
    """Names and keys of the events, as a configuration."""
    keys = (f'[catalog.keys.{key}]\nunit = "none"\nkind = "none"\n' for key in KEYS)
    events = (f'[catalog.events."{name}"]\nmeasurements = {json.dumps(KEYS)}\n' for name in source.names)
    return "".join([*keys, *events])


def check(event: Drawn, timestamp_ns: int, heard: dict[str, Any], of_manager: dict[str, str]) -> None:
    """Whether what was dispatched is what was meant, and beside it what the manager says of the worker."""
    assert heard["name"] == f"snakepit.python.{event.name}"
    assert heard["timestamp_ns"] == timestamp_ns
    assert heard["correlation_id"] == shown(event.correlation_id)
    fields = {"timestamp_ns": str(timestamp_ns or ""), "correlation_id": event.correlation_id}
    metadata = event.metadata | {key: text for key, text in fields.items() if text} | of_manager
    assert heard["metadata"] == {shown(key): shown(text) for key, text in metadata.items()}
    meant = {key: shown(value) if isinstance(value, str) else value for key, value in event.measurements.items()}
    # By their texts, which tell -0.0 from 0.0 and 1.0 from 1, and are those of one number only.
    assert {key: repr(value) for key, value in heard["measurements"].items()} == {
        key: repr(value) for key, value in meant.items()
    }


def heard_from(tap: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    heard = list(itertools.islice(tap, count))
    assert not any("dropped" in event for event in heard), "the tap was too slow: the test's fault"
    return heard


def test_random_events_are_dispatched_as_they_were_meant(place: Place) -> None:
    source = Source(seed(), KEYS, names=200)
    more = catalog(source)
    with (
        GrpcioWorker(f"unix:{place.directory}/worker.sock") as worker,
        Manager(place.directory, more + endpoint(worker.address)) as manager,
        manager.tap("snakepit.python.*") as tap,
    ):
        worker.send([Drawn(source.names[0], {}, {}, "").message().SerializeToString()])
        of_manager = heard_from(tap, 1)[0]["metadata"]
        assert of_manager["worker_id"] == "grpcio"
        for _ in range(EVENTS // BATCH):
            drawn = [(source.draw(), source.int64()) for _ in range(BATCH)]
            worker.send(source.serialized(event.message(timestamp_ns=time)) for event, time in drawn)
            for (event, time), heard in zip(drawn, heard_from(tap, BATCH), strict=True):
                check(event, time, heard, of_manager)
        (known,) = manager.get("/api/workers")
        assert known["ledger"]["received"] == known["ledger"]["dispatched"] == EVENTS + 1, known
        assert worker.streams == 1


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_of_any_name_is_dialled(place: Place, name: str) -> None:
    check_dialled(place, f"unix:{place.directory}/{name}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_dialled(place: Place, host: str) -> None:
    check_dialled(place, f"{host}:0")


def check_dialled(place: Place, address: str) -> None:
    try:
        worker = GrpcioWorker(address)
    except RuntimeError as error:
        pytest.skip(f"grpcio cannot listen there: {error}")
    with worker, Manager(place.directory, endpoint(worker.address)) as manager, manager.tap("*.work") as tap:
        event = Drawn("apps.work", {}, {"tag": "%2F"}, "an id")
        worker.send([event.message(timestamp_ns=1).SerializeToString()])
        (heard,) = heard_from(tap, 1)
        assert heard["metadata"]["tag"] == "%2F"
        assert heard["correlation_id"] == "an id"
