"""A script of 20 events that takes so many milliseconds: `script.py MILLISECONDS`."""

import sys
import time

import telemetry_py as telemetry
from witness import work

telemetry.start()

for _ in range(20):
    work()
    time.sleep(int(sys.argv[1]) / 20_000)
