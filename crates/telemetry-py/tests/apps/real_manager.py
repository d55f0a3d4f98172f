"""The real command `telemetry manager`, with a configuration of its own, and what it dispatched."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from patience import PATIENCE, until
from processes_seen import below

CONFIGURATION = """
[manager]
node = "apps"
run_dir = "{run_dir}"
[http]
listen = "127.0.0.1:0"
public = ["metrics", "healthz", "api"]
[catalog.keys]
tag = {{ label = false }}
[catalog.events]
"apps.work" = {{ metadata = ["tag"] }}
"""


class Manager:
    """A manager of which every dispatched event of a worker is kept."""

    def __init__(self, directory: Path, more: str = "", **environment: str) -> None:
        """Starts one below `directory` with `more` in its configuration; returns once it listens."""
        self.run_dir = directory / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.socket = self.run_dir / "manager.sock"
        self.arrived: Counter[str] = Counter()
        """How often each tag came."""
        self.workers: set[str] = set()
        """Ids of the workers that they came from."""
        self.events: list[dict[str, Any]] = []
        """All events of workers, those of spans as well, as the tap shows them."""
        self.left_out: list[str] = []
        """Lines of the tap that say that it was too slow: the test's fault."""
        configuration = directory / "telemetry.toml"
        configuration.write_text(CONFIGURATION.format(run_dir=self.run_dir) + more)
        self._log = directory / "manager.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [os.environ["APPS_COMMAND"], "manager", "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        try:
            self._listen()
        except BaseException:
            self._kill()
            raise

    def _listen(self) -> None:
        """Begins to hear what it dispatches."""
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), f"{line}\n{self.log()}"
        self.authority = line.strip().removeprefix("listening on http://")
        self._tap = http.client.HTTPConnection(self.authority, timeout=None)
        self._tap.request("GET", "/api/tap?match=snakepit.python.*")
        answer = self._tap.getresponse()
        assert answer.status == 200, answer.read()
        self._reader = threading.Thread(target=self._read, args=(answer,), daemon=True)
        self._reader.start()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        try:
            for line in answer:
                event = json.loads(line)
                if "dropped" in event:
                    self.left_out.append(line.decode())
                else:
                    self.events.append(event)
                    if "tag" in event["metadata"]:
                        self.workers.add(event["metadata"]["worker_id"])
                        self.arrived[event["metadata"]["tag"]] += 1
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            # The manager is gone, and perhaps within a line.
            pass

    @contextlib.contextmanager
    def tap(self, match: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Hears the events whose names match, from now on; fails if none comes for long."""
        connection = http.client.HTTPConnection(self.authority, timeout=PATIENCE)
        connection.request("GET", "/api/tap?match=" + quote(match))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        try:
            yield map(json.loads, answer)
        finally:
            answer.close()
            connection.close()

    def get(self, path: str) -> Any:
        """What its HTTP server answers, read as JSON."""
        connection = http.client.HTTPConnection(self.authority, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return json.loads(body)
        finally:
            connection.close()

    def named(self, name: str) -> list[dict[str, Any]]:
        """The events of one name, without its first two parts, that came so far."""
        return [event for event in list(self.events) if event["name"] == f"snakepit.python.{name}"]

    def streaming(self) -> set[int]:
        """The processes whose streams are open."""
        return {worker["pid"] for worker in self.get("/api/workers") if worker["state"] == "streaming"}

    def totals(self) -> list[dict[str, Any]]:
        """The accounts of each pool, one of which is of the workers without."""
        return [pool["totals"] for pool in self.get("/api/pools")]

    def unknown(self) -> int:
        """Processes of which it says that it does not know all, and events that it says are lost."""
        return sum(
            totals["unaccounted_incarnations"]
            + totals["lost_at_crash"]
            + totals["ledger"]["gaps"]
            + sum(totals["ledger"]["rejected"].values())
            + sum(totals["reported"]["dropped"].values())
            for totals in self.totals()
        )

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text()[-4000:]

    def stop(self, *, to_the_end: bool = False) -> int:
        """Ends it in order; returns its exit code. What it dispatches meanwhile is heard only `to_the_end`,
        for which it waits some seconds."""
        if not to_the_end and self._tap.sock:
            self._tap.sock.shutdown(socket.SHUT_RDWR)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._tap.close()
        self.process.stdout.close()
        return code

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self.stop(to_the_end=True)

    def _kill(self) -> None:
        """Ends it, and what its pools started, which would outlive it."""
        if self.process.poll() is not None:
            return
        # It first, or it would replace them.
        family = [process.pid for process in below(self.process.pid)]
        self.process.kill()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def when_left(manager: Manager) -> None:
    """Waits until all its workers have left, so that their accounts are closed."""
    until(lambda: manager.get("/api/workers") == [], lambda: json.dumps(manager.get("/api/workers"), indent=1))
