"""The text of anything, also of what has none."""

from __future__ import annotations

_name_of = type.__dict__["__name__"].__get__


def text_of(value: object) -> str:
    """An exact ``str``; what fails to be one is told of by the name of its class."""
    if type(value) is str:
        return value
    try:
        return str.__str__(value) if issubclass(type(value), str) else str(value)
    except Exception:
        return f"<unprintable {class_name(value)}>"


def class_name(value: object) -> str:
    """The name of a class as it was defined, whatever its metaclass says."""
    name: str = _name_of(type(value))
    return name


__all__ = ["class_name", "text_of"]
