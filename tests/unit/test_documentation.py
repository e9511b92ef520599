"""The documentation is consistent: every link leads somewhere, and the index names every document."""

import re
from pathlib import Path

import pytest

from config import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "bench" / "README.md"])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(file: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(document.read_text()):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    assert {file.name for file in (ROOT / "docs").iterdir() if file.name != "README.md" and file.is_file()} <= set(
        re.findall(r"[\w.-]+\.(?:md|sh|py)", index)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_said_twice(document: Path) -> None:
    """A merge of two changes to one text keeps both versions of it, and no other test reads prose."""
    beginnings = re.findall(r"^(?:#+ .+|- .{38})", document.read_text(), re.MULTILINE)

    assert beginnings == list(dict.fromkeys(beginnings))
