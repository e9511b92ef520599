"""`flask ledger verify` on holds, reversals and changes of status."""

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import ledger
from app.acts import Act
from app.ledger.commands import Capture, ChangeStatus, Expire, Hold, Reversal, Void
from app.ledger.proof import verify
from app.ledger.records import AccountStatus
from app.mongo import Document
from tests.integration.tampering import change, faults, resealed
from tests.people import Bank, new_key

ACT = Act("cli:test", "because")


def every_kind_of_movement(bank: Bank) -> dict[str, ObjectId]:
    """Hold, capture, void, let expire, reverse, freeze, unfreeze and close; return some of the ids."""
    asha, ashas = bank.customer(1_000)
    ravi, ravis = bank.customer(500)
    poor, poors = bank.customer()
    payer, payee, system = ObjectId(ashas), ObjectId(ravis), ObjectId(bank.system.id)

    def keyed(user: str | ObjectId) -> dict[str, Any]:
        return {
            "id": ObjectId(),
            "user": ObjectId(user),
            "idempotency_key": new_key(),
            "fingerprint": {},
            "salt": bytes(16),
        }

    def hold(amount: int, lifetime: timedelta = timedelta(days=1)) -> ObjectId:
        parties: dict[str, Any] = {"from_account": payer, "to_account": payee, "description": "A deposit"}
        command = Hold(**keyed(asha.id), **parties, amount=amount, lifetime=lifetime)
        return ledger.post([command])[0].unwrap().id

    ids = {name: hold(100) for name in ("pending", "captured", "voided", "reversed")}
    ids["expired"] = hold(100, timedelta(milliseconds=1))
    ledger.post([Capture(**keyed(ravi.id), hold=ids["captured"], amount=60)])[0].unwrap()
    ledger.post([Capture(**keyed(ravi.id), hold=ids["reversed"])])[0].unwrap()
    ledger.post([Void(**keyed(ravi.id), hold=ids["voided"], reason="Not needed")])[0].unwrap()
    # The workers of a server that other tests have running release overdue holds too, and may have been faster.
    ledger.post([Expire(hold=ids["expired"])])
    expired = asha.get(f"/api/transactions/{ids['expired']}").body["transaction"]
    assert expired["failure"]["code"] == "hold_expired"
    sent = ObjectId(asha.transfer(ashas, ravis, 50).body["transaction"]["id"])
    ids |= {"sent": sent, "account": payer, "closed": ObjectId(poors)}
    for original in (sent, ids["reversed"]):
        ledger.post([Reversal(**keyed(system), original=original, act=ACT)])[0].unwrap()
    poor.transfer(poors, ashas, 1)
    for account, status in ((payer, "FROZEN"), (payer, "ACTIVE"), (ids["closed"], "CLOSED")):
        ledger.post([ChangeStatus(account=account, status=AccountStatus(status), act=ACT)])[0].raise_error()
    asha.transfer(ashas, ravis, 1)
    return ids


def test_holds_reversals_and_status_changes_are_sound(bank: Bank) -> None:
    ids = every_kind_of_movement(bank)

    assert faults() == []
    for name in ("account", "closed"):
        report = verify.verify_account(ids[name])
        assert report is not None
        assert report.faults == []


@pytest.mark.parametrize(
    ("name", "fields", "kinds"),
    [
        ("pending", {"status": "VOIDED"}, {"entry", "key_use"}),
        ("voided", {"status": "PENDING"}, {"entry", "key_use"}),
        ("captured", {"held_amount": 99}, {"entry", "record"}),
        ("captured", {"amount": 100}, {"entry"}),
        ("sent", {"status": "COMPLETED"}, {"reversal"}),
        ("sent", {"reversed_by": ObjectId("1" * 24)}, {"reversal"}),
        ("captured", {"status": "REVERSED"}, {"reversal"}),
    ],
)
def test_an_edited_hold_or_reversal(
    bank: Bank, database: Database[Document], name: str, fields: dict[str, Any], kinds: set[str]
) -> None:
    ids = every_kind_of_movement(bank)
    change(database, ids[name], fields)

    assert {kind for kind, *_ in faults()} == kinds


def test_money_that_moved_on_a_frozen_account(bank: Bank, database: Database[Document]) -> None:
    ids = every_kind_of_movement(bank)
    entry = database.ledger_entries.find_one(
        {"account": ids["account"], "type": "STATUS", "description": "ACTIVE", "sequence": {"$gt": 0}}
    )
    assert entry is not None
    database.ledger_entries.update_one({"_id": entry["_id"]}, {"$set": {"description": "FROZEN"}})
    resealed(database, ids["account"], entry["sequence"])

    found = faults()

    assert ("inactive", ids["account"], entry["sequence"] + 1, None) in found
    assert ("status", ids["account"], entry["sequence"], None) in found
