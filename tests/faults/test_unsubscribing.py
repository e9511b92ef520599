"""A letter's link turns letters off without logging in, and does nothing else."""

import base64
import re
from urllib.parse import urlsplit

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.auth.preferences import SECURITY
from app.auth.unsubscribing import read_token, token_for
from app.mongo import Document
from app.outbox.events import EventType
from tests.faults.test_mail_choices import PATH, Payments
from tests.mail import Received, SmtpServer
from tests.people import Bank
from tests.server import JWT_SECRET

BANK = "https://bank.example"
ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"
SECRETS = ["a secret of the bank", "an earlier one"]
USER = ObjectId("6560a1b2c3d4e5f601234567")
SENT = [EventType.MONEY_SENT]


@pytest.fixture
def payments(
    mail_app: Flask, bank: Bank, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> Payments:
    monkeypatch.setitem(mail_app.config, "PUBLIC_URL", BANK)
    return Payments(mail_app, bank, database, server)


def link_in(received: Received) -> str:
    """Return the address, without the bank's, by which the letter is turned off: the same in all three places."""
    (url,) = re.findall(rf"{BANK}/unsubscribe\S+", received.text)
    assert received.message["List-Unsubscribe"] == f"<{url}>"
    assert received.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert f'href="{url}"' in received.html
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_one_click_turns_this_kind_off_and_no_other(payments: Payments) -> None:
    payments.pay_in_blocks(1)
    (letter,) = payments.to_ben()
    link, nobody = link_in(letter), payments.bank.anonymous
    before = payments.ben.get(PATH).body["kinds"]

    asked = nobody.get(link)
    assert (asked.status, payments.ben.get(PATH).body["kinds"]) == (200, before), "Scanners of mail follow links."
    assert b"money that you received" in asked.content
    for _ in range(2):
        answer = nobody.post(link, data=ONE_CLICK, content_type=FORM)
        assert answer.status == 200, answer.content
        assert payments.ben.get(PATH).body["kinds"] == {**before, "money.received": "off"}

    payments.server.received.clear()
    payments.pay_in_blocks(1)
    assert payments.to_ben() == []


def test_the_link_of_a_digest_turns_all_its_kinds_off(payments: Payments) -> None:
    payments.choose(money_received="daily", account_opened="daily")
    payments.ben.open_account()
    payments.pay_in_blocks(1)
    payments.let_digests_be_due()
    payments.deliverer.deliver_due()
    (letter,) = payments.to_ben()

    answer = payments.bank.anonymous.post(link_in(letter), data=b"", content_type=FORM)

    assert answer.status == 200
    kinds = payments.ben.get(PATH).body["kinds"]
    assert (kinds["money.received"], kinds["account.opened"], kinds["money.sent"]) == ("off", "off", "each")


def test_letters_about_security_have_no_such_link(payments: Payments) -> None:
    path = f"/api/admin/accounts/{payments.target}/status"
    assert payments.bank.system.patch(path, {"status": "FROZEN", "reason": "check"}).status == 200
    payments.deliverer.deliver_due()

    (letter,) = payments.to_ben()

    assert "List-Unsubscribe" not in letter.message
    assert "unsubscribe" not in letter.text + letter.html


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:5000"])
def test_without_a_public_address_there_is_no_link_and_without_https_no_header(
    payments: Payments, mail_app: Flask, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mail_app.config, "PUBLIC_URL", address)
    payments.pay_in_blocks(1)

    (letter,) = payments.to_ben()

    assert "List-Unsubscribe" not in letter.message
    assert ("/unsubscribe?token=" in letter.text) is (address is not None)


@pytest.mark.parametrize(
    "query", ["?token=AAAA", "?token=" + "A" * 43, "?token=%C3%A4", "", "?token=", "?token=a&token=b"]
)
def test_a_link_that_the_bank_did_not_make_is_refused(payments: Payments, query: str) -> None:
    for method in ("GET", "POST"):
        answer = payments.bank.anonymous.call(method, f"/unsubscribe{query}")
        assert answer.status in (404, 422), answer.content


def test_the_link_of_a_user_who_is_gone_is_refused(payments: Payments) -> None:
    token = token_for(USER, SENT, [JWT_SECRET])

    assert payments.bank.anonymous.post(f"/unsubscribe?token={token}").status == 404


def test_a_token_says_whose_and_which_to_the_bank_alone() -> None:
    types = [type_ for type_ in EventType if token_for(USER, [type_], SECRETS)]
    assert not SECURITY & set(types)
    assert {EventType.ACCOUNT_RENAMED, EventType.PAYEE_ADDED} == set(EventType) - SECURITY - set(types)
    token = token_for(USER, types, SECRETS)

    assert token is not None
    assert token == token_for(USER, types, SECRETS)
    assert USER.binary not in base64.urlsafe_b64decode(token + "=")
    found = read_token(token, SECRETS)
    assert found is not None
    assert (found[0], set(found[1])) == (USER, set(types))
    assert read_token(token, ["a newer secret", SECRETS[0]]) == found
    assert read_token(token, SECRETS[1:]) is None
    assert token_for(USER, [EventType.MONEY_SENT, EventType.ACCOUNT_FROZEN], SECRETS) is None
    assert token_for(USER, [None], SECRETS) is None


def test_no_change_of_a_token_is_another_one() -> None:
    token = token_for(USER, SENT, SECRETS)
    assert token is not None

    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        found = read_token(token[:place] + other + token[place + 1 :], SECRETS)
        # The last character has bits that stand for nothing.
        assert found is None or (place == len(token) - 1 and found == (USER, SENT))
