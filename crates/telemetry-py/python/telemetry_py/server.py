"""Serving events to a manager."""

from __future__ import annotations

import os

from . import _lifecycle
from ._loader import Server, native


def serve(
    address: str | None = None,
    *,
    ready_file: str | os.PathLike[str] | None = None,
    timeout: float = 0.0,
) -> Server:
    """Start to serve this process's events; a manager connects and collects them.

    ``address`` is ``unix:/path`` or a loopback ``ip:port``; by default ``TELEMETRY_ADDRESS``, or a
    free port of 127.0.0.1. Once the server listens, ``ready_file`` (by default
    ``TELEMETRY_READY_FILE``) holds the address.

    An address that another process has, as the one that this one was forked from, is no error: the server
    gets one beside it (``/run/w.sock`` becomes ``/run/w.{pid}.sock``, a port becomes a free one), which is
    said once on stderr. ``timeout`` is how many seconds to try for the address itself before that, for a
    process whose predecessor is still on its way out.

    Without an address, and where ``TELEMETRY_MANAGER`` is set, this is :func:`telemetry_py.start`: the
    process connects to its manager, and the result has no address. A second call returns what runs. With
    ``TELEMETRY_BACKEND`` set to ``stderr``, ``memory`` or ``none``, or telemetry disabled, that is set up
    instead and the result has no address.

    A backend that :func:`set_backend` put in force is replaced: events go to the manager from now on. To have
    both, give :func:`set_backend` a ``CompositeBackend`` with a ``ServerBackend`` in it, which stays in force, or
    any backend once this has returned.

    Raises ``ValueError`` for an ``address`` that is none, or if telemetry runs otherwise already, ``TypeError``
    for an argument of another type, and ``OSError`` if ``address`` cannot be used. What the environment says
    wrong is told of on stderr.

    Example::

        with telemetry.serve() as server:
            print(server.address)           # 127.0.0.1:45123
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address={address!r} is not allowed; expected 'unix:/path' or 'ip:port'")
    path: object = os.fspath(ready_file) if isinstance(ready_file, os.PathLike) else ready_file
    if path is not None and not isinstance(path, str):
        raise TypeError(f"ready_file={ready_file!r} is not allowed; expected a path as text or as a Path")
    if not hasattr(type(timeout), "__float__") and not hasattr(type(timeout), "__index__"):
        raise TypeError(f"timeout={timeout!r} is not allowed; expected a number of seconds")
    server = native.serve(address, path, timeout)
    if server.is_running:
        _lifecycle.register()
    return server


__all__ = ["Server", "serve"]
