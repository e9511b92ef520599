"""The limits for files and functions, and names that say nothing, asserted from the source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from config import ROOT

LINES_MAX = 400
FUNCTION_LINES_MAX = 70
ARGUMENTS_MAX = 6
# They take one argument for each field that an entry seals. An object for these would cost each posting two of them.
FUNCTIONS_OF_ALL_FIELDS = {"app.ledger.canonical.entry_hash", "app.ledger.chain.append"}
BANNED_NAMES = {"common", "helper", "helpers", "misc", "util", "utils"}


@cache
def all_files() -> list[Path]:
    """Return every Python file of the project."""
    folders = [ROOT / name for name in ("app", "bench", "clients", "local", "tests")]
    return sorted([*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))])


def test_no_file_is_too_long_to_read_at_once() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in all_files()}

    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    """Yield all functions and methods of a file, also those inside others."""
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


def test_no_function_is_too_long_to_read_at_once() -> None:
    for file in all_files():
        for function in functions(file):
            length = (function.end_lineno or 0) - function.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{file.name}: {function.name} has {length} lines"


def test_no_function_takes_too_many_arguments() -> None:
    # The arguments of tests are their fixtures and their cases.
    files = {file for file in all_files() if "tests" not in file.relative_to(ROOT).parts}
    for file in files:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for function in functions(file):
            given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            names = [argument.arg for argument in given if argument.arg not in {"self", "cls"}]
            is_known = f"{module}.{function.name}" in FUNCTIONS_OF_ALL_FIELDS
            assert is_known or len(names) <= ARGUMENTS_MAX, f"{module}.{function.name} takes {', '.join(names)}"


def test_no_name_says_nothing() -> None:
    names = {part.removesuffix(".py") for file in all_files() for part in file.relative_to(ROOT).parts}

    assert not names & BANNED_NAMES
