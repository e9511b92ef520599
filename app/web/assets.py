"""The page's files as browsers get them: read, hashed and compressed once, when the application starts.

The hash of all files is a part of their addresses. So a browser keeps a file for good, a change of any file is a new
address for all of them, and modules import each other by relative addresses, without a build step.
"""

import gzip
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app import money
from app.languages import Language

STATIC = Path(__file__).parent / "static"
# The style sheet is one file to a browser. The order is that of precedence.
STYLES = ("tokens", "base", "frame", "parts", "forms", "ledger")
STYLE_SHEET = "style.css"
CURRENCIES = "kit/currencies.js"
LANGUAGES = "kit/languages.js"
# What the first view needs. Browsers fetch these modules and what they import at once, without first reading which
# module imports which.
EAGER = ("main.js", "views/sign-in.js")
_IMPORT = re.compile(rb'^import .*? from "(\.[^"]+)";$', re.MULTILINE)
HASH_LENGTH = 16
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    mimetype: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files, by their names, and the hash of them all."""

    files: Mapping[str, Asset]
    hash: str
    # The names of the modules that the first view needs.
    eager: Sequence[str]


@cache
def assets(default_currency: str) -> Assets:
    """Return the page's files, for a bank with this currency."""
    contents = {
        str(path.relative_to(STATIC)): path.read_bytes()
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _TYPES and path.parent.name != "style"
    }
    contents[STYLE_SHEET] = b"".join((STATIC / "style" / f"{name}.css").read_bytes() for name in STYLES)
    contents[CURRENCIES] = _currencies(default_currency)
    codes = json.dumps(list(Language))
    contents[LANGUAGES] = (
        f"// The languages in which the bank writes letters.\nexport const languages = {codes};\n".encode()
    )
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    files = {
        name: Asset(content, gzip.compress(content, mtime=0), _TYPES[Path(name).suffix])
        for name, content in contents.items()
    }
    return Assets(files, digest.hexdigest()[:HASH_LENGTH], sorted(_needed(contents, EAGER)))


def _needed(contents: Mapping[str, bytes], names: Iterable[str]) -> set[str]:
    """Return these modules and all that they import, and what that imports, and so on."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            folder = posixpath.dirname(name)
            imported = (found.decode() for found in _IMPORT.findall(contents[name]))
            waiting += [posixpath.normpath(posixpath.join(folder, path)) for path in imported]
    return needed


def _currencies(default_currency: str) -> bytes:
    """Return the module that tells the page how the bank writes each currency."""
    customs = {code: money.custom(code) for code in money.currencies()}
    return (
        "// How the bank writes each currency: digits after the point, sign, size of the last group, of the others,\n"
        "// sign between groups, name of one, name of many. Made from the bank's own rules when it starts.\n"
        f"export const customs = {json.dumps(customs, ensure_ascii=False, separators=(',', ':'))};\n"
        f"export const homeCurrency = {json.dumps(default_currency)};\n"
    ).encode()
