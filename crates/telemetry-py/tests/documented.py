"""Every example that the documents and the docstrings show, as programs."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CRATE = Path(__file__).resolve().parent.parent
ROOT = CRATE.parent.parent
sys.path.insert(0, str(CRATE / "tools"))

from reference import examples  # noqa: E402

GUIDE = ROOT / "docs/python.md"
DOCUMENTS = (CRATE / "README.md", ROOT / "README.md", GUIDE, ROOT / "docs/snakepit.md")

NEEDS_APPS = ("celery", "django")
"""Packages that only the tests in `apps` have; what imports one of them runs there."""

BEFORE = """
import telemetry_py as telemetry

memory = telemetry.MemoryBackend()
telemetry.set_backend(memory)
"""
"""What the reference says that its examples run after."""

AFTER = """
lost = set(telemetry.stats()["dropped"]) - {"filtered", "sampled_out"}
assert not lost, lost
"""
"""No name of an event in an example is one that is refused."""


class Example(NamedTuple):
    """A program, and where it is shown."""

    place: str
    code: str

    @property
    def needs_apps(self) -> bool:
        modules = "|".join(NEEDS_APPS)
        return re.search(rf"^\s*(import|from) (telemetry_py\.)?({modules})\b", self.code, re.MULTILINE) is not None

    def used(self) -> set[str]:
        """The names of the package that it uses: those that it imports, and attributes of what it imports."""
        tree = ast.parse(self.code)
        own, found = set(), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("telemetry_py"):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                own |= {alias.asname or alias.name for alias in node.names if alias.name.startswith("telemetry_py")}
        own |= found
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).partition(".")[0] in own:
                found |= set(ast.unparse(node).split(".")[1:])
        return found


def in_documents() -> Iterator[Example]:
    """The blocks of the documents, whole programs each; those that are `files` need a server around them."""
    for document in DOCUMENTS:
        for number, code in enumerate(re.findall(r"^```python\n((?:.*\n)*?)^```$", document.read_text(), re.MULTILINE)):
            yield Example(f"{document.relative_to(ROOT)}-{number}", code)


def files(document: Path) -> dict[str, str]:
    """The blocks of a document that are files by name: ```python file=web.py."""
    return dict(re.findall(r"^```\w+ file=(\S+)\n((?:.*\n)*?)^```$", document.read_text(), re.MULTILINE))


def commands(document: Path) -> list[str]:
    """The lines of a document that one would type into a shell, without comments."""
    blocks = re.findall(r"^```sh\n((?:.*\n)*?)^```$", document.read_text(), re.MULTILINE)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def in_table() -> Iterator[Example]:
    """What stands for us in the table of tasks: what can be run, where it is no link."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", GUIDE.read_text(), re.MULTILINE)
    for task, ours in rows:
        if code := re.match(r"`(.+?)`", ours):
            yield Example(task, f"import telemetry_py as telemetry\n{code[1]}")


def in_docstrings() -> Iterator[Example]:
    """Those of docstrings, with what stands around them."""
    return (Example(whose, BEFORE + code + AFTER) for whose, code in examples())
