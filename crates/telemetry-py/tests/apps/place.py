"""Where a test happens: its directories, the environment of its programs, the truth, and the verdict."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from patience import until
from program import Program
from real_manager import Manager, when_left


class Place:
    """Directories of one test, and what is true in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.web = directory / "web.sock"
        """Where its web server listens."""
        self._truth = directory / "truth"
        self._temporary = directory / "tmp"
        self._messages = directory / "messages"
        for made in (self._temporary, self._messages):
            made.mkdir(mode=0o700)
        self._truth.touch()

    def environment(self, manager: Manager | None = None, **more: str) -> dict[str, str]:
        """That of a program; with a manager there is the one variable more."""
        environment = {
            **os.environ,
            "APPS_TRUTH": str(self._truth),
            "APPS_MESSAGES": str(self._messages),
            "TMPDIR": str(self._temporary),
            "XDG_RUNTIME_DIR": str(self._temporary),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        if manager:
            environment["TELEMETRY_MANAGER"] = f"unix:{manager.socket}"
        return {**environment, **more}

    def program(self, manager: Manager | None, *arguments: str, **more: str) -> Program:
        """A program that is told of the manager."""
        return Program(self.directory, *arguments, **self.environment(manager, **more))

    def truth(self) -> Counter[str]:
        """The tags of all events that programs were about to emit."""
        return Counter(self._truth.read_text().split("\n")[:-1])

    def check_all_arrived(self, manager: Manager) -> None:
        """Whether the manager dispatched each event once, those of processes that were killed included."""
        truth = self.truth()
        assert truth, "nothing was emitted"
        until(lambda: manager.arrived == truth or manager.left_out, lambda: self.tell(manager))
        self._check_nothing_extra(manager, truth)
        assert [totals["ledger_difference"] for totals in manager.totals()] in ([0], [0, 0]), manager.totals()

    def check_last_words(self, manager: Manager) -> None:
        """Whether all processes have left, and nothing of them is unknown: each said a last word, or what it left
        was read."""
        when_left(manager)
        assert manager.unknown() == 0, self.tell(manager)

    def check_all_arrived_by_the_end(self, manager: Manager) -> None:
        """As `check_all_arrived`, of a manager that has ended: what its workers did at their end included."""
        truth = self.truth()
        self._check_nothing_extra(manager, truth)
        assert manager.arrived == truth, f"missing: {truth - manager.arrived}\n{manager.log()}"

    def check_spans(self, manager: Manager, operation: str) -> list[dict[str, Any]]:
        """Whether there is exactly one whole span around each event that was emitted: one start and one end
        with its correlation id, no more and no less. Returns the ends."""
        truth = self.truth()

        def ends() -> list[dict[str, Any]]:
            return manager.named(f"{operation}.stop") + manager.named(f"{operation}.exception")

        until(lambda: len(ends()) >= truth.total(), lambda: self.tell(manager))
        inside = Counter(event["correlation_id"] for event in manager.named("apps.work"))
        assert inside.total() == truth.total() and set(inside.values()) == {1}, inside.most_common(3)
        assert Counter(event["correlation_id"] for event in manager.named(f"{operation}.start")) == inside
        assert Counter(event["correlation_id"] for event in ends()) == inside
        return ends()

    def _check_nothing_extra(self, manager: Manager, truth: Counter[str]) -> None:
        assert not manager.left_out, f"the test read too slowly: {manager.left_out}"
        assert not manager.arrived - truth, f"twice or never emitted: {manager.arrived - truth}"

    def tell(self, manager: Manager) -> str:
        """What is missing, and what everybody said."""
        truth = self.truth()
        missing = truth - manager.arrived
        by_process = Counter(tag.split("-")[0] for tag in missing.elements())
        said = "".join(file.read_text()[-3000:] for file in self.directory.glob("output-*"))
        workers = json.dumps(manager.get("/api/workers"), indent=1)[:6000]
        return (
            f"{missing.total()} of {truth.total()} events are missing, by process {dict(by_process)}; "
            f"unknown {manager.unknown()}\n{said}\n{manager.log()}\n{workers}"
        )

    def check_nothing_left(self, manager: Manager, *, to_the_end: bool = False) -> None:
        """Stops the manager; no file of telemetry's may be left then, wherever programs keep theirs."""
        assert manager.stop(to_the_end=to_the_end) == 0, manager.log()
        left = sorted(path.name for path in manager.run_dir.iterdir())
        # What says who holds the directory, and the token of operators.
        assert left == ["manager.lock", "token"], left
        # A signal leaves those of multiprocessing itself.
        temporary = [str(path) for path in self._temporary.iterdir() if not path.name.startswith("pymp-")]
        assert not temporary, temporary
