"""A worker without a framework: one line to be reachable, one to measure, one to report.

Run it alone (`python plain_worker.py`) or let a pool start it.
"""

import os
import random
import time

import telemetry_py as telemetry


@telemetry.span("tool.execution", {"tool": "sleep"})
def work(seconds: float) -> int:
    time.sleep(seconds)
    if random.random() < 0.05:
        raise RuntimeError("a made-up failure")
    return int(seconds * 1e6)


def main() -> None:
    server = telemetry.serve()
    print(f"worker {os.getpid()} can be reached at {server.address or 'stderr'}", flush=True)
    rounds = int(os.environ.get("PLAIN_WORKER_ROUNDS", "0"))
    done = 0
    while not rounds or done < rounds:
        done += 1
        with telemetry.correlation():
            try:
                size = work(random.uniform(0.001, 0.02))
            except RuntimeError:
                continue
            telemetry.emit("tool.result_size", {"bytes": size}, {"tool": "sleep"})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
