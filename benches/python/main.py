"""The Python benchmark: `emit` and `span` beside what one would use instead, in one process.

    python benches/python/main.py [--quick] --manager PROGRAM --json PATH

Writes one JSON report and says on standard error what it does. Needs `telemetry_py`, built with
optimisation, and the packages of `requirements.txt`.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

from measure import FULL, QUICK, control, pin
from ours import emit_prebuilt, kept_emit
from report import environment, progress
from rows import Suite


def main() -> int:
    """Run the suite; 0 when it ran, whatever the figures say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures are rough")
    parser.add_argument("--optimised", action="store_true", help="the native module is a release build")
    parser.add_argument("--manager", type=Path, required=True, help="telemetry-benches, to play our manager")
    parser.add_argument("--json", type=Path, required=True, help="where the report goes")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL

    import burst
    import short
    from worker import Worker

    # Processes of their own, so before this one is pinned: they would inherit that.
    short_rows = short.rows(options.manager, quick=options.quick)
    progress("python: bursts")
    bursts = burst.table(options.manager, quick=options.quick)
    worker = Worker()
    # The server's thread and the manager may run anywhere; what is timed runs here.
    pinned = pin()
    gc.freeze()
    progress("python: control, emit against itself")
    checked = control(lambda: kept_emit(worker, effort, emit_prebuilt()), effort)
    suite = Suite(worker, effort)
    suite.emit()
    suite.span()
    suite.attached()
    suite.informative()
    suite.work(options.manager, *((4, 100) if options.quick else (20, 200)))
    balance = worker.close()
    progress(f"python: {balance}")
    suite.off()

    report = {
        "suite": "python",
        "quick": options.quick,
        "environment": environment(pinned, optimised=options.optimised),
        "control": checked,
        "rows": suite.rows + short_rows,
        "tables": [
            bursts,
            {"title": "Python: the ledger at the end", "columns": ["shown"], "rows": [[balance]]},
        ],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
