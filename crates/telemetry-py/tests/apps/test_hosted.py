"""Workers whose own gRPC server carries the stream, dialled by the real manager."""

from __future__ import annotations

import ast
import signal

import pytest
from patience import until
from place import Place
from real_manager import Manager

EVENTS = 20
"""What a worker does at once; little, for the tap of the manager has to keep up with what waited."""


@pytest.mark.parametrize("kind", ["aio", "threads"])
def test_every_event_arrives_once_though_the_manager_is_replaced(place: Place, kind: str) -> None:
    socket = place.directory / "hosted.sock"
    # Managers dial a name that is there only once they are listened to: what waits comes at once.
    name = place.directory / "name.sock"
    endpoint = f'\n[[endpoint]]\nworker_id = "hosted"\naddress = "unix:{name}"\n'
    with place.program(None, "python", "hosted.py", kind, f"unix:{socket}") as worker:
        until(lambda: "ready" in worker.said(), worker.said)

        def work() -> None:
            before = place.truth().total()
            worker.process.send_signal(signal.SIGUSR1)
            until(lambda: place.truth().total() == before + EVENTS, worker.said)

        def arrives(manager: Manager, count: int) -> None:
            until(lambda: manager.arrived.total() == count, lambda: f"{worker.said()}\n{manager.log()}")

        work()
        with Manager(place.directory, endpoint) as first:
            name.symlink_to(socket)
            arrives(first, EVENTS)
            work()
            arrives(first, 2 * EVENTS)
            assert first.stop(to_the_end=True) == 0, first.log()
            assert first.workers == {"hosted"}
        name.unlink()
        work()
        with Manager(place.directory, endpoint) as second:
            name.symlink_to(socket)
            arrives(second, EVENTS)
            work()
            assert worker.end() == 0, worker.said()
            second.arrived += first.arrived
            place.check_all_arrived(second)
            assert second.unknown() == 0, place.tell(second)
    ledger = ast.literal_eval(worker.said().removeprefix("ready\n"))
    assert ledger["sent"] == ledger["emitted"] == place.truth().total() == 4 * EVENTS
    assert (ledger["dropped"], ledger["queued"], ledger["control_error"]) == ({}, 0, None)
