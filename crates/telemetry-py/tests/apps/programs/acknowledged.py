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
    # With nobody to send to a flush does not wait.
    while not telemetry.stats()["clients"]:
        time.sleep(0.01)
    assert telemetry.flush(30, acknowledged=True), telemetry.stats()
    print(answer, flush=True)
    sys.stdin.readline()
os._exit(0)
