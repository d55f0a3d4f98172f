"""Rows of the report, in the JSON that all benchmark suites write. Verdicts are left to its reader."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

from measure import Comparison

Row = dict[str, Any]
Bound = dict[str, Any]

TOOLS = ["opentelemetry-sdk", "prometheus-client", "statsd", "structlog", "protobuf", "grpcio"]
"""Packages whose version belongs to the figures."""


def ratio_at_least(least: float) -> Bound:
    """A floor of how many times better ours is."""
    return {"subject": "ratio", "at_least": least}


def ratio_at_most(most: float) -> Bound:
    """A ceiling of a price."""
    return {"subject": "ratio", "at_most": most}


def value_at_most(most: float) -> Bound:
    """A ceiling of our own figure, in its unit."""
    return {"subject": "value", "at_most": most}


def gain(
    bench: str,
    peer: str,
    comparison: Comparison,
    *,
    targets: list[str] | None = None,
    floor: list[Bound] | None = None,
    moonshot: list[Bound] | None = None,
    note: str | None = None,
) -> Row:
    """A row that says how many times cheaper ours is."""
    return {
        "targets": targets or [],
        "bench": bench,
        "ours": {"value": round(comparison.ours_ns, 1), "unit": "ns"},
        "peer": {"name": peer, "value": round(comparison.peer_ns, 1), "unit": "ns"},
        "ratio": _rounded(comparison.ratio),
        "floor": floor or [],
        "moonshot": moonshot or [],
        "note": note,
    }


def price(bench: str, peer: str, comparison: Comparison, **more: Any) -> Row:
    """A row that says how many times as dear ours is."""
    return {**gain(bench, peer, comparison, **more), "ratio": _rounded(comparison.price), "better": "lower"}


def figure(bench: str, value: float, unit: str, **more: Any) -> Row:
    """A row with a figure of ours and no peer."""
    return {"bench": bench, "ours": {"value": round(value, 4), "unit": unit}, **more}


def skipped(bench: str, reason: str, targets: list[str] | None = None) -> Row:
    """A row that could not run."""
    return {"targets": targets or [], "bench": bench, "verdict": {"is": "skipped", "reason": reason}}


def environment(pinned: str, *, optimised: bool) -> dict[str, Any]:
    """What the figures depend on, as far as Python knows it."""
    tools = {"python": f"{platform.python_version()} ({pinned})"}
    for package in TOOLS:
        try:
            tools[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"tools": tools, "optimised": optimised}


def progress(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def _rounded(ratio: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in ratio.items()}
