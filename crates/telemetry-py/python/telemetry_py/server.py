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
    token_file: str | os.PathLike[str] | None = None,
    insecure: bool | None = None,
) -> Server:
    """Start to serve this process's events; a manager connects and collects them.

    ``address`` is ``unix:/path`` or a loopback ``ip:port``, with TLS any; by default ``TELEMETRY_ADDRESS``, or a unix socket
    that this process alone has, in a directory that its user alone can enter. Once the server listens,
    ``ready_file`` (by default ``TELEMETRY_READY_FILE``) holds the address.

    Every user of the machine can connect to a port. So it needs a token, in ``token_file`` (by default
    ``TELEMETRY_TOKEN_FILE``, or read from ``TELEMETRY_TOKEN_FD``), which a manager has to show as
    ``authorization: Bearer TOKEN``; or ``insecure=True`` (``TELEMETRY_INSECURE=1``), for stock managers, which
    show nothing. At a unix socket the system tells who connects, and nothing is shown.

    With ``TELEMETRY_TLS_CERT`` and ``TELEMETRY_TLS_KEY`` TLS is spoken at a port, which other machines may then
    reach (``0.0.0.0:7443``); with ``TELEMETRY_TLS_CA`` a manager has to show a certificate of that authority, and needs a
    token only if there is one. ``stats()["connect_error"]`` says why one was turned away.

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

    Raises ``ValueError`` for an ``address`` that is none, or a port with neither token nor ``insecure``, for a
    ``token_file`` without a token, or if telemetry runs otherwise already, ``TypeError``
    for an argument of another type, and ``OSError`` if ``address`` cannot be used. What the environment says
    wrong is told of on stderr.

    Example::

        with telemetry.serve() as server:
            print(server.address)           # unix:/run/user/1000/telemetry/worker-4711.sock
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address={address!r} is not allowed; expected 'unix:/path' or 'ip:port'")
    path = _path("ready_file", ready_file)
    token = _path("token_file", token_file)
    if insecure is not None and not isinstance(insecure, bool):
        raise TypeError(f"insecure={insecure!r} is not allowed; expected True or False")
    if not hasattr(type(timeout), "__float__") and not hasattr(type(timeout), "__index__"):
        raise TypeError(f"timeout={timeout!r} is not allowed; expected a number of seconds")
    server = native.serve(address, path, timeout, token, insecure)
    if server.is_running:
        _lifecycle.register()
    return server


def _path(name: str, given: object) -> str | None:
    """A path as text."""
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if path is not None and not isinstance(path, str):
        raise TypeError(f"{name}={given!r} is not allowed; expected a path as text or as a Path")
    return path


__all__ = ["Server", "serve"]
