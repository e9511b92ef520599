"""The commands and programs that the documents show, for the tests that execute them.

A test takes the text from here, so it executes exactly what the document shows. `tests/api/test_documented_commands.py`
insists that some test executes each block.
"""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from config import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "bench" / "README.md"])
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = "sh"
# Blocks of these languages are commands, programs or settings. The others are examples of text.
OF_PROGRAMS = {SHELL, "python", "javascript", "haproxy", "ini"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block for a program, in a document that is named by its path."""

    document: str
    language: str
    text: str


@cache
def blocks() -> tuple[Block, ...]:
    return tuple(
        Block(str(document.relative_to(ROOT)), language, text)
        for document in DOCUMENTS
        for language, text in FENCED.findall(document.read_text())
        if language in OF_PROGRAMS
    )


def found(document: str, begins: str) -> list[Block]:
    return [each for each in blocks() if each.document == document and each.text.startswith(begins)]


def block(document: str, begins: str) -> str:
    """Return the text of the one block that starts like this. A document may have it twice."""
    (only,) = {each.text for each in found(document, begins)}
    return only


def script(document: str) -> str:
    """Return everything that a document tells its reader to type into a shell, in order."""
    return "\n".join(each.text for each in found(document, "") if each.language == SHELL)


def commands(text: str) -> list[list[str]]:
    """Return the words of each command in a block for a shell, without its comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def with_this_python() -> dict[str, str]:
    """Return an environment in which `python3` is this one. Whatever is first on PATH may be a slow script."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
