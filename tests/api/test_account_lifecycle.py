"""The statuses of an account through the API: who may change them, what is refused, what a frozen account can do."""

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.clients import Answer
from tests.people import Bank, Person, new_key

STATUSES = ("ACTIVE", "FROZEN", "CLOSED")
# What the bank answers to whom: the owner has one call, which closes; administrators have one for every status.
ALLOWED = {("ACTIVE", "FROZEN"), ("FROZEN", "ACTIVE"), ("ACTIVE", "CLOSED"), ("FROZEN", "CLOSED")}


def set_status(who: Person, account: str, status: str, reason: str = "Because") -> Answer:
    return who.patch(f"/api/admin/accounts/{account}/status", {"status": status, "reason": reason})


def account_with(bank: Bank, status: str) -> tuple[Person, str]:
    owner, account = bank.customer()
    if status != "ACTIVE":
        assert set_status(bank.system, account, status).status == 200
    return owner, account


def status_of(bank: Bank, account: str) -> str:
    status: str = bank.system.get(f"/api/accounts/{account}").body["account"]["status"]
    return status


def audit_records(bank: Bank, subject: str) -> list[Document]:
    records: list[Document] = bank.system.get(f"/api/admin/audit-log?subject={subject}").body["records"]
    return records


@pytest.mark.parametrize("role", ["ADMIN", "SYSTEM"])
@pytest.mark.parametrize("after", STATUSES)
@pytest.mark.parametrize("before", STATUSES)
def test_administrators_change_a_status_as_the_table_says(bank: Bank, before: str, after: str, role: str) -> None:
    staff = bank.administrator() if role == "ADMIN" else bank.system
    _, account = account_with(bank, before)
    known = len(audit_records(bank, account))

    answer = set_status(staff, account, after)

    if (before, after) in ALLOWED:
        assert answer.status == 200
        assert answer.body["account"]["status"] == status_of(bank, account) == after
        assert len(audit_records(bank, account)) == known + 1
    else:
        assert (answer.status, answer.code) == (409, "invalid_status_transition")
        assert status_of(bank, account) == before
        assert len(audit_records(bank, account)) == known


@pytest.mark.parametrize("after", STATUSES)
@pytest.mark.parametrize("before", STATUSES)
def test_a_user_changes_no_status_as_an_administrator(bank: Bank, before: str, after: str) -> None:
    owner, account = account_with(bank, before)

    answer = set_status(owner, account, after)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert status_of(bank, account) == before


@pytest.mark.parametrize("before", STATUSES)
def test_an_owner_closes_an_active_account_only(bank: Bank, before: str) -> None:
    owner, account = account_with(bank, before)
    known = len(audit_records(bank, account))

    answer = owner.post(f"/api/accounts/{account}/close", {"reason": "Moving"})

    if before == "ACTIVE":
        assert answer.status == 200
        assert answer.body["account"] == {**answer.body["account"], "id": account, "status": "CLOSED"}
        assert "userId" not in answer.body["account"]
        assert len(audit_records(bank, account)) == known + 1
    else:
        assert (answer.status, answer.code) == (409, "invalid_status_transition")
        assert len(audit_records(bank, account)) == known


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"reason": null}'])
def test_a_close_needs_no_body(bank: Bank, body: bytes | None) -> None:
    owner, account = bank.customer()

    assert owner.post(f"/api/accounts/{account}/close", data=body).status == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"not json", "application/json", 400),
        (b'{"reason": "x"}', "text/plain", 415),
        (b'{"reason": ""}', "application/json", 422),
        (b'{"reason": 5}', "application/json", 422),
        (b'{"why": "x"}', "application/json", 422),
        (b"[]", "application/json", 422),
    ],
)
def test_a_bad_body_closes_nothing(bank: Bank, body: bytes, content_type: str, status: int) -> None:
    owner, account = bank.customer()

    answer = owner.post(f"/api/accounts/{account}/close", data=body, content_type=content_type)

    assert answer.status == status
    assert status_of(bank, account) == "ACTIVE"


def test_an_account_with_money_or_an_open_hold_is_not_closed(bank: Bank) -> None:
    payer, rich = bank.customer(1)
    payee, expecting = bank.customer()
    body = {"fromAccount": rich, "toAccount": expecting, "amount": 1, "idempotencyKey": new_key()}
    hold = payer.post("/api/transactions/hold", body).body["transaction"]["id"]

    for owner, account in ((payer, rich), (payee, expecting)):
        for answer in (owner.post(f"/api/accounts/{account}/close"), set_status(bank.system, account, "CLOSED")):
            assert (answer.status, answer.code) == (409, "account_not_empty")
        assert status_of(bank, account) == "ACTIVE"
        assert "account_closed" not in [record["action"] for record in audit_records(bank, account)]
    payee.post(f"/api/transactions/{hold}/void", {"idempotencyKey": new_key()})
    assert payee.post(f"/api/accounts/{expecting}/close").status == 200


def test_a_foreign_account_is_closed_by_nobody_and_answers_as_a_missing_one(bank: Bank) -> None:
    _, account = bank.customer()
    stranger, staff = bank.register(), bank.administrator()

    foreign = stranger.post(f"/api/accounts/{account}/close")
    missing = stranger.post(f"/api/accounts/{'0' * 24}/close")

    assert (foreign.status, foreign.code) == (404, "account_not_found")
    assert foreign.body["detail"] == missing.body["detail"]
    assert staff.post(f"/api/accounts/{account}/close").code == "account_not_found"
    assert bank.anonymous.post(f"/api/accounts/{account}/close").status == 401
    assert status_of(bank, account) == "ACTIVE"


def test_a_frozen_account_is_read_by_its_owner_and_moves_nothing(bank: Bank) -> None:
    owner, account = bank.customer(100)
    other, payee = bank.customer(100)
    set_status(bank.system, account, "FROZEN")

    assert owner.balance(account) == 100
    assert owner.get(f"/api/accounts/{account}").body["account"]["status"] == "FROZEN"
    assert owner.transfer(account, payee, 1).code == "account_not_active"
    assert other.transfer(payee, account, 1).code == "account_not_active"
    set_status(bank.system, account, "ACTIVE")
    assert owner.transfer(account, payee, 1).status == 201


def test_every_change_is_one_status_entry_in_the_journal(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer()
    for status in ("FROZEN", "ACTIVE", "CLOSED"):
        set_status(bank.system, account, status)
    set_status(bank.system, account, "ACTIVE")

    entries = database.ledger_entries.find({"type": "STATUS"}).sort("sequence", 1)

    said = [entry["description"] for entry in entries if str(entry["account"]) == account]
    assert said == ["ACTIVE", "FROZEN", "ACTIVE", "CLOSED"]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "FROZEN"},
        {"reason": "x"},
        {"status": "frozen", "reason": "x"},
        {"status": "FROZEN", "reason": " "},
        {"status": "FROZEN", "reason": "x" * 201},
        {"status": {"$ne": 1}, "reason": "x"},
        {"status": "FROZEN", "reason": "x", "user": "y"},
    ],
)
def test_a_status_change_needs_a_status_and_a_reason(bank: Bank, body: Document) -> None:
    _, account = bank.customer()

    assert bank.system.patch(f"/api/admin/accounts/{account}/status", body).code == "validation_failed"
    assert status_of(bank, account) == "ACTIVE"


def test_the_status_of_no_account_and_of_a_treasury_is_not_changed(bank: Bank, database: Database[Document]) -> None:
    bank.customer(1)
    treasury = database.accounts.find_one({"kind": "TREASURY"})
    assert treasury is not None

    assert set_status(bank.system, "0" * 24, "FROZEN").code == "account_not_found"
    assert set_status(bank.system, "nonsense", "FROZEN").code == "account_not_found"
    assert set_status(bank.system, str(treasury["_id"]), "FROZEN").code == "invalid_status_transition"


def test_the_audit_log_tells_who_changed_what_why_and_from_where(bank: Bank) -> None:
    _, account = bank.customer()
    staff = bank.administrator()

    staff.patch(
        f"/api/admin/accounts/{account}/status",
        {"status": "FROZEN", "reason": "Reported stolen"},
        headers={"X-Request-ID": "call-17"},
    )

    (record,) = audit_records(bank, account)
    assert record == {
        "id": record["id"],
        "at": record["at"],
        "actor": staff.id,
        "action": "account_frozen",
        "subject": account,
        "reason": "Reported stolen",
        "before": {"status": "ACTIVE"},
        "after": {"status": "FROZEN"},
        "requestId": "call-17",
        "address": "127.0.0.1",
    }
