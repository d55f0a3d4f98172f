"""A worker that serves, emits the event in ``EXACT_EVENT`` (JSON) once, and stays until SIGTERM."""

import json
import os
import signal
import threading

import telemetry_py as telemetry

asked_to_end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked_to_end.set())
telemetry.serve()
event = json.loads(os.environ["EXACT_EVENT"])
telemetry.emit(
    event["name"],
    event["measurements"],
    event["metadata"],
    correlation_id=event["correlation_id"],
)
asked_to_end.wait()
