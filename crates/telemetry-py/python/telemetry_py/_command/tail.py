"""``tail``: the events of a manager as they come, from its HTTP socket or its HTTP address."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import sys
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

from . import target

DEFAULT = "http://127.0.0.1:9464"
"""Where a manager listens for HTTP if it is told nothing else."""

IDS = ("trace_id", "span_id", "parent_span_id", "phase")
"""What is said of the span of an event."""

NOT_SHOWN_TWICE = ("correlation_id", "worker_id")


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def run(address: str, match: str, timeout: float, as_json: bool, token_file: str | None = None) -> int:
    """Prints events until the manager, the reader or the person ends it; returns the exit status."""
    connection = _connection(address, timeout)
    if connection is None:
        target.say(
            f"{address!r} is not allowed; expected the HTTP socket of a manager ([http] socket), such as unix:/run/app/http.sock, "
            f"or its HTTP address ([http] listen), such as {DEFAULT}"
        )
        return 2
    try:
        headers = {} if token_file is None else {"Authorization": f"Bearer {_token(token_file)}"}
    except (OSError, ValueError) as error:
        target.say(f"token file {token_file}: {error}")
        return 2
    try:
        connection.request("GET", f"/api/tap?match={quote(match, safe='')}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            more = "; name that file with --token-file" if answer.status == 401 else ""
            target.say(f"{address}: {_problem(answer)}{more}")
            return 2
    except (OSError, http.client.HTTPException, ValueError) as error:
        target.say(f"{address}: {_reason(error)}; is a manager with [http] running there?")
        return 2
    assert connection.sock is not None
    # From here on silence is no fault.
    connection.sock.settimeout(None)
    threading.Thread(target=_until_nobody_reads, args=(connection.sock,), daemon=True).start()
    try:
        for line in answer:
            _print(line, as_json)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        pass
    except (OSError, http.client.HTTPException):
        target.say(f"{address} is gone")
    if _nobody_reads(0):
        # Python's own flush at the end must not fail for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _connection(address: str, timeout: float) -> http.client.HTTPConnection | None:
    """A connection that is not open yet; none where the address is no such thing."""
    path = address.removeprefix("unix:")
    if path != address:
        return _SocketConnection(path, timeout) if path.startswith("/") else None
    authority = _authority(address)
    return None if authority is None else http.client.HTTPConnection(authority, timeout=timeout)


def _token(path: str) -> str:
    """What is in a file, without what an editor leaves around it."""
    with open(path, encoding="ascii") as file:
        token = file.read().strip()
    if not token or not token.isprintable() or " " in token:
        # Not what is in it: it may be one after all.
        raise ValueError("there is no token in it")
    return token


def _authority(address: str) -> str | None:
    """Host and port of an address with or without ``http://``."""
    text = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(text)
        is_fine = parts.scheme == "http" and parts.hostname and parts.path in ("", "/") and (parts.port or 80)
    except ValueError:
        return None
    return parts.netloc if is_fine else None


def _print(line: bytes, as_json: bool) -> None:
    try:
        event = json.loads(line)
    except ValueError:
        return
    if not isinstance(event, dict):
        return
    if as_json:
        print(json.dumps(event), flush=True)
    else:
        print(described(event), flush=True)


def described(event: dict[str, Any]) -> str:
    """One event in one line: time, worker, name, what it says, ids."""
    if "dropped" in event:
        return f"… {_word(event['dropped'])} events left out: the reader is slower"
    nanos = event.get("timestamp_ns")
    nanos = nanos if isinstance(nanos, int) else 0
    at = time.strftime("%H:%M:%S", time.localtime(nanos // 1_000_000_000))
    metadata, span = _mapping(event.get("metadata")), _mapping(event.get("span"))
    words = [f"{at}.{nanos // 1_000_000 % 1000:03d}", _word(metadata.get("worker_id", "-")), _word(event.get("name", "-"))]
    words += _pairs(event.get("measurements"))
    words += _pairs({key: value for key, value in metadata.items() if key not in NOT_SHOWN_TWICE})
    words += _pairs({"correlation_id": event.get("correlation_id") or metadata.get("correlation_id") or None})
    words += _pairs({key: span.get(key) or event.get(key) for key in IDS if key not in metadata})
    return "  ".join(words[:3]) + "  " + " ".join(words[3:])


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _pairs(entries: object) -> list[str]:
    return [f"{_word(key)}={_word(value)}" for key, value in _mapping(entries).items() if value is not None]


def _word(value: object) -> str:
    """A value that neither ends the line nor drives the terminal."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.isprintable() and not any(character in ' "=\\' for character in text):
        return text
    shown = "".join(character if character.isprintable() else f"\\u{{{ord(character):x}}}" for character in text.replace("\\", "\\\\"))
    return '"' + shown.replace('"', '\\"') + '"'


def _problem(answer: http.client.HTTPResponse) -> str:
    """What a manager says instead of events."""
    body = answer.read(65536)
    try:
        return _word(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.reason}: not a manager, or an older one"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return str(error) or type(error).__name__


def _nobody_reads(timeout: int | None) -> bool:
    """Whether the reader of our output is gone; waits for that, ``None`` is for ever."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return bool(poll.poll(timeout))


def _until_nobody_reads(connection: socket.socket) -> None:
    """Ends the stream when the reader of our output goes, also while no event comes."""
    if _nobody_reads(None):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
