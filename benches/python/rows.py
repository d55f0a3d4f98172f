"""The comparisons of the suite: what is held against what, and how good it has to be."""

from __future__ import annotations

from pathlib import Path

import overhead
import peers
import telemetry_py as telemetry
from measure import Comparison, Effort, Subject, compare
from ours import disabled, emit_fresh, emit_prebuilt, kept_emit, kept_span, spans
from report import Row, figure, gain, price, progress, ratio_at_least, ratio_at_most, skipped, value_at_most
from worker import Worker

STEPS = "stand-in that builds the message in emit, as the stock worker does; ids given"
UUIDS = "stand-in that queues dicts; no id given, so it makes a uuid"
CHEAPEST = "stand-in that queues dicts; ids given: no uuid, no message"
EMIT_REFERENCE = "recorded reference: stock worker 2,500 ns waiting for a stream"
SPAN_REFERENCE = "recorded reference: stock worker 5,700 ns waiting for a stream"
MAX_QUEUED = 100_000


class Suite:
    """Rows that share one worker."""

    def __init__(self, worker: Worker, effort: Effort) -> None:
        self._worker = worker
        self._effort = effort
        self.rows: list[Row] = []

    def emit(self) -> None:
        """Events that are kept, while no stream is attached."""
        for shape, statements in (("prebuilt dicts", emit_prebuilt), ("fresh dicts", emit_fresh)):
            self._standin(f"emit, {shape} / {STEPS}", statements("emit"), True, [], [], [], EMIT_REFERENCE)
        no_id = emit_prebuilt(identified=False)
        self._standin(f"emit, prebuilt dicts / {UUIDS}", no_id, False, [], [], [], EMIT_REFERENCE)
        self._standin(f"emit, prebuilt dicts / {CHEAPEST}", emit_prebuilt(), False, [], [], [], None)

    def attached(self) -> None:
        """T4 and T5, while a manager reads along: our pump runs, on the other core if there is one."""
        self._worker.attach()
        note = "ours with a manager reading along; the stand-in waits for a stream, its cheapest state"
        emit_floor, emit_moonshot = [ratio_at_least(10), value_at_most(250)], [value_at_most(150)]
        prebuilt, fresh = emit_prebuilt(), emit_fresh()
        self._standin(f"emit, prebuilt dicts / {STEPS}, attached", prebuilt, True, ["T4"], emit_floor, emit_moonshot, note)
        # What Python takes to build the dicts is on both sides, and is not ours to bound.
        self._standin(f"emit, fresh dicts / {STEPS}, attached", fresh, True, [], [], [], note)
        self._standin(f"span / {STEPS}, attached", spans(identified=True), True, [], [], [], note)
        # The start and the end of the span around them.
        self._worker.before(1, events=2, total=0)
        with telemetry.span("bench"):
            self._peer(
                "emit in a span, with its ids / opentelemetry span, attached",
                lambda: kept_emit(self._worker, self._effort, emit_prebuilt()),
                peers.otel_span,
                targets=["T4"],
                floor=[ratio_at_least(40), value_at_most(250)],
                moonshot=emit_moonshot,
            )
            self._peer(
                "span, with ids and parent / opentelemetry span, attached",
                lambda: kept_span(self._worker, self._effort, spans(identified=False)),
                peers.otel_span,
                targets=["T5"],
                floor=[ratio_at_least(15), value_at_most(900)],
                moonshot=[value_at_most(500)],
            )
        self._worker.detach()

    def span(self) -> None:
        """Start and stop of a span, while no stream is attached."""
        for peer, identified in ((STEPS, True), (UUIDS, False)):
            statements = spans(identified=identified)
            self._standin(f"span / {peer}", statements, identified, [], [], [], SPAN_REFERENCE)
        self._standin(f"span / {CHEAPEST}", spans(identified=True), False, [], [], [], None)

    def informative(self) -> None:
        """Other libraries."""
        for name, peer in peers.INFORMATIVE.items():
            self._peer(f"emit / {name}", lambda: kept_emit(self._worker, self._effort, emit_prebuilt()), peer)

    def work(self, manager: Path, rounds: int, calls: int) -> None:
        """T11: what spans add to a millisecond of work."""
        bench = "spans around 1 ms of work, CPU added, our manager attached"
        progress(f"python: {bench}")
        found = overhead.measure(self._worker, manager, rounds, calls)
        self.rows.append(
            figure(
                bench,
                found.total,
                "%",
                targets=["T11"],
                floor=[value_at_most(0.9)],
                moonshot=[value_at_most(0.1)],
                note=f"{found.calls:.3f} % in the calls, {found.sending:.3f} % in sending; "
                f"runs with against runs without: {found.compared:+.2f} %",
            )
        )

    def off(self) -> None:
        """T6: `emit` while telemetry is off. Ends the worker's recording."""
        bench = "disabled emit / native no-op of the same shape"
        noop = getattr(telemetry._loader.native, "_noop", None)
        if noop is None:
            self.rows.append(skipped(bench, "this build has no native no-op", ["T6"]))
            return
        progress(f"python: {bench}")
        telemetry.set_backend(None)
        comparison = compare(disabled("emit", telemetry.emit), disabled("no-op", noop), self._effort)
        self.rows.append(
            price(
                bench,
                "native no-op",
                comparison,
                targets=["T6"],
                floor=[ratio_at_most(1.3)],
                moonshot=[ratio_at_most(1.0)],
                note="both with their share of the loop around them",
            )
        )

    def _standin(
        self, bench: str, statements: list[str], eager: bool, targets: list, floor: list, moonshot: list, note: str | None
    ) -> None:
        """Ours against a stand-in that runs the very same statements."""

        def peer() -> Subject:
            from standin import EagerStandin, Standin

            standin = (EagerStandin if eager else Standin)(MAX_QUEUED)
            spans_it = statements[0].startswith("with")
            queued = 0

            def before(calls: int) -> None:
                nonlocal queued
                if queued > MAX_QUEUED // 10:
                    standin.drain()
                    queued = 0
                queued += calls * (1 + spans_it)
                assert standin.dropped == 0

            from ours import INPUTS

            return Subject("stand-in", statements, {"emit": standin.emit, "span": standin.span, **INPUTS}, before)

        kept = kept_span if statements[0].startswith("with") else kept_emit
        ours = lambda: kept(self._worker, self._effort, statements)  # noqa: E731
        self._peer(bench, ours, peer, targets=targets, floor=floor, moonshot=moonshot, note=note)

    def _peer(self, bench: str, ours: object, peer: object, **more: object) -> None:
        """Ours against a library, if that is installed."""
        progress(f"python: {bench}")
        try:
            other = peer()
        except ImportError as error:
            self.rows.append(skipped(bench, f"{error.name} is not installed", more.get("targets")))
            return
        comparison: Comparison = compare(ours(), other, self._effort)
        self.rows.append(gain(bench, other.name, comparison, **more))
