"""The page's files as browsers get them: read, joined, hashed and compressed once, when the application starts.

The hash of all files is a part of their addresses. So browsers may keep a file for ever, any change gives all files new
addresses, and modules import each other by relative addresses, without a build step.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.auth.languages import Language
from app.web import linking

STATIC = Path(__file__).parent / "static"
# Browsers get one style sheet. The files are in order of precedence.
STYLES = ("tokens", "base", "frame", "parts", "forms", "ledger")
STYLE_SHEET = "style.css"
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


@dataclass(frozen=True, slots=True)
class Assets:
    """All files, by their names, and the hash of them all."""

    files: Mapping[str, Asset]
    hash: str


@cache
def assets(default_currency: str) -> Assets:
    """Return the page's files, for a bank with this default currency."""
    texts = {
        str(path.relative_to(STATIC)): path.read_text("utf-8")
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _TYPES and path.parent.name != "style"
    }
    texts[STYLE_SHEET] = "".join((STATIC / "style" / f"{name}.css").read_text("utf-8") for name in STYLES)
    modules = {name: text for name, text in texts.items() if name.endswith(".js")} | made(default_currency)
    others = {name: text for name, text in texts.items() if name not in modules}
    contents = {name: text.encode() for name, text in (others | linking.link(modules, BUNDLES)).items()}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    files = {
        name: Asset(content, gzip.compress(content, mtime=0), _TYPES[Path(name).suffix])
        for name, content in contents.items()
    }
    return Assets(files, digest.hexdigest()[:HASH_LENGTH])


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
