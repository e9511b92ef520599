"""The page's files as browsers get them: read, joined, hashed and compressed once, when the application starts.

The hash of all files is a part of their addresses. So browsers may keep a file for ever, any change gives all files new
addresses, and modules import each other by relative addresses, without a build step.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from app.auth.languages import Language
from app.web import linking

STATIC = Path(__file__).parent / "static"
# The document has the style of what a new visitor sees first. Browsers get the rest as one style sheet. The files are
# in order of precedence.
FIRST_STYLES = ("tokens", "base", "door", "fields", "buttons")
STYLES = ("frame", "parts", "forms", "ledger")
STYLE_SHEET = "style.css"
# The script in the document.
FIRST_SCRIPT = "begin.js"
# How each currency is written, as `money.custom` says, one on each line. `make currencies` writes this file, because
# working it out needs the languages of all countries, which takes 0.7 s and 60 MB.
CUSTOMS = Path(__file__).with_name("currencies.json")
CURRENCIES = "kit/currencies.js"
LANGUAGES = "kit/languages.js"
# The modules that are fetched together: the first view before signing in, and what the first view after it needs in
# addition. Each request costs a phone a round trip, because a browser makes at most six at once.
BUNDLES = {"main.js": ("views/sign-in.js", "main.js"), "home.js": ("views/accounts.js",)}
HASH_LENGTH = 16
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", linking.MAP: "application/json"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    mimetype: str

    @classmethod
    def of(cls, text: str, mimetype: str) -> Self:
        """Return the file of a text, with what a browser gets that takes it compressed."""
        content = text.encode()
        return cls(content, gzip.compress(content, mtime=0), mimetype)


@dataclass(frozen=True, slots=True)
class Assets:
    """All files, by their names, the hash of them all, and the script and the style that stand in the document."""

    files: Mapping[str, Asset]
    hash: str
    first_script: str
    first_style: str


@cache
def assets(default_currency: str) -> Assets:
    """Return the page's files, for a bank with this default currency."""
    texts = {
        str(path.relative_to(STATIC)): path.read_text("utf-8")
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _TYPES and path.parent.name != "style"
    }
    first_script, first_style = _without_comments(texts.pop(FIRST_SCRIPT)), _without_comments(_style(FIRST_STYLES))
    texts[STYLE_SHEET] = _style(STYLES)
    modules = {name: text for name, text in texts.items() if name.endswith(".js")} | made(default_currency)
    others = {name: text for name, text in texts.items() if name not in modules}
    linked = others | linking.link(modules, BUNDLES)
    files = {name: Asset.of(text, _TYPES[Path(name).suffix]) for name, text in linked.items()}
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name} {len(file.content)}\n".encode() + file.content)
    return Assets(files, digest.hexdigest()[:HASH_LENGTH], first_script, first_style)


def _style(names: Sequence[str]) -> str:
    return "".join((STATIC / "style" / f"{name}.css").read_text("utf-8") for name in names)


def _without_comments(text: str) -> str:
    """Leave out the lines that are comments as a whole: the document is sent at each visit."""
    return "\n".join(line.strip() for line in text.split("\n") if not line.strip().startswith(("//", "/*")))


def made(default_currency: str) -> dict[str, str]:
    """Return the modules that tell the page the bank's own rules."""
    return {
        CURRENCIES: (
            "// How the bank writes each currency: digits after the point, sign, size of the last group and of\n"
            "// the others, sign between groups, name of one, name of many.\n"
            f"export const customs = {CUSTOMS.read_text('utf-8').strip()};\n"
            f"export const homeCurrency = {json.dumps(default_currency)};\n"
        ),
        LANGUAGES: (
            "// The languages in which the bank writes letters.\n"
            f"export const languages = {json.dumps(list(Language))};\n"
        ),
    }
