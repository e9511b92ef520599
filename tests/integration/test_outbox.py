"""The outbox: written together with the event or not at all, and leased to one deliverer at a time."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import ledger, mongo
from app.account_numbers import new_number
from app.ledger.commands import Transfer
from app.ledger.group import GroupCommit
from app.ledger.records import TransactionKind
from app.mail.desk import Desk
from app.mail.rounds import Rounds
from app.mongo import Document
from app.mongo.migrations.version_2 import mark_urgent_mail
from app.outbox import messages, waiting
from app.outbox import repository as outbox
from app.outbox.messages import Happening, MessageState, News, OutboxMessage
from tests.integration.branch import process
from tests.mail import told
from tests.people import Bank, Person
from tests.upgrades import run_again

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
SOON = NOW + timedelta(seconds=40)


def kinds(database: Database[Document], person: Person) -> list[str]:
    return [message.kind for message in told(database) if message.user == ObjectId(person.id)]


def fill(count: int) -> None:
    made = [messages.welcome({"_id": ObjectId(), "created_at": NOW}) for _ in range(count)]
    mongo.atomically(lambda session: outbox.insert(made, session))


def test_each_event_writes_one_message_for_each_reader(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()

    payer.transfer(from_account, to_account, 400)
    payer.transfer(from_account, to_account, 4_000)

    assert kinds(database, payer) == [
        "welcome", "account_opened", "money_received", "money_sent", "transfer_declined",
    ]  # fmt: skip
    assert kinds(database, payee) == ["welcome", "account_opened", "money_received"]
    assert kinds(database, bank.system) == []


def test_a_replay_and_a_refusal_without_a_record_write_nothing(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    payer.transfer(from_account, to_account, 400, "rent")
    before = database.outbox.count_documents({})

    assert payer.transfer(from_account, to_account, 400, "rent").status == 200
    assert payer.transfer(from_account, from_account, 400).code == "same_account"
    assert payer.transfer(from_account, to_account, 500, "rent").code == "idempotency_key_reused"

    assert database.outbox.count_documents({}) == before


def test_a_taken_address_gets_no_second_welcome(bank: Bank, database: Database[Document]) -> None:
    body = {"name": "Asha", "email": "asha@fincore.example", "password": "long enough"}
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(bank.anonymous.post("/api/auth/register", body).status))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201] + [409] * 5
    assert database.outbox.count_documents({"kind": "welcome"}) == 1


def test_a_block_that_rolls_back_leaves_no_message(database: Database[Document]) -> None:
    def block(session: Any) -> None:
        outbox.insert([messages.welcome({"_id": ObjectId(), "created_at": NOW})], session)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- its own
        mongo.atomically(block)

    assert database.outbox.count_documents({}) == 0


def test_blocks_that_race_and_run_again_tell_of_each_transfer_once(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(100_000)
    _, to_account = bank.customer()
    # Two groups post as two processes would: they know of each other only by MongoDB's conflicts.
    groups = [process(batch_size_max=5, queue_size_max=1_000, timeout_ms=20_000) for _ in range(2)]

    def post(group: GroupCommit) -> None:
        for _ in range(10):
            group.post([transfer(payer, from_account, to_account)])

    threads = [threading.Thread(target=post, args=(group,)) for group in groups for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert database.transactions.count_documents({"kind": "TRANSFER"}) == 60
    sent = [message.payload["transaction"] for message in told(database) if message.kind == "money_sent"]
    assert len(sent) == len(set(sent)) == 60


def transfer(payer: Person, from_account: str, to_account: str) -> Transfer:
    key = ObjectId()
    return Transfer(
        id=key,
        user=ObjectId(payer.id),
        idempotency_key=str(key),
        fingerprint={"idempotencyKey": "x"},
        salt=bytes(16),
        kind=TransactionKind.TRANSFER,
        from_account=ObjectId(from_account),
        to_account=ObjectId(to_account),
        amount=1,
    )


def test_a_block_of_transfers_writes_one_document_of_ids(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()

    payer.transfer(from_account, to_account, 5_000)
    before = database.outbox.count_documents({})
    commands = [transfer(payer, from_account, to_account) for _ in range(50)]

    ledger.post(commands)

    assert database.outbox.count_documents({}) == before + 1
    (block,) = database.outbox.find({"kind": "block"}).sort("_id", -1).limit(1)
    assert block["news"] == [{"event": "moved", "subjects": [command.id for command in commands]}]
    balances = [message.payload["balance"] for message in told(database) if message.kind == "money_sent"]
    assert balances == list(range(999, 949, -1))


def test_what_a_message_says_is_as_it_was_when_it_happened(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()
    hold = payer.post(
        "/api/transactions/hold",
        {"fromAccount": from_account, "toAccount": to_account, "amount": 300, "idempotencyKey": "h"},
    )
    assert hold.status == 201, hold.body
    before = told(database)[-2:]

    captured = payee.post(
        f"/api/transactions/{hold.body['transaction']['id']}/capture", {"amount": 200, "idempotencyKey": "c"}
    )
    assert captured.status in (200, 201), captured.body

    after = told(database)[-4:]
    assert after[:2] == before
    assert [message.kind for message in after] == ["hold_placed"] * 2 + ["hold_captured"] * 2
    placed, settled = after[0].payload, after[2].payload
    assert (placed["amount"], placed["balance"], placed["available"]) == (300, 1_000, 700)
    assert (settled["amount"], settled["balance"], settled["available"]) == (200, 800, 800)


def due(now: datetime = NOW) -> list[ObjectId]:
    return [message["_id"] for message in outbox.find_urgent(now, 1_000)]


def test_a_claimed_message_is_nobody_elses_until_its_lease_ends(database: Database[Document]) -> None:
    fill(3)
    later = SOON + timedelta(seconds=40)
    everything = due()

    assert len(outbox.claim(everything[:2], ObjectId(), now=NOW, until=SOON)) == 2
    assert len(outbox.claim(everything, ObjectId(), now=NOW, until=SOON)) == 1
    assert outbox.claim(everything, ObjectId(), now=NOW, until=SOON) == []
    assert not outbox.is_due(NOW)
    assert len(outbox.claim(everything, ObjectId(), now=SOON, until=later)) == 3


def test_deliverers_that_claim_at_the_same_time_share_the_messages(database: Database[Document]) -> None:
    fill(200)
    everything = due()
    claimed: list[ObjectId] = []

    def claim() -> None:
        for start in range(0, 200, 10):
            batch = outbox.claim(everything[start : start + 10], ObjectId(), now=NOW, until=SOON)
            claimed.extend(message["_id"] for message in batch)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == sorted(everything)


def test_who_lost_the_lease_changes_nothing(database: Database[Document]) -> None:
    fill(1)
    slow, quick = ObjectId(), ObjectId()
    (message,) = outbox.claim(due(), slow, now=NOW, until=SOON)
    outbox.claim(due(SOON), quick, now=SOON, until=SOON + timedelta(seconds=40))

    outbox.mark_dead([message["_id"]], slow, error="late")
    outbox.release([message["_id"]], slow)
    assert outbox.count(MessageState.DEAD) == 0
    assert not outbox.is_due(SOON)

    outbox.mark_sent([message["_id"]], quick, now=SOON)
    assert database.outbox.count_documents({"state": "SENT"}) == 1


def test_a_claim_counts_an_attempt_and_giving_back_takes_it_off(database: Database[Document]) -> None:
    fill(1)
    lease = ObjectId()
    (message,) = outbox.claim(due(), lease, now=NOW, until=SOON)
    assert message["attempts"] == 1

    outbox.release([message["_id"]], lease)

    assert database.outbox.count_documents({"attempts": 0, "lease": {"$exists": False}}) == 1


def test_what_is_given_back_keeps_its_place_before_what_came_later(database: Database[Document]) -> None:
    fill(1)
    lease = ObjectId()
    (old,) = outbox.claim(due(), lease, now=SOON, until=SOON + timedelta(seconds=40))
    made = messages.welcome({"_id": ObjectId(), "created_at": NOW + timedelta(seconds=1)})
    mongo.atomically(lambda session: outbox.insert([made], session))

    outbox.release([old["_id"]], lease)

    assert due(SOON)[0] == old["_id"]
    assert len(due(SOON)) == 2


def test_a_reset_token_is_forgotten_once_it_is_sent(database: Database[Document]) -> None:
    reset = messages.password_reset({"_id": ObjectId()}, "s3cret", at=NOW, expires_at=SOON)
    mongo.atomically(lambda session: outbox.insert([reset], session))
    lease = ObjectId()
    (message,) = outbox.claim(due(), lease, now=NOW, until=SOON)
    assert message["payload"]["token"] == "s3cret"

    outbox.mark_sent([message["_id"]], lease, now=NOW)

    assert "s3cret" not in str(database.outbox.find_one())


def test_whose_turn_it_is_costs_one_seek_for_each_reader(database: Database[Document]) -> None:
    readers = [ObjectId() for _ in range(3)]
    told = [opened(reader) for reader in readers for _ in range(100)]
    mongo.atomically(lambda session: outbox.insert(told, session))

    assert waiting.find_readers(NOW, after=None, size_max=10) == sorted(readers)
    assert waiting.find_readers(NOW, after=readers[0], size_max=10) == [*readers[1:], readers[0]]
    plan = database.command("explain", {"aggregate": "outbox", "cursor": {}, "pipeline": waiting.oldest_of_each({})})
    assert "DISTINCT_SCAN" in str(plan)


@pytest.mark.parametrize("few", [0, waiting.FEW])
def test_who_waits_for_something_later_has_no_turn(
    database: Database[Document], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FEW", few)
    readers = sorted(ObjectId() for _ in range(5))
    mongo.atomically(lambda session: outbox.insert([opened(reader) for reader in readers], session))
    database.outbox.update_many({"user": {"$in": readers[1:3]}}, {"$set": {"next_attempt_at": SOON}})

    assert waiting.find_readers(NOW, after=None, size_max=2) == [readers[0], readers[3]]
    assert waiting.find_readers(NOW, after=readers[3], size_max=10) == [readers[4], readers[0], readers[3]]
    assert waiting.find_readers(SOON, after=None, size_max=10) == readers


def test_a_reader_of_very_much_is_looked_at_after_the_others_and_not_forgotten(database: Database[Document]) -> None:
    busy, other = sorted(ObjectId() for _ in range(2))
    told = [opened(reader) for reader in (busy, busy, busy, other)]
    mongo.atomically(lambda session: outbox.insert(told, session))

    assert list(waiting.find_waiting([busy, other], NOW, 2, after=None)) == [busy]
    assert list(waiting.find_waiting([other, busy], NOW, 2, after=busy)) == [other]
    (found,) = waiting.find_waiting([busy, other], NOW, 2, after=other).values()
    assert [(each["user"], each["size"]) for each in found] == [(busy, 1)] * 2


def test_the_search_for_due_messages_reads_nothing_else(database: Database[Document]) -> None:
    fill(30)
    database.outbox.update_many({}, {"$set": {"state": "SENT", "sent_at": NOW}})
    fill(2)

    query = {"state": "PENDING", "next_attempt_at": {"$lte": NOW}}
    explained = database.command(
        "explain", {"find": "outbox", "filter": query, "sort": {"next_attempt_at": 1}, "limit": 50}
    )

    assert explained["executionStats"]["totalDocsExamined"] == 2
    assert explained["executionStats"]["totalKeysExamined"] == 2


def test_the_search_for_due_blocks_reads_nothing_else(database: Database[Document]) -> None:
    fill(30)
    block = outbox.block_document([News(Happening.MOVED, ObjectId())], at=NOW)
    told = {"state": "SENT", "sent_at": NOW}
    later = {"next_attempt_at": SOON}
    database.outbox.insert_many(
        [{**block, "_id": ObjectId(), **more} for more in [told] * 30 + [later] * 30 + [{}] * 2]
    )

    assert len(outbox.find_blocks(NOW, 100)) == 2
    explained = database.command(
        "explain",
        {
            "find": "outbox",
            "filter": {"user": {"$exists": False}, "state": "PENDING", "next_attempt_at": {"$lte": NOW}},
            "sort": {"next_attempt_at": 1},
            "hint": "state_1_user_1_next_attempt_at_1",
        },
    )
    assert explained["executionStats"]["totalKeysExamined"] <= 3
    assert "SORT" not in str(explained["queryPlanner"]["winningPlan"])


def opened(reader: ObjectId) -> OutboxMessage:
    account = {
        "_id": ObjectId(),
        "number": new_number(),
        "user": reader,
        "name": None,
        "currency": "INR",
        "created_at": NOW,
    }
    return messages.account_opened(account)


def as_version_1(told: Sequence[OutboxMessage], database: Database[Document]) -> None:
    mongo.atomically(lambda session: outbox.insert(told, session))
    database.outbox.update_many({}, {"$unset": {"urgent": "", "moment": ""}})


def test_security_mail_that_version_1_wrote_is_not_put_off(database: Database[Document]) -> None:
    reader = ObjectId()
    changed = [messages.password_changed({"_id": reader}, NOW) for _ in range(2)]
    as_version_1([*changed, *(opened(reader) for _ in range(3))], database)

    for _ in range(5):
        # A lease that is over at once, as if every letter failed.
        Rounds().claim(Desk(until=NOW), now=NOW, letters_per_day=1)

    put_off = database.outbox.distinct("kind", {"next_attempt_at": {"$gt": NOW}})
    assert put_off == ["account_opened"]
    assert database.outbox.count_documents({"kind": "password_changed", "attempts": {"$gt": 0}}) == 2


def test_an_update_marks_the_security_mail_that_version_1_wrote(database: Database[Document]) -> None:
    reader = ObjectId()
    as_version_1([messages.password_changed({"_id": reader}, NOW), opened(reader)], database)
    assert due() == []

    for _ in range(2):
        run_again(mark_urgent_mail, database)

    (marked,) = due()
    assert database.outbox.find_one({"_id": marked}, {"_id": 0, "kind": 1}) == {"kind": "password_changed"}
