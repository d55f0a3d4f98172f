"""``doctor``: what is configured, from where, what is wrong, and whether it works."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import sys
import sysconfig
from typing import Any

from .._loader import NATIVE, native
from . import target

SYMBOLS = {0: "works", 1: "works, but something is wrong", 2: "does not work"}


def run(manager: str | None, timeout: float, as_json: bool) -> int:
    """Prints the report; returns the exit status."""
    problem = target.use_manager(manager)
    if problem is not None:
        target.say(problem)
        return 2
    report = examined(manager, timeout)
    print(json.dumps(report, indent=2) if as_json else described(report))
    status: int = report["status"]
    return status


def examined(manager: str | None, timeout: float) -> dict[str, Any]:
    """The report as plain data."""
    from .. import __version__

    settings, backend, problems = native.settings()
    report: dict[str, Any] = {
        "version": __version__,
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        },
        "native": {"loaded": NATIVE, "file": getattr(native, "__file__", None) if NATIVE else None, "problem": None if NATIVE else _native_problem()},
        "settings": [
            {"variable": variable, "value": value, "source": "argument" if manager is not None and source == "configure" else source}
            for variable, value, source in settings
        ],
        "backend": backend,
        "problems": problems,
    }
    report["checks"] = _checks(backend, {variable: value for variable, value, _ in settings}, timeout) if NATIVE else []
    works = NATIVE and all(check["works"] for check in report["checks"])
    nothing = NATIVE and not report["checks"] and backend != "none"
    if nothing:
        report["problems"].append("nothing is configured: set TELEMETRY_MANAGER to unix:/path/to/manager.sock")
    report["status"] = 2 if not works else 1 if report["problems"] else 0
    return report


def described(report: dict[str, Any]) -> str:
    """The report for people."""
    python = report["python"]
    free = ", free-threaded" if python["free_threaded"] else ""
    lines = [
        f"telemetry_py  {report['version']}",
        f"Python        {python['version']} ({python['implementation']}{free}), {python['executable']}",
        f"native        {report['native']['file'] or 'not there: ' + str(report['native']['problem'])}",
        f"backend       {report['backend'] or 'none is chosen'}",
    ]
    told = [setting for setting in report["settings"] if setting["source"] != "default"]
    lines += ["", "settings"] + [f"  {it['variable']}={it['value'] or ''}  ({it['source']})" for it in told]
    lines += [f"  {len(report['settings']) - len(told)} others have their defaults"]
    if report["checks"]:
        lines += ["", "checks"] + [f"  {'ok' if it['works'] else 'FAILED'}  {it['what']}: {it['detail']}" for it in report["checks"]]
    if report["problems"]:
        lines += ["", "problems"] + [f"  {problem}" for problem in report["problems"]]
    return "\n".join([*lines, "", f"telemetry {SYMBOLS[report['status']]}"])


def _checks(backend: str | None, values: dict[str, str | None], timeout: float) -> list[dict[str, Any]]:
    """Tries each part of the backend."""
    checks = []
    for kind in (backend or "").split(","):
        if kind == "connect":
            checks.append(_connected(values.get("TELEMETRY_MANAGER"), timeout))
        elif kind == "server":
            checks.append(_served(values, timeout))
        elif kind not in ("", "none"):
            checks.append(_made(kind))
    return checks


def _check(what: str, problem: str | None, detail: str) -> dict[str, Any]:
    return {"what": what, "works": problem is None, "detail": problem or detail}


def _connected(manager: str | None, timeout: float) -> dict[str, Any]:
    """Connects to the manager as a worker does."""
    what = f"connect to {manager or 'a manager'}"
    if not manager:
        return _check(what, "TELEMETRY_MANAGER is not set", "")
    problem = target.connect(timeout)
    target.end()
    return _check(what, None if problem is None else _explained(manager, problem), "a manager answered and opened a stream")


def _explained(manager: str, problem: str) -> str:
    """What a person can do about it."""
    if "No such file" in problem:
        return f"nothing is there ({problem}); start the manager, or correct the path"
    if "refused this worker" in problem:
        return problem
    if "Connection refused" in problem or "ECONNREFUSED" in problem:
        return f"nobody listens there ({problem}); the manager has ended, or is another user's"
    if "ermission denied" in problem:
        return f"this user may not connect ({problem}); the socket or its directory belongs to another user"
    return problem


def _served(values: dict[str, str | None], timeout: float) -> dict[str, Any]:
    """Looks whether the address is free or served; binds nothing, so that no worker is disturbed."""
    address = values.get("TELEMETRY_ADDRESS")
    what = f"serve at {address or 'a private socket'}"
    if not address:
        return _check(what, None, "a unix socket that only this user can reach is made")
    has_token = values.get("TELEMETRY_TOKEN_FILE") or values.get("TELEMETRY_TOKEN_FD")
    is_insecure = (values.get("TELEMETRY_INSECURE") or "").lower() in ("1", "true", "yes", "on")
    if not address.startswith(("unix:", "/")) and not has_token and not is_insecure:
        return _check(what, "every user of this machine could read the events; set TELEMETRY_TOKEN_FILE, or TELEMETRY_INSECURE=1", "")
    try:
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            directory = os.path.dirname(os.path.abspath(path))
            if not os.path.isdir(directory):
                return _check(what, f"the directory {directory} is not there", "")
            if not os.access(directory, os.W_OK | os.X_OK):
                return _check(what, f"this user may not write to {directory}", "")
            connection = socket.socket(socket.AF_UNIX)
            where: Any = path
        else:
            host, _, port = address.rpartition(":")
            if port == "0":
                return _check(what, None, "a free port is taken")
            connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            where = (host.strip("[]"), int(port))
        with connection:
            connection.settimeout(timeout)
            connection.connect(where)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return _check(what, None, "the address is free")
        return _check(what, str(error), "")
    return _check(what, None, "a process serves there now; the next one gets an address beside it")


def _made(kind: str) -> dict[str, Any]:
    """Makes a backend that is an object."""
    from .. import backends

    name = {"stderr": "StderrBackend", "memory": "MemoryBackend", "otel": "OtelBackend", "statsd": "StatsdBackend", "grpc": "GrpcBackend"}[kind]
    try:
        backend = getattr(backends, name)()
    except Exception as error:
        return _check(f"make {name}", str(error), "")
    close = getattr(backend, "close", None)
    if callable(close):
        close()
    return _check(f"make {name}", None, "it can be made")


def _native_problem() -> str:
    """Why the native module cannot be loaded."""
    from importlib import import_module

    try:
        import_module("telemetry_py._native")
    except ImportError as error:
        return str(error)
    return "it was not loaded"
