"""The page's one document, the same for everybody and for all addresses of the page.

It has what somebody new sees first, the door and the form by which one signs in, with its style and the script that
decides who may see it. So the form is there as soon as the document is. Both are allowed by their hashes, and nothing
else in the document is.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from flask import render_template

from app.web.assets import STYLE_SHEET, Asset, Assets

# Everything comes from this server or is named by its hash, and text never becomes markup or code.
_POLICY = (
    "default-src 'none'; script-src 'self' {script}; style-src 'self' {style}; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class Document:
    """The document and its policy."""

    file: Asset
    policy: str


def document(assets: Assets, address_of: Callable[[str], str]) -> Document:
    """Return the document for these files; `address_of` tells where a file is."""
    script, style = assets.first_script, assets.first_style
    text = render_template(
        "page.html",
        script=script,
        style=style,
        style_sheet=STYLE_SHEET,
        asset=address_of,
    )
    return Document(Asset.of(text, "text/html"), _POLICY.format(script=_source(script), style=_source(style)))


def _source(text: str) -> str:
    """Return how a policy names an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
