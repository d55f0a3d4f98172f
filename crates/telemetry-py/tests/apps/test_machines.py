"""A manager and workers on two machines, over TLS: connections are cut, the manager gets another address."""

from __future__ import annotations

import time

import machines
import pytest
from patience import until
from place import Place
from real_manager import Manager
from test_tls import ACCEPT, certificates, port, variables

NAME = "manager.telemetry.test"
SECONDS = 6
WORKS = f"""
import time
import telemetry_py as telemetry
from witness import work
telemetry.start()
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    work()
    time.sleep(0.002)
"""

pytestmark = pytest.mark.skipif(not machines.are_possible(), reason="only root can make a network, with `ip`")


def accept(into: object, address: str) -> str:
    return ACCEPT.format(certificates=into).replace("127.0.0.1", address)


def test_nothing_is_lost_between_machines_when_every_connection_is_cut(place: Place) -> None:
    with machines.Machine() as other:
        into = certificates(place, "web-1", "web-2", hosts=(NAME,))
        with Manager(place.directory, accept(into, other.ours[0])) as manager, machines.box(other.ours[0], 0, port(manager, "10.")) as way:
            other.call(NAME, other.ours[0])
            programs = [
                place.program(None, *other.command, "python", "-c", WORKS, **variables(into, worker, f"{NAME}:{way.port}"))
                for worker in ("web-1", "web-2")
            ]
            with programs[0], programs[1]:
                for _ in range(SECONDS - 1):
                    # The cable is cut every second; what is waited for is that it was used again before.
                    led = way.led
                    time.sleep(1)
                    way.cut()
                    until(lambda led=led: way.led > led, lambda: f"{way.led} connections")
                for program in programs:
                    assert program.wait() == 0, program.said()
            assert way.cuts >= SECONDS - 1
            place.check_all_arrived(manager)
            place.check_last_words(manager)


def test_a_manager_that_moves_is_found_by_its_name(place: Place) -> None:
    with machines.Machine() as other:
        first, second = other.ours
        into = certificates(place, "web-1", hosts=(NAME,))
        with Manager(place.directory, accept(into, first)) as manager:
            door = port(manager, "10.")
            with machines.box(second, 0, door) as new, machines.box(first, new.port, door) as old:
                other.call(NAME, first)
                environment = variables(into, "web-1", f"{NAME}:{old.port}")
                with place.program(None, *other.command, "python", "-c", WORKS, **environment) as program:
                    until(lambda: manager.arrived.total() > 100, manager.log)
                    assert (old.led, new.led) == (1, 0)
                    other.call(NAME, second)
                    old.close()
                    until(lambda: new.led > 0, manager.log)
                    assert program.wait() == 0, program.said()
                place.check_all_arrived(manager)
                place.check_last_words(manager)
