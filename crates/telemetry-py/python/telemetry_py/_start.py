"""Starting telemetry: what the environment says, or a manager by name."""

from __future__ import annotations

from . import _lifecycle
from ._loader import native


def start() -> None:
    """Start telemetry as the environment says.

    With ``TELEMETRY_MANAGER`` this process connects to its manager, with ``TELEMETRY_ADDRESS`` it serves
    there, with ``TELEMETRY_BACKEND=stderr`` events become lines. Where nothing is said, nothing is started,
    with one warning on stderr.

    Returns at once, whether there is a manager or not: events wait for it, and it is looked for as long as
    the process lives. A second call does nothing. The place for it is the top of a module: it may run again
    in every child process, and simply works. A forked child of a connected process connects by itself, with
    its first event.

    Never raises. Variables that are wrong or unknown are told of on stderr, once each, and have their
    defaults; with ``TELEMETRY_STRICT=1`` they raise ``ValueError``.

    Example::

        telemetry.start()
    """
    if native.start():
        _lifecycle.register()


def connect(address: str | None = None) -> None:
    """Connect to the manager at ``address``; for programs that know better than the environment.

    ``address`` is ``unix:/path``, or several of which any will do, separated by commas; by default
    ``TELEMETRY_MANAGER``. The rest is as with :func:`start`; with ``TELEMETRY_BACKEND`` set to ``stderr``,
    ``memory`` or ``none``, or telemetry disabled, that is set up instead.

    It replaces a backend that :func:`set_backend` put in force, as :func:`serve` does.

    Raises ``ValueError`` for an address that can never be connected to, and if this process is connected
    elsewhere, or serves, already; ``TypeError`` for one that is no text.

    Example::

        telemetry.connect("unix:/run/user/1000/telemetry/manager.sock")
        assert telemetry.stats()["manager"] == "unix:/run/user/1000/telemetry/manager.sock"
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address={address!r} is not allowed; expected 'unix:/path', or several separated by commas")
    if native.connect(address):
        _lifecycle.register()


__all__ = ["connect", "start"]
