"""The command ``python -m telemetry_py``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from . import doctor, emit, tail

WORKS, FAILS, CANNOT = 0, 1, 2
"""Exit status: it works; it works in part; it cannot, or the command line is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m telemetry_py",
        description="See what telemetry is configured to do, and try it.",
        epilog="Settings come from TELEMETRY_* variables; options win over them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    said = commands.add_parser(
        "doctor",
        help="what is configured, from where, and whether it works",
        description="Say what is configured, from where, what is wrong, and whether the manager can be reached.",
        epilog="Exit status: 0 it works, 1 it works but something is wrong or nothing is configured, 2 it does not work.",
    )
    _manager(said)
    _timeout(said, 3.0)
    said.add_argument("--json", action="store_true", help="one JSON object instead of text")
    said.set_defaults(run=lambda given: doctor.run(given.manager, given.timeout, given.json))

    seen = commands.add_parser(
        "tail",
        help="the events of a manager as they come",
        description="Print the events that a manager dispatches, a line each, until Ctrl-C.",
        epilog="Exit status: 0 however the stream ends, 2 if there is none.",
    )
    seen.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        default=tail.DEFAULT,
        help=f"HTTP socket of a manager ([http] socket), such as unix:/run/app/http.sock, or its HTTP address ([http] listen), by default {tail.DEFAULT}",
    )
    seen.add_argument("--token-file", metavar="FILE", help="file with the operators' token, which an HTTP address asks for")
    seen.add_argument("--match", metavar="GLOB", default="*", help="only events whose name matches, such as 'snakepit.python.tool.*'")
    seen.add_argument("--json", action="store_true", help="lines as the manager sends them")
    _timeout(seen, 5.0)
    seen.set_defaults(run=lambda given: tail.run(given.address, given.match, given.timeout, given.json, given.token_file))

    sent = commands.add_parser(
        "emit",
        help="one event, and what became of it",
        description="Emit one event and say what became of it.",
        epilog="Exit status: 0 it was sent or delivered, 1 it was not, 2 nothing is configured to take it, or the command line is wrong.",
    )
    sent.add_argument("name", metavar="NAME", help="name of the event, such as tool.result_size")
    sent.add_argument("measurements", metavar="KEY=NUMBER", nargs="*", type=_entry, help="a measurement, such as bytes=512")
    sent.add_argument("--metadata", "-m", metavar="KEY=VALUE", action="append", default=[], type=_entry, help="metadata, such as tool=search; may be repeated")
    sent.add_argument("--correlation-id", metavar="ID", help="its correlation id")
    _manager(sent)
    _timeout(sent, 5.0)
    sent.set_defaults(run=emit.run_with)

    given = parser.parse_args(arguments)
    try:
        status: int = given.run(given)
    except KeyboardInterrupt:
        return 130
    return status


def _manager(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manager", metavar="ADDRESS", help="the manager to connect to, in place of TELEMETRY_MANAGER: unix:/path/to/manager.sock")


def _timeout(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=default, help="longest time to wait for an answer, by default %(default)g")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; expected seconds, above 0 and up to 3600")
    return seconds


def _entry(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; expected KEY=VALUE")
    return key, value


__all__ = ["main"]
