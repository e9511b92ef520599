"""Where a letter leads on the bank's page. Without the bank's public address, no letter has a link."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.outbox.messages import MessageKind

# The words of links whose address does not depend on what the letter tells, and where they lead.
_FIXED: dict[str, tuple[str, str]] = {
    MessageKind.WELCOME: ("Open your bank", "/"),
    MessageKind.PASSWORD_CHANGED: ("Reset your password", "/forgotten"),
    MessageKind.WEBHOOK_DISABLED: ("See your webhooks", "/webhooks"),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link: its words, and its whole address."""

    text: str
    url: str


def link_of(kind: str, payload: Mapping[str, Any], *, public_url: str | None) -> Link | None:
    """Return the link for a letter of this kind, or None if the bank's address is not known."""
    if public_url is None:
        return None
    if kind == MessageKind.PASSWORD_RESET:
        # Browsers send no fragment, so the token is in no log of a server or proxy.
        return Link("Choose a new password", f"{public_url}/reset#token={quote(payload['token'], safe='')}")
    if kind in _FIXED:
        text, path = _FIXED[kind]
        return Link(text, public_url + path)
    if "transaction" in payload:
        return Link("See this movement", f"{public_url}/movements/{payload['transaction']}")
    return Link("See your account", f"{public_url}/accounts/{payload.get('number') or payload['account']}")


def home(public_url: str | None) -> Link | None:
    """Return the link for a letter about several things."""
    return None if public_url is None else Link("See your accounts", f"{public_url}/")
