"""Renders an outbox message as a letter. No Flask, database or clock.

Each kind of message has one template with its words. The template extends `layout`, which is
layout.html or layout.txt, so that both parts of a mail say the same.

Mail programs want styles in each element. They are put there once, in the template. So that
its statements survive that, they stand in comments: `<!--{% … %}-->`.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.account_numbers import grouped
from app.errors import PROBLEMS
from app.mail.links import Link, link_of
from app.money import format_amount

TEXT_WIDTH = 72
# Most paragraphs are the same in all letters of a kind.
PARAGRAPHS_KEPT_MAX = 200

# Where mail programs detect a link or an address in plain text: at dots inside words, after a scheme, and at an @.
_LINK_JOINTS = re.compile(
    r"(?<=\w)[.\u3002\uff0e\uff61](?=[^\W\d])|:(?=/)|/(?=/)|(?<=\S)@(?=\S+[.\u3002\uff0e\uff61]\S)"
)
_SCHEMES = re.compile(r"\b(mailto|tel|sms|skype|javascript|data|file|urn|magnet|bitcoin|upi):(?=\S)", re.IGNORECASE)
# A zero-width space. It breaks up text that looks like a link.
_JOINT_BREAK = "\u200b"
_STATEMENT = re.compile(r"<!--\{%(.*?)%\}-->")
_LINE_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Characters that change the direction of the text after them.
_DIRECTIONS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Letter:
    """A rendered mail."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A row of the table that most letters have. `is_code` marks ids and the like, which readers copy."""

    label: str
    value: str
    is_code: bool = False
    is_main: bool = False


def inert(text: str) -> str:
    """Return a user's words, made safe for somebody else's letter: in one line, and without links.

    They look the same as before. Mail programs turn text that looks like a link into one.
    """
    line = _LINE_BREAKS.sub(" ", _DIRECTIONS.sub("", text)).strip()
    unlinked = _LINK_JOINTS.sub(lambda found: found[0] + _JOINT_BREAK, line)
    return _SCHEMES.sub(lambda found: found[0] + _JOINT_BREAK, unlinked)


def render(kind: str, payload: Mapping[str, Any], *, reader: str, public_url: str | None = None) -> Letter:
    """Return the letter for an outbox message of this kind.

    `reader` is the reader's name. `public_url` is where browsers reach the bank; without it the letter has no link.
    """
    shown = {
        "payload": payload,
        "facts": facts_of(payload),
        "amount": _money(payload, "amount"),
        "held": _money(payload, "held_amount"),
    }
    return fill(f"{kind}.j2", shown, reader=reader, link=link_of(kind, payload, public_url=public_url))


def fill(template: str, shown: Mapping[str, Any], *, reader: str, link: Link | None) -> Letter:
    """Return the letter that a template makes: subject, text and HTML."""
    shown = {**shown, "reader": inert(reader), "link": link}
    return Letter(
        subject=_one_line(_TEXT.get_template(template).render(shown, layout="subject.txt")),
        text=_TEXT.get_template(template).render(shown, layout="layout.txt").strip() + "\n",
        html=_HTML.get_template(template).render(shown, layout="layout.html"),
    )


def facts_of(payload: Mapping[str, Any]) -> list[Fact]:
    """Return the rows for what the payload holds, in the order in which a reader looks for them."""
    facts = [*_money_facts(payload), *_account_facts(payload)]
    if "host" in payload:
        facts.append(Fact("Host", inert(payload["host"])))
    if "description" in payload:
        facts.append(Fact("Description", inert(payload["description"])))
    if "failure" in payload:
        facts.append(Fact("Reason", reason_of(payload["failure"])))
    if "balance" in payload:
        facts.append(Fact("Your balance", format_amount(payload["balance"], payload["currency"])))
    if payload.get("available") != payload.get("balance"):
        facts.append(Fact("Available", format_amount(payload["available"], payload["currency"])))
    if "token" in payload:
        facts.append(Fact("Reset token", payload["token"], is_code=True, is_main=True))
    facts.append(Fact("Time", time_of(payload["at"])))
    if "transaction" in payload:
        facts.append(Fact("Transaction", str(payload["transaction"]), is_code=True))
    if "reverses" in payload:
        facts.append(Fact("Reverses", str(payload["reverses"]), is_code=True))
    return facts


def _money_facts(payload: Mapping[str, Any]) -> Iterable[Fact]:
    if "amount" in payload:
        yield Fact("Amount", format_amount(payload["amount"], payload["currency"]), is_main=True)
    if payload.get("held_amount", payload.get("amount")) != payload.get("amount"):
        yield Fact("Was on hold", format_amount(payload["held_amount"], payload["currency"]))


def _account_facts(payload: Mapping[str, Any]) -> Iterable[Fact]:
    if "account" not in payload:
        return
    own, other = own_account(payload), other_account(payload)
    if "is_payer" not in payload:
        yield Fact("Your account", own, is_code=True)
        if payload.get("name"):
            yield Fact("Name", inert(payload["name"]))
        yield Fact("Currency", payload["currency"])
    elif payload["is_payer"]:
        yield Fact("From your account", own, is_code=True)
        yield Fact("To account", other, is_code="counterparty" in payload)
    else:
        yield Fact("From account", other, is_code="counterparty" in payload)
        yield Fact("To your account", own, is_code=True)


def own_account(payload: Mapping[str, Any]) -> str:
    """Return the reader's account as people know it. A message of before there were numbers names the id."""
    return grouped(payload.get("number") or str(payload["account"]))


def other_account(payload: Mapping[str, Any]) -> str:
    """Return the other party's account, or the bank's name."""
    if "counterparty" not in payload:
        return "Fincore"
    return grouped(payload.get("counterparty_number") or str(payload["counterparty"]))


class _StyledLoader(PackageLoader):
    """Reads templates, and moves the styles of HTML into its elements."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:
        source, path, is_fresh = super().get_source(environment, template)
        if template.endswith(".html"):
            inliner = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
            source = _STATEMENT.sub(r"{%\1%}", inliner.inline(source))
        return source, path, is_fresh


def _environment(*, is_html: bool) -> Environment:
    environment = Environment(  # nosec B701
        loader=_StyledLoader("app.mail"),
        # Otherwise each letter would look whether a template's file has changed.
        auto_reload=False,
        autoescape=is_html,  # noqa: S701 -- a mail's text part is not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(time=time_of, paragraph=_paragraph)
    return environment


def _one_line(text: str) -> str:
    # Not str.split, because the no-break space between a currency and its digits must stay.
    return re.sub(r"[ \n]+", " ", text).strip()


@lru_cache(maxsize=PARAGRAPHS_KEPT_MAX)
def _paragraph(text: str) -> str:
    return textwrap.fill(_one_line(text), TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)


def _money(payload: Mapping[str, Any], name: str) -> str | None:
    return format_amount(payload[name], payload["currency"]) if name in payload else None


def time_of(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M:%S} UTC"


def reason_of(failure: dict[str, str]) -> str:
    # The API's detail gives minor units, which people would misread.
    if failure["code"] == "insufficient_funds":
        return "Insufficient funds: less money was available on the account than the amount."
    problem = PROBLEMS.get(failure["code"])
    return f"{problem.title}: {failure['detail']}" if problem else failure["detail"]


_HTML = _environment(is_html=True)
_TEXT = _environment(is_html=False)
