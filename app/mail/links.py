"""The links in letters to the bank's page. Without the bank's public address, no letter has a link."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.mail.catalogues import Catalogue
from app.outbox.messages import MessageKind

# The links whose address does not depend on the message: the catalogues' name for their words, and the path.
_FIXED: dict[str, tuple[str, str]] = {
    MessageKind.WELCOME: ("bank", "/"),
    MessageKind.PASSWORD_CHANGED: ("reset", "/forgotten"),
    MessageKind.WEBHOOK_DISABLED: ("webhooks", "/webhooks"),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link: its words, and its whole address."""

    text: str
    url: str


def link_of(kind: str, payload: Mapping[str, Any], texts: Catalogue, *, public_url: str | None) -> Link | None:
    """Return the link for a letter of this kind, or None if the bank's address is not known."""
    if public_url is None:
        return None
    name, path = _FIXED[kind] if kind in _FIXED else _way(kind, payload)
    return Link(texts.text(f"link.{name}"), public_url + path)


def turning_off(token: str | None, *, public_url: str | None) -> str | None:
    """Return the address where a reader turns off the letters that the token names, or None if there is none."""
    # In the query, because the bank logs paths but no queries.
    return None if token is None or public_url is None else f"{public_url}/unsubscribe?token={token}"


def home(texts: Catalogue, *, public_url: str | None) -> Link | None:
    """Return the link for a letter about several things."""
    return None if public_url is None else Link(texts.text("link.accounts"), f"{public_url}/")


def _way(kind: str, payload: Mapping[str, Any]) -> tuple[str, str]:
    if kind == MessageKind.PASSWORD_RESET:
        # Browsers do not send the fragment, so the token gets into no log of a server or proxy.
        return "new_password", f"/reset#token={quote(payload['token'], safe='')}"
    if "transaction" in payload:
        return "movement", f"/movements/{payload['transaction']}"
    return "account", f"/accounts/{payload.get('number') or payload['account']}"
