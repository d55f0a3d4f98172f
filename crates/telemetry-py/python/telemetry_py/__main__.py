"""``python -m telemetry_py``: what is configured and whether it works, events as they come, one event."""

from __future__ import annotations

import sys

from ._command import main

if __name__ == "__main__":
    sys.exit(main())
