"""Serving events to a manager."""

from __future__ import annotations

import os

from . import _lifecycle
from ._loader import Server, native


def serve(
    address: str | None = None,
    *,
    ready_file: str | os.PathLike[str] | None = None,
    timeout: float = 5.0,
) -> Server:
    """Start to serve this process's events; a manager connects and collects them.

    ``address`` is ``unix:/path`` or a loopback ``ip:port``; by default ``TELEMETRY_ADDRESS``, or a
    free port of 127.0.0.1. Once the server listens, ``ready_file`` (by default
    ``TELEMETRY_READY_FILE``) holds the address. ``timeout`` is how many seconds to try for while
    the address is still in use.

    A second call returns the running server. With ``TELEMETRY_BACKEND`` set to something else than
    ``server``, or telemetry disabled, that is set up instead and the result has no address.

    Raises ``ValueError`` for an invalid address or environment variable, ``OSError`` if the address
    cannot be used.
    """
    path = None if ready_file is None else os.fspath(ready_file)
    server = native.serve(address, path, timeout)
    if server.address:
        _lifecycle.register()
    return server


__all__ = ["Server", "serve"]
