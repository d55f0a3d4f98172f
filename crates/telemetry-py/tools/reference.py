"""Writes docs/python-reference.md from the sources of the package, stubs and docstrings, without importing it.

    python crates/telemetry-py/tools/reference.py [--check]

With ``--check`` it writes nothing and fails if the file is not what it would write. What stands indented in a
docstring is an example; the tests run all of them (`tests/test_examples.py`).
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator

from sources import CRATE, MODULES, PACKAGE, Found, Function, aliases, documentation, public, with_texts

TARGET = CRATE.parent.parent / "docs/python-reference.md"
COMMAND = "cargo xtask gen-reference"

HEAD = f"""# Reference of `telemetry_py`

Every public name, from the sources; `{COMMAND}` writes this file. [The guide](python.md) says what to use when.
Each example runs as a test, after these lines:

```python
import telemetry_py as telemetry

memory = telemetry.MemoryBackend()      # where examples look for what was emitted
telemetry.set_backend(memory)
```
"""

def declaration(found: Found) -> str:
    """A name as the sources declare it; a class as it is made."""
    if not isinstance(found.node, ast.ClassDef):
        decorators = getattr(found.node, "decorator_list", [])
        above = "".join(f"@{name}\n" for name in map(ast.unparse, decorators) if name != "overload")
        return above + signature(found.name, found.node)
    made = {inner.name: inner for inner in found.body() if isinstance(inner, Function)}
    init = made.get("__init__") or made.get("__new__")
    return f"class {found.name}" + (signature("", init).partition(" -> ")[0] if init else "")


def signature(name: str, node: ast.AST, width: int = 100) -> str:
    """A call, over several lines where it is wider."""
    if not isinstance(node, Function):
        return ast.unparse(node)
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    shown = list(parameters(node.args))
    line = f"{name}({', '.join(shown)}){result}"
    if len(line) > width:
        line = "\n".join([f"{name}(", *(f"    {parameter}," for parameter in shown), f"){result}"])
    return ("async " if isinstance(node, ast.AsyncFunctionDef) else "") + line


def parameters(arguments: ast.arguments) -> Iterator[str]:
    """Each parameter with its type and its default, without the object itself."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    for number, (argument, default) in enumerate(zip(positional, [*missing, *arguments.defaults])):
        if number or argument.arg not in ("self", "cls"):
            yield parameter(argument, default)
        if number + 1 == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg or arguments.kwonlyargs:
        yield f"*{parameter(arguments.vararg, None) if arguments.vararg else ''}"
    yield from map(parameter, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        yield f"**{parameter(arguments.kwarg, None)}"


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    """One parameter; what is private and stands for "not given" is ``...``."""
    typed = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if typed else "="
    value = ast.unparse(default) if default else ""
    return f"{argument.arg}{typed}" + (f"{equals}{'...' if value.startswith('_') else value}" if default else "")


def blocks(doc: str) -> Iterator[tuple[bool, str]]:
    """The paragraphs of a docstring, and what stands indented between them: whether it is that, and what."""
    for is_indented, lines in grouped(doc):
        block = textwrap.dedent("\n".join(lines)).strip("\n")
        if block:
            yield is_indented, block


def grouped(doc: str) -> Iterator[tuple[bool, list[str]]]:
    lines: list[str] = []
    inside, blank = False, True
    for line in doc.splitlines():
        # Only a blank line begins a block: a line that is indented without one goes on with a list.
        indented = line.startswith("    ") and (inside or blank) if line.strip() else inside
        if indented != inside:
            yield inside, lines
            lines = []
        inside, blank = indented, not line.strip()
        lines.append(line)
    yield inside, lines


def is_python(block: str) -> bool:
    try:
        ast.parse(block)
    except SyntaxError:
        return False
    return True


def markdown(doc: str) -> str:
    """A docstring as Markdown."""
    written = []
    for is_indented, block in blocks(doc):
        if is_indented:
            written.append(f"```{'python' if is_python(block) else 'sh'}\n{block}\n```")
        else:
            block = re.sub(r"^Example::$", "", block, flags=re.MULTILINE).strip()
            block = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{found[1]}`", block.replace("``", "`"))
            written.append(re.sub(r"::$", ":", block, flags=re.MULTILINE))
    return "\n\n".join(filter(None, written))


def members(found: Found) -> Iterator[str]:
    """Items of a list: the public methods and attributes of a class that say what they are."""
    for statement, following in with_texts(found.body()):
        if isinstance(statement, ast.AnnAssign):
            name, shown, doc = ast.unparse(statement.target), ast.unparse(statement), following
        elif isinstance(statement, Function):
            name, doc = statement.name, ast.get_docstring(statement) or ""
            shown = signature(name, statement, width=1000)
            decorators = {ast.unparse(decorator) for decorator in statement.decorator_list}
            if "property" in decorators:
                shown = f"{name}: {ast.unparse(statement.returns) if statement.returns else 'object'}"
            elif f"{name}.setter" in decorators:
                continue
        else:
            continue
        if doc and not name.startswith("_"):
            yield f"* `{shown}`\n\n{textwrap.indent(markdown(doc), '  ')}"


def examples() -> Iterator[tuple[str, str]]:
    """What the tests run: every piece of Python in the docstring of a public module or name, and whose it is."""
    docs: dict[str, str] = {}
    for module in MODULES:
        docs[module] = documentation(module)
        for found in public(module):
            if not isinstance(found.node, ast.Module):
                docs[f"{found.module}.{found.name}"] = found.doc
                inner = [statement for statement in found.body() if isinstance(statement, Function)]
                docs |= {f"{found.module}.{found.name}.{method.name}": ast.get_docstring(method) or "" for method in inner}
    for whose, doc in docs.items():
        yield from ((whose, block) for is_indented, block in blocks(doc) if is_indented and is_python(block))


def reference() -> str:
    """The whole text."""
    parts = [HEAD, "\n".join(f"* [`{module}`](#{anchor(module)})" for module in MODULES)]
    places: dict[tuple[str, str], str] = {}
    for module in MODULES:
        parts.append(f"## {module}\n\n{markdown(documentation(module))}")
        elsewhere = []
        for found in public(module):
            key = found.module, found.name
            heading = found.name if module == PACKAGE else f"{module.removeprefix(f'{PACKAGE}.')}.{found.name}"
            if isinstance(found.node, ast.Module):
                elsewhere.append(f"[`{found.name}`](#{anchor(f'{module}.{found.name}')})")
            elif key in places:
                elsewhere.append(f"[`{found.name}`](#{places[key]})")
            else:
                places[key] = anchor(heading)
                parts.append(f"### {heading}\n\n```python\n{declaration(found)}\n```\n\n{markdown(found.doc)}")
                parts += members(found)
        if elsewhere:
            parts.append(f"Also here: {', '.join(elsewhere)}.")
    written = "\n\n".join(part.strip() for part in parts) + "\n"
    for alias, meaning in aliases().items():
        written = re.sub(rf"\b{alias}\b", meaning, written)
    return written


def anchor(heading: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^a-z0-9_-]", "", heading.lower().replace(" ", "-"))


def main(arguments: list[str]) -> int:
    written = reference()
    if arguments == ["--check"]:
        if TARGET.exists() and TARGET.read_text() == written:
            return 0
        print(f"{TARGET} is not what the sources say; run `{COMMAND}`", file=sys.stderr)
        return 1
    if arguments:
        print(f"usage: {sys.argv[0]} [--check]", file=sys.stderr)
        return 2
    TARGET.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
