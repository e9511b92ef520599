"""The outbox for administrators: messages that wait or were given up, and retrying them."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import clock
from app.admin import service
from app.mongo import Document
from app.outbox import overview
from tests.background import settle
from tests.people import Bank, Person, new_key
from tests.threads import at_once

OUTBOX = "/api/admin/outbox"
MEMBERS = {"id", "kind", "userId", "news", "state", "attempts", "nextAttemptAt", "error", "createdAt"}


def messages(person: Person, query: str = "") -> list[dict[str, Any]]:
    answer = person.get(f"{OUTBOX}{query}")
    assert answer.status == 200, answer.content
    found: list[dict[str, Any]] = answer.body["messages"]
    return found


def pages(person: Person, query: str = "") -> Iterator[list[dict[str, Any]]]:
    """Follow the list to its end."""
    cursor = ""
    while True:
        body = person.get(f"{OUTBOX}?limit=2{query}{cursor}").body
        yield body["messages"]
        if body["nextCursor"] is None:
            return
        cursor = f"&cursor={body['nextCursor']}"


def retry(person: Person, message_id: str) -> Any:
    return person.post(f"{OUTBOX}/{message_id}/retry")


def give_up(database: Database[Document], **query: Any) -> str:
    """Let a message be dead, as after its last attempt; return its id."""
    dead = {"state": "DEAD", "attempts": 12, "error": "550 no such mailbox"}
    found = database.outbox.find_one_and_update({"state": "PENDING", **query}, {"$set": dead})
    assert found is not None
    return str(found["_id"])


def test_what_waits_is_listed_newest_first_and_never_with_its_text(bank: Bank) -> None:
    asha = bank.register("Asha Secretive")
    bank.anonymous.post("/api/auth/password/forgot", {"email": asha.user["email"]})

    answer = bank.system.get(OUTBOX)

    listed = answer.body["messages"]
    assert [each["kind"] for each in listed] == ["password_reset", "welcome"]
    for each in listed:
        assert set(each) == MEMBERS
        assert (each["userId"], each["news"], each["state"], each["attempts"]) == (asha.id, 1, "PENDING", 0)
        assert each["error"] is None
    for secret in (b"token", b"payload", b"Secretive", asha.user["email"].encode()):
        assert secret not in answer.content


def test_a_block_is_one_message_that_says_how_much_it_tells_of(bank: Bank) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    item = {"fromAccount": account, "toAccount": other, "amount": 1}
    asha.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": [item] * 3})

    newest = messages(bank.system)[0]

    assert (newest["kind"], newest["userId"], newest["news"]) == ("block", None, 3)


@pytest.mark.parametrize(("few", "searched"), [(10_000, 50_000), (0, 50_000), (0, 3)])
def test_every_message_of_a_state_is_seen_once(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch, few: int, searched: int
) -> None:
    monkeypatch.setattr(overview, "FEW", few)
    monkeypatch.setattr(overview, "SEARCHED_MAX", searched)
    for _ in range(8):
        bank.register()
    ids = [str(each["_id"]) for each in database.outbox.find().sort("_id", -1)]
    dead = {ids[0], ids[5], ids[7]}
    database.outbox.update_many({"_id": {"$in": [ObjectId(id_) for id_ in dead]}}, {"$set": {"state": "DEAD"}})

    for query, expected in (
        ("", ids),
        ("&state=DEAD", [id_ for id_ in ids if id_ in dead]),
        ("&state=PENDING", [id_ for id_ in ids if id_ not in dead]),
        ("&state=SENT", []),
    ):
        found = [each["id"] for page in pages(bank.system, query) for each in page]
        assert found == expected, query


def test_a_dead_message_is_tried_again(bank: Bank, database: Database[Document]) -> None:
    bank.register()
    dead = give_up(database, kind="welcome")
    assert [(each["id"], each["error"]) for each in messages(bank.system, "?state=DEAD")] == [
        (dead, "550 no such mailbox")
    ]
    administrator = bank.administrator()

    answer = retry(administrator, dead)

    assert answer.status == 202
    message = answer.body["message"]
    assert (message["id"], message["state"], message["attempts"]) == (dead, "PENDING", 0)
    assert messages(bank.system, "?state=DEAD") == []
    found = database.outbox.find_one({"_id": ObjectId(dead)})
    assert found is not None
    assert found["next_attempt_at"] <= clock.now()
    (record,) = bank.system.get(f"/api/admin/audit-log?subject={dead}").body["records"]
    assert (record["action"], record["actor"]) == ("mail_retried", administrator.id)
    assert (record["before"], record["after"]) == (
        {"state": "DEAD", "attempts": "12"},
        {"state": "PENDING", "attempts": "0"},
    )


@pytest.mark.parametrize("change", [{"state": "SENT"}, {"lease": ObjectId()}], ids=["sent", "on its way"])
def test_what_was_sent_or_is_on_its_way_stays_as_it_is(
    bank: Bank, database: Database[Document], change: Document
) -> None:
    bank.register()
    settle()
    database.outbox.update_many({}, {"$set": {**change, "attempts": 1}})
    before = database.outbox.find_one({})
    assert before is not None

    answer = retry(bank.system, str(before["_id"]))

    assert (answer.status, answer.body["message"]["state"]) == (202, before["state"])
    assert database.outbox.find_one({"_id": before["_id"]}) == before
    assert database.audit_log.count_documents({"action": "mail_retried"}) == 0


def test_two_who_try_again_at_once_are_one_retry(bank: Bank, database: Database[Document]) -> None:
    bank.register()
    dead = give_up(database)

    answers = at_once([partial(retry, bank.system, dead)] * 2)

    assert [answer.status for answer in answers] == [202, 202]
    # The later one finds it waiting, and makes it due once more.
    states = [each["before"]["state"] for each in database.audit_log.find({"action": "mail_retried"})]
    assert states.count("DEAD") == 1


@pytest.mark.parametrize("message_id", ["a" * 24, "nonsense", "0" * 24])
def test_an_unknown_message_is_not_found(bank: Bank, message_id: str) -> None:
    answer = retry(bank.system, message_id)

    assert (answer.status, answer.code) == (404, "not_found")


def test_only_administrators_see_the_outbox(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    dead = give_up(database)

    for answer in (person.get(OUTBOX), retry(person, dead), person.get("/api/admin/status")):
        assert (answer.status, answer.code) == (403, "forbidden")
    for answer in (bank.anonymous.get(OUTBOX), bank.anonymous.get("/api/admin/status")):
        assert (answer.status, answer.code) == (401, "token_missing")
    assert messages(bank.system, "?state=DEAD")[0]["attempts"] == 12


@pytest.mark.parametrize("query", ["?state=dead", "?state=", "?limit=0", "?kind=welcome"])
def test_a_wrong_query_is_refused(bank: Bank, query: str) -> None:
    assert bank.system.get(f"{OUTBOX}{query}").code == "validation_failed"


def test_the_status_counts_what_was_posted_and_declined(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    ben, other = bank.customer()
    item = {"fromAccount": account, "toAccount": other, "amount": 100}
    asha.transfer(account, other, 100)
    asha.transfer(account, other, 100_000)
    asha.transfer(account, "a" * 24, 1)
    hold = asha.post("/api/transactions/hold", {**item, "idempotencyKey": new_key()}).body["transaction"]["id"]
    asha.post("/api/transactions/hold", {**item, "idempotencyKey": new_key()})
    ben.post(f"/api/transactions/{hold}/capture", {"idempotencyKey": new_key()})
    asha.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": [item, item]})
    too_much = {**item, "amount": 100_000}
    asha.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": [item, too_much]})

    status = bank.system.get("/api/admin/status")

    assert status.status == 200, status.content
    body = status.body
    # The funding, a transfer, two holds, a capture and a batch of two.
    assert sum(each["posted"] for each in body["postings"]) == 7
    # A transfer, and a batch as a whole. The unknown account left no record.
    assert sum(each["declined"] for each in body["postings"]) == 2
    assert body["declines"] == [{"code": "insufficient_funds", "count": 2}]
    assert len(body["postings"]) == service.POSTINGS_MINUTES + 1
    assert [each["at"] for each in body["postings"]] == sorted(each["at"] for each in body["postings"])
    assert body["holds"] == {"open": 1, "overdue": 0}
    assert (body["users"], body["accounts"]) == (3, 3)
    assert body["outbox"]["waiting"] > 0
    assert body["outbox"]["dead"] == 0
    assert 0 <= body["outbox"]["oldestAgeSeconds"] < 300
    assert body["database"]["schemaVersion"] == 2
    assert body["database"]["upgradeFinished"] is True
    assert body["database"]["version"].count(".") == 2
    assert body["uptimeSeconds"] >= 0


def test_under_high_load_the_status_leaves_out_minutes_that_it_does_not_know_wholly(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    asha, account = bank.customer(1_000)
    _, other = bank.customer()
    for _ in range(5):
        asha.transfer(account, other, 1)
    monkeypatch.setattr("app.admin.repository.POSTINGS_LOOKED_AT_MAX", 3)

    postings = bank.system.get("/api/admin/status").body["postings"]

    # All postings are of this minute, or of the one before.
    assert len(postings) <= 1
