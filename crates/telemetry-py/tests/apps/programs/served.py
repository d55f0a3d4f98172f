"""Serves 20 events, and ends once a manager has taken them all: `served.py SECONDS` at most."""

import sys
import time

import telemetry_py as telemetry
from witness import work

telemetry.start()

for _ in range(20):
    work()

patient_until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < patient_until:
    # With nobody to send to a flush does not wait.
    if telemetry.stats()["clients"] and telemetry.flush(1.0, acknowledged=True):
        sys.exit(0)
    time.sleep(0.05)
sys.exit(f"nobody took them: {telemetry.stats()['connect_error']}")
