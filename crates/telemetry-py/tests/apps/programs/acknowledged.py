"""Emits, waits for the manager's word, says so, and once it is told to go on does that again and ends at once."""

import os
import sys
import time

import telemetry_py as telemetry
from witness import work

telemetry.start()

for answer in ("first", "second"):
    for _ in range(20):
        work()
    deadline = time.monotonic() + 30
    # With nobody to send to a flush does not wait, and one whose manager dies meanwhile ends.
    while not (telemetry.stats()["clients"] and telemetry.flush(30, acknowledged=True)):
        assert time.monotonic() < deadline, telemetry.stats()
        time.sleep(0.01)
    print(answer, flush=True)
    sys.stdin.readline()
os._exit(0)
