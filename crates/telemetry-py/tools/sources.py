"""The package as its sources show it: public names, where they are defined and what is said of them.

Nothing is imported, so it works without the native module and without anybody else's packages.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

CRATE = Path(__file__).resolve().parent.parent
SOURCES = CRATE / "python"

PACKAGE = "telemetry_py"
MODULES = (
    PACKAGE,
    *(
        f"{PACKAGE}.{name}"
        for name in (
            *("asgi", "wsgi", "django", "celery", "http_client", "grpc_context", "grpc_interceptor", "logging"),
            *("testing", "instrumentation", "propagation", "otel_tracing", "backends", "stream", "server"),
            "compat.snakepit",
        )
    ),
)
"""Public modules, in the order of the reference."""

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class Found(NamedTuple):
    """A name where it is defined."""

    module: str
    name: str
    node: ast.AST
    doc: str

    def body(self) -> list[ast.stmt]:
        """What stands in a class, after what it has from private classes of its module."""
        if not isinstance(self.node, ast.ClassDef):
            return []
        bases = [base.id for base in self.node.bases if isinstance(base, ast.Name) and base.id.startswith("_")]
        return [statement for base in bases for statement in locate(self.module, base).body()] + self.node.body


@cache
def tree(module: str) -> ast.Module | None:
    """The source of a module; of the native one, its stub. ``None`` if there is no such module."""
    path = SOURCES.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py", path.with_suffix(".pyi")):
        if file.exists():
            return ast.parse(file.read_text())
    return None


def documentation(module: str) -> str:
    """The docstring of a module."""
    source = tree(module)
    return (ast.get_docstring(source) if source else None) or ""


def statements(module: str) -> Iterator[tuple[ast.stmt, str]]:
    """What stands at the level of a module, each with the text that follows it; what is for type checkers, too."""
    source = tree(module)
    flat: list[ast.stmt] = []
    for outer in [] if source is None else source.body:
        flat += outer.body + outer.orelse if isinstance(outer, (ast.If, ast.Try)) else [outer]
    return with_texts(flat)


def with_texts(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Statements, each with the string that follows it; empty if none does."""
    return zip(body, [*(text(following) for following in body[1:]), ""])


def text(statement: ast.stmt) -> str:
    """The string that a statement is; empty if it is none."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return inspect.cleandoc(statement.value.value)
    return ""


def names(module: str) -> list[str]:
    """What `__all__` of a module holds."""
    for statement, _ in statements(module):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(statement.value)]
    raise SystemExit(f"{module} has no __all__")


def public(module: str) -> list[Found]:
    """The names of a module, wherever they are defined."""
    return [locate(module, name) for name in names(module)]


def locate(module: str, name: str) -> Found:
    """Where a name of a module is defined, and what is said of it there."""
    found: Found | None = None
    for statement, following in statements(module):
        if isinstance(statement, (ast.ClassDef, *Function)) and statement.name == name:
            # The last one: what stands before it are overloads.
            found = Found(module, name, statement, ast.get_docstring(statement) or (found.doc if found else ""))
        elif isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
            found = Found(module, name, statement, following)
        elif isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            found = found or of_value(Found(module, name, statement, following))
        elif isinstance(statement, ast.ImportFrom) and not found and name in {alias.asname or alias.name for alias in statement.names}:
            origin = absolute(module, statement)
            own = tree(f"{origin}.{name}")
            found = Found(origin, name, own, "") if own else locate(origin, name)
    if found is None:
        raise SystemExit(f"{name} is not defined in {module}")
    return found


def of_value(found: Found) -> Found:
    """A name that stands for a native one, or for the object of a class that says what it is."""
    assert isinstance(found.node, ast.Assign)
    value = ast.unparse(found.node.value)
    if value.startswith("native."):
        return locate(f"{PACKAGE}._native", value.removeprefix("native."))
    if not found.doc and value.endswith("()"):
        return found._replace(doc=locate(found.module, value.removesuffix("()")).doc)
    return found


def absolute(module: str, statement: ast.ImportFrom) -> str:
    """The module that a statement imports from."""
    parts = module.split(".")
    is_package = (SOURCES.joinpath(*parts) / "__init__.py").exists()
    base = parts[: len(parts) - statement.level + is_package] if statement.level else []
    return ".".join([*base, *([statement.module] if statement.module else [])])


def aliases() -> dict[str, str]:
    """Types that the stub has a private name for."""
    return {
        ast.unparse(statement.target): ast.unparse(statement.value)
        for statement, _ in statements(f"{PACKAGE}._native")
        if isinstance(statement, ast.AnnAssign) and statement.value and "TypeAlias" in ast.unparse(statement.annotation)
    }
