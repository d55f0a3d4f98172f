"""What Flask tells of a request, by its signals: the route, and the exception that it makes a response of."""

from __future__ import annotations

import flask

import telemetry_py as telemetry

from ._http_server import ROUTE, SPAN

_listens = False


def listen() -> None:
    """Listens to all applications of this process; the second time nothing happens."""
    global _listens
    if _listens:
        return
    _listens = True
    try:
        flask.request_started.connect(_on_start)
        flask.got_request_exception.connect(_on_exception)
    except RuntimeError:
        # An old Flask whose signals are an option that was not installed.
        pass


def _on_start(_sender: object, **_more: object) -> None:
    environ = flask.request.environ
    if SPAN in environ and flask.request.url_rule is not None:
        environ.setdefault(ROUTE, flask.request.url_rule.rule)


def _on_exception(_sender: object, exception: BaseException, **_more: object) -> None:
    span = flask.request.environ.get(SPAN)
    if isinstance(span, telemetry.Span):
        span.record_exception(exception)
