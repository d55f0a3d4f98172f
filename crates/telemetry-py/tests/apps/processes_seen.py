"""What the system says of processes: who belongs to whom, which threads, who is dead and not buried."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process as `/proc` shows it."""

    pid: int
    parent: int
    session: int
    state: str
    """One letter; `Z` is a zombie."""

    def command(self) -> str:
        """Its command line; empty when it is gone."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""

    def threads(self) -> list[str]:
        """Names of its threads; none when it is gone."""
        names = []
        try:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                names.append(Path(f"/proc/{self.pid}/task/{thread}/comm").read_text().strip())
        except OSError:
            pass
        return names

    def own_threads(self) -> list[str]:
        """Names of those threads that are telemetry's."""
        return sorted(name for name in self.threads() if name.startswith("telemetry"))


def all_processes() -> list[Process]:
    """All that there are."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        # The name, in parentheses, may hold anything.
        state, parent, _group, session = text[text.rindex(")") + 2 :].split()[:4]
        found.append(Process(int(entry), int(parent), int(session), state))
    return found


def below(pid: int) -> list[Process]:
    """The descendants of a process."""
    everyone = all_processes()
    family = {pid}
    while True:
        more = {process.pid for process in everyone if process.parent in family} - family
        if not more:
            return [process for process in everyone if process.pid in family - {pid}]
        family |= more


def of_session(session: int) -> list[Process]:
    """Those that belong to a session."""
    return [process for process in all_processes() if process.session == session]
