"""Settings from the program, in the place of variables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ._loader import NATIVE, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = "TELEMETRY_"

SETTINGS = {
    name: PREFIX + name.upper()
    for name in (
        "address",
        "allow",
        "backend",
        "batch_delay_ms",
        "deny",
        "disabled",
        "exit_timeout_ms",
        "insecure",
        "labels",
        "manager",
        "manager_uid",
        "max_buffer",
        "on_fork",
        "overflow",
        "pool",
        "ready_file",
        "record_stacktrace",
        "resource_interval_ms",
        "sampling_patterns",
        "sampling_rate",
        "span_ids",
        "stall_ms",
        "strict",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "tls_server_name",
        "token_fd",
        "token_file",
        "worker_id",
    )
}
"""Names of settings and the variables that they stand in for."""

_UNSET: Any = ...
"""What was not given, which is not ``None``."""


def configure(
    *,
    address: str | None = _UNSET,
    allow: str | Iterable[str] | None = _UNSET,
    backend: str | Iterable[str] | None = _UNSET,
    batch_delay_ms: int | None = _UNSET,
    deny: str | Iterable[str] | None = _UNSET,
    disabled: bool | None = _UNSET,
    exit_timeout_ms: int | None = _UNSET,
    insecure: bool | None = _UNSET,
    labels: str | Mapping[str, str] | None = _UNSET,
    manager: str | Iterable[str] | None = _UNSET,
    manager_uid: int | None = _UNSET,
    max_buffer: int | None = _UNSET,
    on_fork: str | None = _UNSET,
    overflow: str | None = _UNSET,
    pool: str | None = _UNSET,
    ready_file: str | os.PathLike[str] | None = _UNSET,
    record_stacktrace: bool | None = _UNSET,
    resource_interval_ms: int | None = _UNSET,
    sampling_patterns: str | Mapping[str, float] | None = _UNSET,
    sampling_rate: float | None = _UNSET,
    span_ids: str | None = _UNSET,
    stall_ms: int | None = _UNSET,
    strict: bool | None = _UNSET,
    tls_ca: str | os.PathLike[str] | None = _UNSET,
    tls_cert: str | os.PathLike[str] | None = _UNSET,
    tls_key: str | os.PathLike[str] | None = _UNSET,
    tls_server_name: str | None = _UNSET,
    token_fd: int | None = _UNSET,
    token_file: str | os.PathLike[str] | None = _UNSET,
    worker_id: str | None = _UNSET,
    **unknown: object,
) -> None:
    """Set what the environment would: each argument stands in for its ``TELEMETRY_`` variable and wins over it.

    Arguments of ``start``, ``connect`` and ``serve`` win over these, these over variables, those over
    defaults. ``None`` gives a setting back to its variable. Calls add up; one that raises changes nothing.

    Before anything is started and the first event, all may be set. After the first event, or with a backend
    that is an object, all but ``max_buffer`` and ``overflow``, with which the queue is made; sampling and
    filters apply from then on. While telemetry is connected or serves, only ``exit_timeout_ms``, ``on_fork``,
    ``record_stacktrace``, ``span_ids`` and ``strict`` may change. Forked children have what their parent has.

    Raises ``TypeError`` for a name or a type that is wrong, ``ValueError`` for a value, with what is allowed,
    and ``RuntimeError`` for what cannot change any more.

    Example::

        telemetry.configure(sampling_patterns={"python.*": 0.1}, deny=["debug.*"], exit_timeout_ms=200)
    """
    given = {name: value for name, value in locals().items() if name in SETTINGS and value is not _UNSET}
    for name in unknown:
        raise TypeError(f"configure: {name!r} is no setting; expected {_or_nearest(name)}")
    changes = {SETTINGS[name]: None if value is None else _text(name, value) for name, value in given.items()}
    if NATIVE:
        native.configure(changes)


def _text(name: str, value: Any) -> str:
    """A value as its variable has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, os.PathLike) and name in ("ready_file", "tls_ca", "tls_cert", "tls_key", "token_file"):
        return str(os.fspath(value))
    if isinstance(value, Mapping) and name == "sampling_patterns":
        return ",".join(f"{pattern}={rate!r}" for pattern, rate in value.items())
    if isinstance(value, Mapping) and name == "labels":
        wrong = [text for pair in value.items() for text in pair if not isinstance(text, str) or "," in text]
        if not wrong and not any("=" in key for key in value):
            return ",".join(f"{key}={text}" for key, text in value.items())
        raise TypeError(f"configure: labels={value!r} is not allowed; expected texts without commas, and names without =")
    if isinstance(value, (list, tuple, set, frozenset)) and name in ("allow", "backend", "deny", "manager"):
        wrong = [item for item in value if not isinstance(item, str) or "," in item]
        if not wrong:
            return ",".join(value)
        raise TypeError(f"configure: {name}={value!r} is not allowed; expected texts without commas, not {wrong[0]!r}")
    hint = "; an object is put in force by set_backend()" if name == "backend" else ""
    raise TypeError(f"configure: {name}={value!r} is not allowed; expected a text, a number or what the documentation says, not {type(value).__name__}{hint}")


def _or_nearest(name: str) -> str:
    """What was meant, or else all there is."""
    from difflib import get_close_matches

    near = get_close_matches(name, SETTINGS, 1)
    return f"{near[0]!r}?" if near else f"one of {', '.join(SETTINGS)}"


__all__ = ["SETTINGS", "configure"]
