"""What the documents and docstrings show runs, and shows every public name; the reference is what the sources say."""

from __future__ import annotations

import json
import re

import pytest
import telemetry_py as telemetry
from documented import DOCUMENTS, GUIDE, ROOT, Example, files, in_docstrings, in_documents, in_table
from reference import COMMAND, TARGET, anchor, reference
from sources import MODULES, names

EXAMPLES = [*in_documents(), *in_table(), *in_docstrings()]
HERE = [example for example in EXAMPLES if not example.needs_apps]


@pytest.mark.parametrize("example", HERE, ids=[example.place for example in HERE])
def test_an_example_runs(python, example: Example):
    result = python(example.code)
    assert result.returncode == 0, f"{example.code}\n{result.stderr}"


def test_few_examples_are_left_to_the_tests_of_servers():
    left = {example.place for example in EXAMPLES if example.needs_apps}
    assert left == {
        "telemetry_py.celery",
        "telemetry_py.celery.instrument_celery",
        "telemetry_py.celery.uninstrument_celery",
        "telemetry_py.django",
        "telemetry_py.django.RouteMiddleware",
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(document.relative_to(ROOT)) for document in DOCUMENTS])
def test_every_block_of_python_of_a_document_is_found(document):
    found = [example for example in EXAMPLES if example.place.startswith(f"{document.relative_to(ROOT)}-")]
    shown = document.read_text().count("```python")
    assert len(found) + len([name for name in files(document) if name.endswith(".py")]) == shown > 0


def test_each_task_of_the_table_has_something_that_runs():
    """A piece of code, or a link to one on the same page."""
    table = re.search(r"^\| task \|(?:.*\n)+?\n", GUIDE.read_text(), re.MULTILINE)[0].strip().splitlines()[2:]
    assert len(table) > 20
    anchors = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", GUIDE.read_text(), re.MULTILINE)}
    runs = {example.place for example in in_table()}
    for row in table:
        task, ours = row.split("|")[1:3]
        linked = set(re.findall(r"\]\(#(.+?)\)", ours))
        assert task.strip() in runs or (linked and linked <= anchors), row


@pytest.mark.parametrize("document", [*DOCUMENTS, TARGET], ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document):
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)]*)\)", document.read_text()):
        place = (document.parent / target).resolve() if target else document
        assert place.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, f"{target}#{fragment}"


def test_the_three_lines_are_three_and_show_what_the_guide_shows(python):
    lines = files(GUIDE)["hello.py"]
    assert len(lines.splitlines()) == 3
    shown = re.search(r"^TELEMETRY:(.+)$", GUIDE.read_text(), re.MULTILINE)[1]
    said = python(lines, TELEMETRY_BACKEND="stderr").stderr.removeprefix("TELEMETRY:")
    assert {**json.loads(said), "timestamp_ns": 0} == {**json.loads(shown), "timestamp_ns": 0}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_used_by_an_example(module):
    used = set().union(*(example.used() for example in EXAMPLES))
    assert set(names(module)) - used == set()


def test_every_public_name_is_in_the_reference_with_an_example_of_its_own():
    entries = re.split(r"^### (.+)$", reference(), flags=re.MULTILINE)
    shown = dict(zip(entries[1::2], entries[2::2]))
    assert set(telemetry.__all__) - set(shown) == {"instrumentation"}, "a module has a section"
    assert {name for name, entry in shown.items() if entry.split("\n## ")[0].count("```python") < 2} == set()


def test_the_reference_is_what_the_sources_say():
    assert TARGET.read_text() == reference(), f"run `{COMMAND}`"
