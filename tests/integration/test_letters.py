"""What readers see: every kind of letter, in text and in HTML."""

import html
import itertools
import re
from typing import Any

import pytest
from bson import ObjectId

from app.mail import digests
from app.mail.desk import ATTEMPTS_MAX, backoff_s
from app.mail.letters import inert, render
from app.outbox.messages import URGENT, MessageKind, OutboxMessage
from tests.letters import ACCOUNT, AT, FORMS, MONEY, PAYLOADS


@pytest.mark.parametrize("is_payer", [True, False])
def test_a_letter_shows_numbers_as_people_read_them_and_ids_only_of_accounts_that_have_none(is_payer: bool) -> None:
    numbers = {"number": "FC13483920175634", "counterparty_number": "FC76910284736650"}

    with_numbers = render(MessageKind.MONEY_SENT, {**MONEY, **numbers, "is_payer": is_payer}, reader="Asha Rao")
    without = render(MessageKind.MONEY_SENT, {**MONEY, "is_payer": is_payer}, reader="Asha Rao")

    for part in (with_numbers.text, with_numbers.html):
        assert "FC13 4839 2017 5634" in part
        assert "FC76 9102 8473 6650" in part
        assert str(MONEY["account"]) not in part
        assert str(MONEY["counterparty"]) not in part
    assert str(MONEY["account"]) in without.text
    assert str(MONEY["counterparty"]) in without.text


@pytest.mark.parametrize(("kind", "payload"), FORMS)
def test_every_letter_says_when_what_and_what_to_do_if_it_was_not_you(kind: MessageKind, payload: Any) -> None:
    letter = render(kind, payload, reader="Asha Rao")

    assert letter.subject
    assert "\n" not in letter.subject
    for part in (letter.text, html.unescape(letter.html)):
        assert letter.subject in part
        assert "Hello Asha Rao," in part
        assert "If this was not you" in part
        assert "22 November 2026, 16:00:05 UTC" in part
        for name in ("account", "transaction", "counterparty", "token"):
            assert str(payload.get(name, "")) in part
        assert payload is not MONEY or "₹500.00" in part
        assert "{{" not in part


@pytest.mark.parametrize(("kind", "payload"), FORMS)
def test_every_letter_has_one_link_to_the_page_if_the_banks_address_is_known(kind: MessageKind, payload: Any) -> None:
    letter = render(kind, payload, reader="Asha Rao", public_url="https://bank.example")

    (address,) = re.findall(r"https?://\S+", letter.text)
    assert address.startswith("https://bank.example/")
    assert re.findall(r'href="([^"]*)"', letter.html) == [address]
    assert str(payload.get("transaction", "")) in address
    assert "http" not in render(kind, payload, reader="Asha Rao").text


def test_the_link_to_a_new_password_has_the_token_where_no_server_sees_it() -> None:
    payload = PAYLOADS[MessageKind.PASSWORD_RESET]

    letter = render(MessageKind.PASSWORD_RESET, payload, reader="Asha Rao", public_url="https://bank.example")

    assert "https://bank.example/reset#token=t0ken\n" in letter.text
    assert 'href="https://bank.example/reset#token=t0ken"' in letter.html


def test_a_digest_leads_to_the_accounts() -> None:
    letter = digests.render(
        [told("account_frozen", ACCOUNT), told("account_unfrozen", ACCOUNT)],
        reader="Asha",
        public_url="https://bank.example",
    )

    assert "See your accounts:\nhttps://bank.example/\n" in letter.text
    assert 'href="https://bank.example/"' in letter.html


@pytest.mark.parametrize("kind", [MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED])
def test_text_of_users_can_not_become_markup(kind: MessageKind) -> None:
    payload = {**MONEY, "description": "<script>alert(1)</script><img src=x>"}

    letter = render(kind, payload, reader='"><a href="http://evil.example">Asha</a>')

    assert "<script" not in letter.html
    assert "<img" not in letter.html
    assert "<a " not in letter.html
    assert "<script>alert(1)</script>" in letter.text


@pytest.mark.parametrize(
    "words",
    [
        "https://evil.example/login",
        "www.evil.example",
        "Pay at evil.example now",
        "help@evil.example",
        "mailto:help@evil.example",
        "HTTP://EVIL.EXAMPLE",
        "evil\u3002example",
    ],
)
def test_what_looks_like_a_link_is_shown_and_is_none(words: str) -> None:
    letters = [
        render(MessageKind.WELCOME, {"at": AT}, reader=words),
        render(MessageKind.MONEY_RECEIVED, {**MONEY, "description": words}, reader="Asha"),
        render(MessageKind.ACCOUNT_OPENED, {**ACCOUNT, "name": words}, reader="Asha"),
    ]

    for letter in letters:
        for part in (letter.text, html.unescape(letter.html)):
            assert words in part.replace("\u200b", "")
            assert not re.search(r"(?i)evil[.\u3002]example|https?://|mailto:h|help@e", part)


def test_a_name_is_one_line_in_a_letter() -> None:
    text = render(MessageKind.WELCOME, {"at": AT}, reader="Asha\r\n\u2028Your account is closed\u202e").text

    assert "Hello Asha Your account is closed," in text


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("Dr. Asha M. Rao", "J.R. 1.5", "O'Neill & Co", "x@y"):
        assert inert(name).replace("\u200b", "") == name
    assert inert("Dr. Asha Rao, 1,000.50") == "Dr. Asha Rao, 1,000.50"


def told(kind: str, payload: dict[str, Any]) -> OutboxMessage:
    return OutboxMessage(kind, ObjectId(), payload)


def test_who_pays_themselves_is_told_once_in_a_digest() -> None:
    accounts = [ObjectId(), ObjectId()]
    both = []
    for number in range(3):
        sides = {**MONEY, "transaction": ObjectId(), "amount": 100 + number}
        both += [
            told("money_sent", {**sides, "account": accounts[0], "counterparty": accounts[1]}),
            told("money_received", {**sides, "is_payer": False, "account": accounts[1], "counterparty": accounts[0]}),
        ]

    letter = digests.render(both, reader="Asha")

    assert letter.subject == "3 transactions on your accounts"
    assert letter.text.count(f"Between your accounts, to {accounts[1]}") == 3


@pytest.mark.parametrize(("kind", "payload"), FORMS)
def test_every_kind_of_news_has_its_row_in_a_digest(kind: MessageKind, payload: Any) -> None:
    if kind in URGENT:
        return
    other = told("account_frozen", {**ACCOUNT, "account": ObjectId()})

    letter = digests.render([told(kind, payload), other], reader="Asha")

    for part in (letter.text, html.unescape(letter.html)):
        assert str(payload.get("transaction", payload["account"])) in part
        assert payload is ACCOUNT or "₹500.00" in part


def test_the_longest_digest_is_shown_whole_by_mail_programs() -> None:
    sent = {name: value for name, value in MONEY.items() if name != "failure"}
    batch = [told("money_sent", {**sent, "transaction": ObjectId()}) for _ in range(500)]

    letter = digests.render(batch, reader="Asha")

    # Gmail cuts a longer one.
    assert len(letter.html.encode()) < 102_000


def test_styles_are_where_mail_clients_look_for_them() -> None:
    page = render(MessageKind.MONEY_SENT, MONEY, reader="Asha").html

    assert '<h1 style="' in page
    assert "http" not in page, "A mail loads nothing from anywhere."


def test_a_decline_names_its_reason_without_minor_units() -> None:
    letter = render(MessageKind.TRANSFER_DECLINED, MONEY, reader="Asha")

    assert "Insufficient funds" in letter.text
    assert "minor units" not in letter.text


def test_retries_begin_within_ten_seconds_and_spread_over_hours() -> None:
    waits = [[backoff_s(attempts) for _ in range(50)] for attempts in range(1, ATTEMPTS_MAX)]

    assert all(0 < wait <= 10 for wait in waits[0])
    assert all(len(set(of_attempt)) > 1 for of_attempt in waits), "Jitter"
    assert all(max(earlier) < 2 * max(later) for earlier, later in itertools.pairwise(waits))
    assert 3_600 < min(waits[-1]) <= max(waits[-1]) <= 4 * 3_600


@pytest.mark.parametrize("kind", sorted(set(MessageKind) - URGENT))
def test_every_kind_that_may_share_a_letter_has_its_words_for_that(kind: MessageKind) -> None:
    assert kind in digests.KINDS
