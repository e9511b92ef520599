"""A bank made by the first release's own code, after the upgrade: nothing is lost, and everything goes on."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jwt
import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import create_app, mongo
from app.ledger.proof.verify import verify
from app.mongo import Document
from app.mongo.migrations import run
from app.settings.policies import MongoPolicy
from app.statements.press import press
from config import Config
from local.replica_set import ReplicaSet, provision
from tests import first_release
from tests.clients import InProcess
from tests.first_release import NEW_PASSWORD
from tests.mail import smtp_server, use
from tests.people import PASSWORD, Bank, Caller, Person
from tests.proof import assert_ledger_is_whole
from tests.server import JWT_SECRET


@dataclass
class Upgraded:
    """The bank after the upgrade, and what its clients had been told before it."""

    app: Flask
    bank: Bank
    database: Database[Document]
    told: Document

    def person(self, name: str) -> Person:
        """Return somebody with the access token that they had."""
        had = self.told["people"][name]
        return Person(self.bank.client, as_if_new(had["token"]), {"id": had["id"]}, as_if_new(had["refresh"]))

    def account(self, name: str) -> str:
        account: str = self.told["accounts"][name]
        return account


def as_if_new(token: str) -> str:
    """Return a token of the first release with the times of one that was issued just now."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    age = int(time.time()) - claims["iat"]
    moved = {name: claims[name] + age for name in ("iat", "nbf", "exp")}
    return jwt.encode({**claims, **moved}, JWT_SECRET, "HS256", headers=jwt.get_unverified_header(token))


@pytest.fixture
def upgraded(
    old_database: Database[Document], replica_set: ReplicaSet, config: Config, app: Flask
) -> Iterator[Upgraded]:
    run.upgrade(old_database)
    run.finish(old_database)
    uri = provision(replica_set.admin_uri, "application-password", old_database.name)
    application = create_app(replace(config, mongo=MongoPolicy(uri)))
    try:
        yield Upgraded(application, Bank(InProcess(application)), old_database, first_release.what_was_told())
    finally:
        mongo.connect(config.mongo)
        press.configure(config.mongo)


def test_its_ledger_is_sound_and_all_balances_are_as_they_were(upgraded: Upgraded) -> None:
    report = verify()

    assert report.is_sound, report.faults
    assert report.entries > 60
    assert_ledger_is_whole(upgraded.database)
    trial = upgraded.bank.system.get("/api/admin/trial-balance").body
    assert trial["balanced"]
    owners = {
        "savings": "asha",
        "current": "asha",
        "shop": "ravi",
        "empty": "ravi",
        "euros": "joerg",
        "frozen": "joerg",
    }
    for name, owner in owners.items():
        was = upgraded.told["balances"][upgraded.account(name)]
        now = upgraded.person(owner).get(f"/api/accounts/{upgraded.account(name)}/balance").body
        assert {member: now[member] for member in was if member != "asOf"} == {
            member: was[member] for member in was if member != "asOf"
        }


def test_sessions_go_on_and_ended_ones_stay_ended(upgraded: Upgraded) -> None:
    for name in ("asha", "ravi", "joerg"):
        person = upgraded.person(name)
        assert person.get("/api/auth/me").status == 200, "asha's is the one that changed the password"
        refreshed = Caller(upgraded.bank.client, person.refresh_token).post("/api/auth/refresh")
        assert refreshed.status == 200, refreshed.content
    for name in ("ended", "left"):
        person = upgraded.person(name)
        assert person.get("/api/auth/me").code == "token_revoked"
        assert Caller(upgraded.bank.client, person.refresh_token).post("/api/auth/refresh").code == "token_revoked"


def test_people_log_in_with_what_they_know(upgraded: Upgraded) -> None:
    assert upgraded.bank.log_in("asha@fincore.example", NEW_PASSWORD).id == upgraded.told["people"]["asha"]["id"]
    assert upgraded.bank.log_in("joerg@bücher.example").user["email"] == "joerg@xn--bcher-kva.example"
    old = {"email": "asha@fincore.example", "password": PASSWORD}
    assert upgraded.bank.anonymous.post("/api/auth/login", old).code == "invalid_credentials"


def test_a_key_that_was_spent_stays_spent(upgraded: Upgraded) -> None:
    asha, was = upgraded.person("asha"), upgraded.told["first_transfer"]
    savings, shop = upgraded.account("savings"), upgraded.account("shop")
    same = {"description": "Rent", "metadata": {"invoice": "0"}}

    again = asha.transfer(savings, shop, 100, "rent-0", **same)
    other = asha.transfer(savings, shop, 101, "rent-0", **same)

    assert again.status == 200, again.content
    assert {member: again.body["transaction"][member] for member in was} == was
    assert other.code == "idempotency_key_reused"
    assert asha.transfer(upgraded.account("current"), shop, 900_000, "too-much").code == "insufficient_funds"


def test_the_whole_history_is_there_and_an_old_page_s_cursor_is_refused_in_so_many_words(upgraded: Upgraded) -> None:
    asha = upgraded.person("asha")

    first = asha.get("/api/transactions?limit=20").body
    rest = asha.get(f"/api/transactions?limit=20&cursor={first['nextCursor']}").body

    assert [each["id"] for each in first["transactions"]] == upgraded.told["history"]
    ids = [each["id"] for each in (*first["transactions"], *rest["transactions"])]
    assert len(set(ids)) == 38
    assert rest["nextCursor"] is None
    rent = [each for each in rest["transactions"] if each["metadata"]]
    assert rent
    assert all(each["metadata"] == {"invoice": str(each["amount"] - 100)} for each in rent)
    # The first release ordered lists by ids alone.
    assert asha.get(f"/api/transactions?limit=20&cursor={upgraded.told['cursor']}").code == "invalid_cursor"


def test_money_moves_on_and_an_old_hold_is_captured(upgraded: Upgraded) -> None:
    asha, ravi = upgraded.person("asha"), upgraded.person("ravi")
    savings, shop = upgraded.account("savings"), upgraded.account("shop")

    captured = ravi.post(
        f"/api/transactions/{upgraded.told['open_hold']}/capture", {"amount": 900, "idempotencyKey": "capture-now"}
    )
    sent = asha.transfer(savings, shop, 12)
    frozen = upgraded.bank.system.patch(
        f"/api/admin/accounts/{upgraded.account('frozen')}/status", {"status": "ACTIVE", "reason": "Cleared"}
    )

    assert captured.status == 200, captured.content
    assert sent.status == 201, sent.content
    assert frozen.status == 200, frozen.content
    balance = asha.get(f"/api/accounts/{savings}/balance").body
    was = upgraded.told["balances"][savings]
    assert balance["balance"] == balance["availableBalance"] == was["balance"] - 912
    assert verify().is_sound
    newest = upgraded.database.ledger_entries.find_one({"account": ObjectId(savings)}, sort=[("sequence", -1)])
    assert newest is not None
    assert newest["version"] >= 2


def test_old_mail_is_delivered_and_its_reset_token_works(upgraded: Upgraded) -> None:
    waiting = upgraded.database.outbox.count_documents({"state": "PENDING"})
    with smtp_server() as server:
        deliverer = use(upgraded.app, server.port)
        while deliverer.turn() == 0:
            pass
        received = server.await_mail(1)
    assert waiting > 60
    assert upgraded.database.outbox.count_documents({"state": "PENDING"}) == 0
    assert upgraded.database.outbox.count_documents({"state": "DEAD"}) == 0
    (token,) = [found[1] for mail in received for found in re.finditer(r"Reset token:\s+(\S+)", mail.text)]

    reset = {"token": token, "newPassword": NEW_PASSWORD}
    assert upgraded.bank.anonymous.post("/api/auth/password/reset", reset).status == 200

    assert upgraded.person("ravi").get("/api/auth/me").code == "token_revoked"
    assert upgraded.bank.log_in("ravi@fincore.example", NEW_PASSWORD)


def test_an_old_receipt_is_still_signed_by_this_bank(upgraded: Upgraded) -> None:
    (key,) = upgraded.bank.anonymous.get("/.well-known/jwks.json").body["keys"]
    receipt = upgraded.told["receipt"]
    signed = receipt if isinstance(receipt, str) else next(iter(receipt.values()))

    claims = jwt.decode(signed, jwt.PyJWK(key).key, algorithms=["EdDSA"], options={"verify_aud": False})

    assert claims["transaction"]["id"] == upgraded.told["first_transfer"]["id"]
