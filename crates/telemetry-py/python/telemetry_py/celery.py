"""Tasks of celery as spans, under the trace and the correlation id of who sent them.

    from celery import Celery
    import telemetry_py as telemetry
    from telemetry_py.celery import instrument_celery

    telemetry.start()
    app = Celery("tasks", broker="memory://")
    instrument_celery(app)

    @app.task
    def add(x, y):
        return x + y

It listens to celery's signals, in the module that both the worker and the senders load. A task is a span
``celery.task`` with ``task``, ``queue``, ``retry_count`` and ``state``, from before its function is called
until after it. A task whose process is killed, by a hard time limit or by ``revoke(terminate=True)``, has
no end; its manager says of that process that it did not hear a last word.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from celery import signals

import telemetry_py as telemetry

from ._carried import carried

OPERATION = "celery.task"

_RUN = "_telemetry_py_run"
"""Where the request of a task holds its span. Each run has a request of its own, also of nested and eager
tasks, whose ids may be the same."""

_UID = "telemetry_py.{}"

_apps: list[Any] = []
"""The applications whose tasks are spans."""

_all_apps = False


class _Run:
    """A task that is running: the ids it runs under, and its span."""

    __slots__ = ("_ids", "span")

    def __init__(self, carrier: Mapping[str, object], metadata: dict[str, str]) -> None:
        self._ids = telemetry.extract(carrier)
        self._ids.__enter__()
        self.span = telemetry.span(OPERATION, metadata)
        self.span.__enter__()

    def end(self, error: BaseException | None) -> None:
        self.span.__exit__(None if error is None else type(error), error, None)
        self._ids.__exit__(None, None, None)


def instrument_celery(app: Any = None) -> None:
    """Makes spans of the tasks of ``app``, or of those of every application of this process.

    What this process sends carries its trace and its correlation id from then on. Call it where the
    application is made; a second call changes nothing.

    Example::

        from celery import Celery
        from telemetry_py.celery import instrument_celery

        app = Celery("tasks", broker="memory://")
        app.conf.task_always_eager = True
        instrument_celery(app)

        @app.task
        def add(x, y):
            return x + y

        add.delay(1, 2)
        assert memory.names() == ["celery.task.start", "celery.task.stop"]
    """
    global _all_apps
    if app is None:
        _all_apps = True
    elif not hasattr(app, "tasks"):
        raise TypeError(f"app is a celery application, not {type(app).__name__}")
    elif not any(app is known for known in _apps):
        _apps.append(app)
    for name, receiver in _RECEIVERS.items():
        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=_UID.format(name))


def uninstrument_celery() -> None:
    """Takes back all calls of :func:`instrument_celery`.

    Example::

        from telemetry_py.celery import instrument_celery, uninstrument_celery

        instrument_celery()
        uninstrument_celery()
    """
    global _all_apps
    _all_apps = False
    _apps.clear()
    for name in _RECEIVERS:
        getattr(signals, name).disconnect(dispatch_uid=_UID.format(name))


def _on_publish(headers: object = None, **_more: object) -> None:
    """A message is about to be sent; what its headers hold, the worker's request holds too."""
    if isinstance(headers, MutableMapping):
        headers.update(carried())


def _on_start(task: Any = None, **_more: object) -> None:
    if task is None or not (_all_apps or any(task.app is app for app in _apps)) or not telemetry.is_enabled():
        return
    request = task.request
    delivery = request.delivery_info or {}
    metadata = {
        "task": str(task.name),
        "queue": str(delivery.get("routing_key") or "none"),
        "retry_count": str(request.retries or 0),
    }
    # A task that is called at once, in the process that asks for it, runs under the ids of the context.
    carrier = {} if request.is_eager else _texts(request)
    setattr(request, _RUN, _Run(carrier, metadata))


def _on_end(task: Any = None, state: object = None, **_more: object) -> None:
    request = getattr(task, "request", None)
    run = getattr(request, _RUN, None)
    if not isinstance(run, _Run):
        return
    setattr(request, _RUN, None)
    run.span.set(state=str(state or "UNKNOWN"))
    # One that ends a worker, as SystemExit does, is on its way, and no other signal tells of it.
    run.end(sys.exc_info()[1] if state is None else None)


def _on_failure(sender: Any = None, exception: object = None, **_more: object) -> None:
    run = getattr(getattr(sender, "request", None), _RUN, None)
    if isinstance(run, _Run) and isinstance(exception, BaseException):
        run.span.record_exception(exception)


def _texts(request: Any) -> dict[str, str]:
    """What the headers of a message held."""
    headers = {**vars(request), **(request.headers or {})}
    return {name: value for name, value in headers.items() if isinstance(name, str) and isinstance(value, str)}


_RECEIVERS: dict[str, Any] = {
    "before_task_publish": _on_publish,
    "task_prerun": _on_start,
    "task_postrun": _on_end,
    "task_failure": _on_failure,
}


__all__ = ["instrument_celery", "uninstrument_celery"]
