from contextlib import contextmanager

_backend = None


def set_backend(backend):
    global _backend
    _backend = backend


def get_backend():
    return _backend


def is_enabled():
    return _backend is not None


def emit(event, measurements, metadata=None, correlation_id=None):
    raise AssertionError("the stock emit was called")


@contextmanager
def span(operation, metadata=None, correlation_id=None):
    raise AssertionError("the stock span was called")
    yield
