"""Renders an outbox message as a letter. No Flask, database or clock.

The words are in the catalogues of their languages. layout.txt and layout.html are filled with the
same words, so that both parts of a mail say the same.

Mail programs want styles in each element. They are put there once, in the template. The
template's statements are in comments, so that they survive this: `<!--{% … %}-->`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from app.account_numbers import grouped
from app.auth.languages import Language
from app.errors import AccountNotActive
from app.mail.catalogues import Catalogue, catalogue
from app.mail.columns import padded, wrapped
from app.mail.links import Link, link_of
from app.mail.mime import Letter
from app.outbox.messages import MessageKind

TEXT_WIDTH = 72
# Most paragraphs are the same in all letters of a kind.
PARAGRAPHS_KEPT_MAX = 200

# Where mail programs detect a link or an address in plain text: at dots inside words, after a scheme, and at an @.
_LINK_JOINTS = re.compile(
    r"(?<=\S)[.\u3002\uff0e\uff61](?=[^\W\d])|:(?=/)|/(?=/)|(?<=\S)@(?=\S+[.\u3002\uff0e\uff61]\S)"
)
_SCHEMES = re.compile(r"\b(mailto|tel|sms|skype|javascript|data|file|urn|magnet|bitcoin|upi):(?=\S)", re.IGNORECASE)
# A zero-width space. It breaks up text that looks like a link.
_JOINT_BREAK = "\u200b"
_STATEMENT = re.compile(r"<!--\{%(.*?)%\}-->")
_LINE_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Characters that change the direction of the text after them.
_DIRECTIONS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")

# The letters that differ by the kind of transaction, or by the reason why a webhook was turned off.
_CASES: dict[str, set[str]] = {
    MessageKind.MONEY_SENT: {"reversal"},
    MessageKind.MONEY_RECEIVED: {"funding", "reversal"},
    MessageKind.TRANSFER_DECLINED: {"hold", "reversal"},
    MessageKind.WEBHOOK_DISABLED: {"gone", "failing"},
}
# How the ledger's detail names the account that is not active, if it is the payer's.
_PAYERS = "paying account"
# Letters about what readers do themselves. If it was not them, somebody has their password.
_OWN_ACTS = {"money_sent.transfer", "transfer_declined.transfer", "transfer_declined.hold", "hold_placed.payer"}


@dataclass(frozen=True, slots=True)
class Fact:
    """A row in the table of a letter. `is_code` marks ids and the like, which readers copy."""

    label: str
    value: str
    is_code: bool = False
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a letter says between greeting and footer. Only a digest has `rows`; `left_out` says how many it lacks."""

    subject: str
    story: str
    advice: str
    facts: Sequence[Fact]
    link: Link | None
    rows: Sequence[Any] | None = None
    left_out: str | None = None


def inert(text: str) -> str:
    """Return a user's words, made safe for somebody else's letter: in one line, and without links.

    They look the same as before. Mail programs turn text that looks like a link into one.
    """
    line = _LINE_BREAKS.sub(" ", _DIRECTIONS.sub("", text)).strip()
    unlinked = _LINK_JOINTS.sub(lambda found: found[0] + _JOINT_BREAK, line)
    return _SCHEMES.sub(lambda found: found[0] + _JOINT_BREAK, unlinked)


def render(
    kind: str,
    payload: Mapping[str, Any],
    *,
    reader: str,
    language: Language = Language.ENGLISH,
    public_url: str | None = None,
    off_url: str | None = None,
) -> Letter:
    """Return the letter for an outbox message of this kind.

    `reader` is the reader's name. `public_url` is where browsers reach the bank; without it the letter has no link.
    `off_url` is where the reader turns such letters off.
    """
    texts = catalogue(language)
    link = link_of(kind, payload, texts, public_url=public_url)
    form = form_of(kind, payload, has_link=link is not None)
    values = _values(payload, texts)
    content = Content(
        subject=texts.text(f"{form}.subject", **values),
        story=texts.text(f"{form}.story", **values),
        advice=texts.text(_advice_of(kind, form, payload)),
        facts=facts_of(payload, texts),
        link=link,
    )
    return fill(texts, content, reader=reader, off_url=off_url)


def form_of(kind: str, payload: Mapping[str, Any], *, has_link: bool = False) -> str:
    """Return the catalogues' name for the letter: the message's kind, and the case if the kind has several."""
    match kind:
        case MessageKind.MONEY_SENT | MessageKind.MONEY_RECEIVED | MessageKind.TRANSFER_DECLINED:
            case = str(payload["transaction_kind"]).lower()
            return f"{kind}.{case}" if case in _CASES[kind] else f"{kind}.transfer"
        case MessageKind.HOLD_CAPTURED if payload["is_payer"] and payload["amount"] < payload["held_amount"]:
            return f"{kind}.payer_in_part"
        case MessageKind.HOLD_PLACED | MessageKind.HOLD_CAPTURED | MessageKind.HOLD_VOIDED | MessageKind.HOLD_EXPIRED:
            return f"{kind}.{'payer' if payload['is_payer'] else 'payee'}"
        case MessageKind.WEBHOOK_DISABLED:
            return f"{kind}.{payload['reason'] if payload['reason'] in _CASES[kind] else 'secret_lost'}"
        case MessageKind.PASSWORD_RESET:
            return f"{kind}.{'link' if has_link else 'token'}"
        case _:
            return kind


def _advice_of(kind: str, form: str, payload: Mapping[str, Any]) -> str:
    if form in _OWN_ACTS:
        return "advice.own_act"
    if "transaction" in payload:
        return "advice.unexpected"
    is_by_bank = kind in (MessageKind.ACCOUNT_FROZEN, MessageKind.ACCOUNT_UNFROZEN)
    return "advice.unexplained" if is_by_bank else f"{kind}.advice"


def fill(texts: Catalogue, content: Content, *, reader: str, off_url: str | None) -> Letter:
    """Return the letter that the layouts make of the content."""
    shown = {
        "language": texts.language,
        "greeting": texts.text("frame.greeting", reader=inert(reader)),
        "footer": texts.text("frame.footer"),
        "content": content,
        "off": None if off_url is None else Link(texts.text("frame.off"), off_url),
    }
    return Letter(content.subject, text=_TEXT.render(shown).strip() + "\n", html=_HTML.render(shown))


def facts_of(payload: Mapping[str, Any], texts: Catalogue) -> list[Fact]:
    """Return the rows for the payload, in the order in which a reader looks for them."""
    facts = [*_money_facts(payload, texts), *_account_facts(payload, texts)]
    if "host" in payload:
        facts.append(Fact(texts.label("host"), inert(payload["host"])))
    if "description" in payload:
        facts.append(Fact(texts.label("description"), inert(payload["description"])))
    if "failure" in payload:
        facts.append(Fact(texts.label("reason"), reason_of(payload["failure"], texts)))
    if "balance" in payload:
        facts.append(Fact(texts.label("your_balance"), texts.amount(payload["balance"], payload["currency"])))
    if payload.get("available") != payload.get("balance"):
        facts.append(Fact(texts.label("available"), texts.amount(payload["available"], payload["currency"])))
    if "token" in payload:
        facts.append(Fact(texts.label("reset_token"), payload["token"], is_code=True, is_main=True))
    facts.append(Fact(texts.label("time"), texts.time(payload["at"])))
    if "transaction" in payload:
        facts.append(Fact(texts.label("transaction"), str(payload["transaction"]), is_code=True))
    if "reverses" in payload:
        facts.append(Fact(texts.label("reverses"), str(payload["reverses"]), is_code=True))
    return facts


def _money_facts(payload: Mapping[str, Any], texts: Catalogue) -> Iterable[Fact]:
    if "amount" in payload:
        yield Fact(texts.label("amount"), texts.amount(payload["amount"], payload["currency"]), is_main=True)
    if payload.get("held_amount", payload.get("amount")) != payload.get("amount"):
        yield Fact(texts.label("was_on_hold"), texts.amount(payload["held_amount"], payload["currency"]))


def _account_facts(payload: Mapping[str, Any], texts: Catalogue) -> Iterable[Fact]:
    if "account" not in payload:
        return
    own, other = own_account(payload), other_account(payload)
    if "is_payer" not in payload:
        yield Fact(texts.label("your_account"), own, is_code=True)
        if payload.get("name"):
            yield Fact(texts.label("name"), inert(payload["name"]))
        yield Fact(texts.label("currency"), payload["currency"])
    elif payload["is_payer"]:
        yield Fact(texts.label("from_your_account"), own, is_code=True)
        yield Fact(texts.label("to_account"), other, is_code="counterparty" in payload)
    else:
        yield Fact(texts.label("from_account"), other, is_code="counterparty" in payload)
        yield Fact(texts.label("to_your_account"), own, is_code=True)


def own_account(payload: Mapping[str, Any]) -> str:
    """Return the reader's account as people know it. Messages older than account numbers name the id."""
    return grouped(payload.get("number") or str(payload["account"]))


def other_account(payload: Mapping[str, Any]) -> str:
    """Return the other party's account, or the bank's name."""
    if "counterparty" not in payload:
        return "Fincore"
    return grouped(payload.get("counterparty_number") or str(payload["counterparty"]))


def reason_of(failure: Mapping[str, str], texts: Catalogue) -> str:
    """Return why something was declined.

    The API's detail is in English and gives minor units, which people would misread. It is shown only for a code that
    this version does not know.
    """
    key, detail = f"reason.{failure['code']}", failure["detail"]
    if failure["code"] == AccountNotActive.code:
        # The reader is the payer. Only the detail tells which of the two accounts it is.
        key += ".payer" if _PAYERS in detail else ".payee"
    return texts.text(key if key in texts else "reason.unknown", detail=detail)


def _values(payload: Mapping[str, Any], texts: Catalogue) -> dict[str, str]:
    """Return the values for a letter's placeholders."""
    values: dict[str, str] = {}
    if "currency" in payload:
        values["currency"] = payload["currency"]
    for name, field in (("amount", "amount"), ("held", "held_amount")):
        if field in payload:
            values[name] = texts.amount(payload[field], payload["currency"])
    if "expires_at" in payload:
        values["expires_at"] = texts.time(payload["expires_at"])
    return values


class _StyledLoader(PackageLoader):
    """Reads templates, and moves the styles of HTML into its elements."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:
        source, path, is_fresh = super().get_source(environment, template)
        if template.endswith(".html"):
            inliner = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
            source = _STATEMENT.sub(r"{%\1%}", inliner.inline(source))
        return source, path, is_fresh


def _layout(name: str, *, is_html: bool) -> Template:
    environment = Environment(  # nosec B701
        loader=_StyledLoader("app.mail"),
        # Otherwise each letter would check whether the file of a template has changed.
        auto_reload=False,
        autoescape=is_html,  # noqa: S701 -- a mail's text part is not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(paragraph=_paragraph, hanging=_hanging, padded=padded)
    return environment.get_template(name)


def _hanging(text: str, indent: int) -> str:
    """Return a paragraph whose first line starts after the indent, and whose other lines are indented."""
    return wrapped(text, TEXT_WIDTH - indent).replace("\n", "\n" + " " * indent)


@lru_cache(maxsize=PARAGRAPHS_KEPT_MAX)
def _paragraph(text: str) -> str:
    return wrapped(text, TEXT_WIDTH)


_HTML = _layout("layout.html", is_html=True)
_TEXT = _layout("layout.txt", is_html=False)
