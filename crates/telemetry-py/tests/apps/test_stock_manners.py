"""How the manager treats a stock worker: it is not pinged while it is idle, not given up while it is stopped for a
while, and found again when it was started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grpcio_worker import GrpcioWorker
from patience import PATIENCE, until
from place import Place
from program import PROGRAMS
from random_events import Drawn
from real_manager import Manager

IDLE = 36.0
"""Seconds; a server with the options below ends a connection at the third ping of an idle one, 10 s apart."""
TOUCHY = [
    ("grpc.http2.min_ping_interval_without_data_ms", 3_600_000),
    ("grpc.http2.max_ping_strikes", 1),
]


def encoded(tag: str) -> bytes:
    return Drawn("apps.work", {}, {"tag": tag}, "").message().SerializeToString()


def endpoint(worker: str, address: str) -> str:
    return f'[[endpoint]]\nworker_id = "{worker}"\naddress = "{address}"\n'


def known(manager: Manager, worker: str) -> dict[str, object]:
    (found,) = (it for it in manager.get("/api/workers") if it["worker_id"] == worker)
    return found


class StockWorker:
    """A process of `programs/stock.py`."""

    def __init__(self, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "stock.py"), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def emit(self, tag: str) -> None:
        self.process.stdin.write(encoded(tag).hex() + "\n")
        self.process.stdin.flush()

    def stand_still(self, seconds: float) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> StockWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def stays_connected(place: Place, seconds: float, options: Sequence[tuple[str, int]]) -> None:
    with (
        GrpcioWorker("127.0.0.1:0", options) as worker,
        Manager(place.directory, endpoint("idle", worker.address)) as manager,
    ):
        until(lambda: known(manager, "idle")["state"] == "streaming", manager.log)
        time.sleep(seconds)
        told = known(manager, "idle")
        assert told["legacy"] is True
        assert (told["state"], told["reconnects"], told["last_error"]) == ("streaming", 0, None), told
        worker.send([encoded("late")])
        until(lambda: manager.arrived["late"], manager.log)
        assert worker.streams == 1
        print(f"idle for {seconds} s: {worker.streams} stream, {told['reconnects']} reconnects, {told['last_error']}")


def test_an_idle_stock_server_stays_connected(place: Place) -> None:
    stays_connected(place, IDLE, TOUCHY)


@pytest.mark.long
def test_a_stock_server_without_options_stays_connected_however_long_it_is_idle(
    place: Place, request: pytest.FixtureRequest
) -> None:
    stays_connected(place, request.config.getoption("--idle"), ())


def stop_and_go(manager: Manager, worker: StockWorker, name: str, seconds: float) -> None:
    worker.emit(f"{name}-before")
    until(lambda: manager.arrived[f"{name}-before"], manager.log)
    until(lambda: known(manager, name)["legacy"], manager.log)
    worker.stand_still(seconds)
    for number in range(5):
        worker.emit(f"{name}-{number}")
    until(
        lambda: all(manager.arrived[f"{name}-{number}"] == 1 for number in range(5)),
        lambda: f"stopped for {seconds:.1f} s: {json.dumps(known(manager, name))}\n{manager.log()}",
    )


def test_a_stock_worker_that_was_stopped_for_a_while_loses_nothing(place: Place) -> None:
    with StockWorker() as worker, Manager(place.directory, endpoint("w", f"127.0.0.1:{worker.port}")) as manager:
        stop_and_go(manager, worker, "w", random.uniform(13, 17))


@pytest.mark.long
def test_twenty_stops_of_stock_workers_lose_nothing(place: Place) -> None:
    workers = {f"w{number}": StockWorker() for number in range(20)}
    places = "".join(endpoint(name, f"127.0.0.1:{worker.port}") for name, worker in workers.items())
    try:
        with Manager(place.directory, places) as manager, ThreadPoolExecutor(len(workers)) as threads:
            stops = [
                threads.submit(stop_and_go, manager, worker, name, random.uniform(13, 17))
                for name, worker in workers.items()
            ]
            for stop in stops:
                stop.result()
    finally:
        for worker in workers.values():
            worker.kill()


def test_a_stock_worker_that_is_started_again_streams_within_seconds(place: Place) -> None:
    worker = StockWorker()
    with Manager(place.directory, endpoint("w", f"127.0.0.1:{worker.port}")) as manager:
        try:
            worker.emit("before")
            until(lambda: manager.arrived["before"], manager.log)
            until(lambda: known(manager, "w")["legacy"], manager.log)
            worker.kill()
            worker = StockWorker(worker.port)
            # It has nothing to say, and sends no headers until it has.
            until(lambda: known(manager, "w")["state"] == "streaming", manager.log, seconds=5)
            worker.emit("after")
            until(lambda: manager.arrived["after"], manager.log)
        finally:
            worker.kill()


def test_a_ready_file_leads_to_a_stock_worker(place: Place) -> None:
    watched = place.directory / "watched"
    watched.mkdir(mode=0o700)
    with StockWorker() as worker, Manager(place.directory, f'[watch]\ndirectory = "{watched}"\n') as manager:
        ready: Path = watched / "w.ready"
        ready.write_text(f"127.0.0.1:{worker.port}\n")
        worker.emit("found")
        until(lambda: manager.arrived["found"], manager.log)
        assert manager.workers == {"w"}
        ready.unlink()
        until(lambda: manager.get("/api/workers") == [], manager.log)
