"""The auditor of the drills notices faults: each test removes or adds something."""

from collections.abc import Callable

import pytest
from bson import Int64, ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.drills.auditor import Auditor, Verdict
from tests.drills.load import Wish, events_of
from tests.mail import Received
from tests.people import Bank


@pytest.fixture
def wishes(bank: Bank) -> list[Wish]:
    """A transfer, a decline and a captured hold, each acknowledged."""
    (payer, from_account), (payee, to_account) = bank.customer(100), bank.customer()
    parties = {"fromAccount": from_account, "toAccount": to_account}
    hold = Wish("hold", payer, "/api/transactions/hold", {**parties, "amount": 9})
    asked = [
        Wish("transfer", payer, "/api/transactions/create", {**parties, "amount": 5}),
        Wish("decline", payer, "/api/transactions/create", {**parties, "amount": 5_000}),
        hold,
    ]
    for wish in asked:
        wish.body["description"] = wish.key
        assert wish.try_once()
    assert hold.outcome is not None
    id_ = hold.outcome.body["transaction"]["id"]
    capture = Wish("capture", payee, f"/api/transactions/{id_}/capture", {"amount": 4})
    assert capture.try_once()
    return [*asked, capture]


def audited(database: Database[Document], wishes: list[Wish]) -> Verdict:
    verdict = Auditor(database).audit(wishes)
    Auditor(database).judge_outbox(verdict)
    return verdict


def test_a_sound_bank_passes(database: Database[Document], wishes: list[Wish]) -> None:
    verdict = audited(database, wishes)

    assert verdict.is_clean, verdict
    assert verdict.acknowledged == 4


def test_a_retry_without_its_key_is_seen_as_doubled(database: Database[Document], wishes: list[Wish]) -> None:
    wishes[0].send("another key")

    verdict = audited(database, wishes)

    assert verdict.doubled == [f"transfer {wishes[0].key} took effect more than once"]


def lose_a_record(database: Database[Document]) -> None:
    database.transactions.delete_one({"amount": 5})


def lose_an_entry(database: Database[Document]) -> None:
    database.ledger_entries.delete_one({"type": "CREDIT", "amount": 5})


def lose_all_of_it(database: Database[Document]) -> None:
    record = database.transactions.find_one_and_delete({"amount": 5})
    assert record is not None
    database.ledger_entries.delete_many({"transaction": record["_id"]})


def change_an_amount(database: Database[Document]) -> None:
    database.ledger_entries.update_one({"type": "CREDIT", "amount": 5}, {"$set": {"amount": Int64(6)}})


def undo_a_capture(database: Database[Document]) -> None:
    database.transactions.update_one({"held_amount": 9}, {"$set": {"status": "PENDING"}})


@pytest.mark.parametrize("damage", [lose_a_record, lose_an_entry, lose_all_of_it, change_an_amount, undo_a_capture])
def test_what_is_lost_or_half_done_is_seen(
    damage: Callable[[Database[Document]], None], database: Database[Document], wishes: list[Wish]
) -> None:
    damage(database)

    verdict = audited(database, wishes)

    assert verdict.lost or verdict.wrong


def test_letters_that_are_missing_or_premature_are_seen(
    bank: Bank, database: Database[Document], wishes: list[Wish]
) -> None:
    users = {user["_id"]: user["email"] for user in database.users.find()}
    stray = Received("somebody@fincore.example", b"\r\nTransaction: aaaaaaaaaaaaaaaaaaaaaaaa")
    auditor, verdict = Auditor(database), Verdict()

    auditor.judge_mail([stray], users, verdict)

    assert (
        "a letter to somebody@fincore.example about aaaaaaaaaaaaaaaaaaaaaaaa, which was never committed"
        in verdict.wrong
    )
    assert sum("got no letter" in wrong for wrong in verdict.wrong) == 2 + 1 + 2 + 1


def test_events_that_are_missing_premature_or_there_twice_are_seen(
    database: Database[Document], wishes: list[Wish]
) -> None:
    payer = wishes[0].person
    user, events = ObjectId(payer.user["id"]), events_of(payer)
    auditor, sound, faulty = Auditor(database), Verdict(), Verdict()
    (sent,) = (each for each in events if each["data"].get("transactionId") == transaction_of(wishes[0]))
    stray = {**sent, "id": "a" * 24, "data": {**sent["data"], "transactionId": "a" * 24}}

    auditor.judge_events({user: events}, sound)
    auditor.judge_events({user: [each for each in events if each != sent]}, faulty)
    auditor.judge_events({user: [*events, sent, stray]}, faulty)

    assert sound.is_clean, sound
    assert any("got no event about TRANSFER" in each for each in faulty.wrong)
    assert any("never committed" in each for each in faulty.wrong)
    assert len(faulty.doubled) == 2


def transaction_of(wish: Wish) -> str:
    assert wish.outcome is not None
    id_: str = wish.outcome.body["transaction"]["id"]
    return id_
