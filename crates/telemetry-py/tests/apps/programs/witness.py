"""One piece of work: writes down that it happens, outside of telemetry, and then emits its event.

No program of these tests emits in any other way, so the file is the truth.
"""

import os
import secrets

import telemetry_py as telemetry


def work() -> int:
    """Works; returns the process that did."""
    tag = f"{os.getpid()}-{secrets.token_hex(6)}"
    truth = os.open(os.environ["APPS_TRUTH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(truth, tag.encode() + b"\n")
    os.close(truth)
    telemetry.emit("apps.work", metadata={"tag": tag})
    return os.getpid()
