"""Workers whose own gRPC server carries the stream, dialled by the real manager."""

from __future__ import annotations

import ast

import pytest
from patience import until
from place import Place
from real_manager import Manager


@pytest.mark.parametrize("kind", ["aio", "threads"])
def test_every_event_arrives_once_though_the_manager_is_replaced(place: Place, kind: str) -> None:
    address = f"unix:{place.directory}/hosted.sock"
    endpoint = f'\n[[endpoint]]\nworker_id = "hosted"\naddress = "{address}"\n'
    with place.program(None, "python", "hosted.py", kind, address) as worker:
        with Manager(place.directory, endpoint) as first:
            until(lambda: first.arrived.total() > 200, lambda: f"{worker.said()}\n{first.log()}")
            assert first.stop(to_the_end=True) == 0, first.log()
            assert first.workers == {"hosted"}
        between = place.truth().total()
        until(lambda: place.truth().total() > between + 200, worker.said)
        with Manager(place.directory, endpoint) as second:
            until(lambda: second.arrived.total() > 400, lambda: f"{worker.said()}\n{second.log()}")
            assert second.get("/api/workers")[0]["worker_id"] == "hosted"
            worker.end()
            second.arrived += first.arrived
            place.check_all_arrived(second)
            assert second.unknown() == 0, place.tell(second)
    ledger = ast.literal_eval(worker.said())
    assert ledger["sent"] == ledger["emitted"] == place.truth().total()
    assert (ledger["dropped"], ledger["queued"], ledger["control_error"]) == ({}, 0, None)
