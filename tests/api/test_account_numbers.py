"""Account numbers in the API: every account has one, and it stands for the account wherever a request names one."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import account_numbers
from app.account_numbers import grouped, read_number
from app.ledger.records import treasury_id
from app.mongo import Document
from tests.chance import Draws
from tests.clients import Answer
from tests.people import Bank, Person, new_key
from tests.threads import at_once

CREATE = "/api/accounts/create"
REPLAYED = "idempotency-replayed"
UNKNOWN = "FC76910284736650"
WRONG = "FC77910284736650"
Parties = tuple[Person, str, Person, str]


def as_written(number: str) -> str:
    """Return the number as a hasty person might write it."""
    return f" {grouped(number).lower()} "


def in_path(number: str) -> str:
    return as_written(number).replace(" ", "%20")


def without_ids_of_requests(answer: Answer) -> Any:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def test_every_account_has_a_number_that_stays(bank: Bank) -> None:
    person = bank.register()
    made = person.post(CREATE, {"currency": "EUR"}).body["account"]
    path = f"/api/accounts/{made['id']}"

    assert read_number(made["number"]) == made["number"]
    assert person.get(path).body["account"]["number"] == made["number"]
    assert person.patch(path, {"name": "Rent"}).body["account"]["number"] == made["number"]
    assert [each["number"] for each in person.get("/api/accounts").body["accounts"]] == [made["number"]]
    assert person.get(f"{path}/statement").body["number"] == made["number"]
    assert person.post(f"{path}/close").body["account"]["number"] == made["number"]


def test_the_banks_own_accounts_have_numbers_too(bank: Bank) -> None:
    bank.customer(currency="EUR")

    accounts = bank.system.get("/api/admin/accounts?kind=TREASURY").body["accounts"]

    assert [read_number(each["number"]) for each in accounts] == [each["number"] for each in accounts]
    assert str(treasury_id("EUR")) in [each["id"] for each in accounts]


@pytest.mark.parametrize(
    "path", ["", "/balance", "/balance/history", "/entries", "/statement", "/statement?format=csv", "/statement.csv"]
)
def test_an_account_is_read_by_its_number(bank: Bank, path: str) -> None:
    person, account = bank.customer(1_000)
    period = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z" if "statement" in path or "history" in path else ""
    path = f"{path}{'&' if '?' in path else '?'}{period}" if period else path
    number = person.number_of(account)

    by_id = person.get(f"/api/accounts/{account}{path}")
    by_number = person.get(f"/api/accounts/{in_path(number)}{path}")

    assert by_id.status == by_number.status
    if path == "/balance":
        assert {**by_number.body, "asOf": ""} == {**by_id.body, "asOf": ""}
    else:
        assert by_number.content == by_id.content or by_id.code is not None


def test_an_account_is_changed_by_its_number(bank: Bank) -> None:
    person, account = bank.customer()
    number = person.number_of(account)

    assert person.patch(f"/api/accounts/{number}", {"name": "Rent"}).body["account"]["name"] == "Rent"
    frozen = bank.system.patch(f"/api/admin/accounts/{number}/status", {"status": "FROZEN", "reason": "Stolen"})
    assert (frozen.status, frozen.body["account"]["id"]) == (200, account)
    bank.system.patch(f"/api/admin/accounts/{number}/status", {"status": "ACTIVE", "reason": "Found"})
    closed = person.post(f"/api/accounts/{number}/close")
    assert (closed.status, closed.body["account"]["status"]) == (200, "CLOSED")


def test_money_moves_by_numbers(bank: Bank, parties: Parties) -> None:
    payer, from_id, payee, to_id = parties
    sender, receiver = as_written(payer.number_of(from_id)), as_written(payee.number_of(to_id))
    body = {"fromAccount": sender, "toAccount": receiver, "amount": 10, "idempotencyKey": new_key()}

    transfer = payer.post("/api/transactions/create", body)
    hold = payer.post("/api/transactions/hold", {**body, "idempotencyKey": new_key()})
    item = {"fromAccount": sender, "toAccount": receiver, "amount": 10}
    batch = payer.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": [item, item]})
    bank.fund(receiver, 5)

    assert transfer.status == 201, transfer.content
    assert (transfer.body["transaction"]["fromAccount"], transfer.body["transaction"]["toAccount"]) == (from_id, to_id)
    assert hold.body["transaction"]["toAccount"] == to_id
    assert [each["transaction"]["toAccount"] for each in batch.body["results"]] == [to_id, to_id]
    assert payee.balance(to_id) == 35


def test_a_dry_run_takes_numbers(parties: Parties) -> None:
    payer, from_id, payee, to_id = parties
    numbers = {"fromAccount": payer.number_of(from_id), "toAccount": payee.number_of(to_id)}

    dry = payer.post("/api/transactions/create?dryRun=true", {**numbers, "amount": 10, "idempotencyKey": new_key()})

    assert (dry.status, dry.body["balances"][0]["accountId"]) == (200, from_id)


@pytest.mark.parametrize("call", ["create", "hold", "initial-funds", "batch"])
@pytest.mark.parametrize("first_by_number", [True, False])
def test_a_request_is_the_same_one_by_ids_and_by_numbers(
    bank: Bank, parties: Parties, call: str, first_by_number: bool
) -> None:
    payer, from_id, payee, to_id = parties

    def body(sender: str, receiver: str) -> dict[str, Any]:
        item = {"fromAccount": sender, "toAccount": receiver, "amount": 10}
        if call == "batch":
            return {"transfers": [item, {**item, "amount": 20}], "idempotencyKey": "the key"}
        if call == "initial-funds":
            del item["fromAccount"]
        return {**item, "idempotencyKey": "the key"}

    spellings = [
        body(as_written(payer.number_of(from_id)), as_written(payee.number_of(to_id))),
        body(from_id, to_id.upper()),
    ]
    caller = bank.system if call == "initial-funds" else payer
    first, repeat = (
        caller.post(f"/api/transactions/{call}", each) for each in (spellings if first_by_number else spellings[::-1])
    )
    other = caller.post(f"/api/transactions/{call}", body(from_id, UNKNOWN))

    assert first.status == 201, first.content
    assert (repeat.status, repeat.headers[REPLAYED], repeat.body) == (200, "true", first.body)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert list(other.body["errors"]) == ["transfers" if call == "batch" else "toAccount"]


def test_a_batch_with_an_unknown_number_is_repeated_like_any_other(parties: Parties) -> None:
    payer, from_id, _, to_id = parties
    transfers = [{"fromAccount": from_id, "toAccount": receiver, "amount": 1} for receiver in (UNKNOWN, to_id)]
    body = {"idempotencyKey": "the key", "atomic": False, "transfers": transfers}

    first, repeat = (payer.post("/api/transactions/batch", body) for _ in range(2))

    assert first.body["results"][0]["problem"]["code"] == "account_not_found"
    assert (first.status, repeat.status, repeat.body) == (201, 200, first.body)


def test_a_history_by_number_is_the_history_by_id_and_so_are_its_pages(parties: Parties) -> None:
    payer, from_id, _, to_id = parties
    for amount in (1, 2, 3):
        payer.transfer(from_id, to_id, amount)
    number = in_path(payer.number_of(from_id))

    by_id = payer.get(f"/api/transactions?account={from_id}&limit=2").body
    by_number = payer.get(f"/api/transactions?account={number}&limit=2").body

    assert by_number == by_id
    rest = payer.get(f"/api/transactions?account={number}&limit=2&cursor={by_id['nextCursor']}")
    assert rest.status == 200, rest.content


def test_the_audit_log_is_searched_by_an_accounts_number(bank: Bank) -> None:
    person, account = bank.customer()
    number = person.number_of(account)
    bank.system.patch(f"/api/admin/accounts/{account}/status", {"status": "FROZEN", "reason": "Stolen"})

    found = bank.system.get(f"/api/admin/audit-log?subject={in_path(number)}").body["records"]
    wrong = bank.system.get(f"/api/admin/audit-log?subject={WRONG}")

    assert [(each["action"], each["subject"]) for each in found] == [("account_frozen", account)]
    assert (wrong.status, list(wrong.body["errors"])) == (422, ["subject"])


def test_a_statement_may_name_its_account_by_the_number(bank: Bank) -> None:
    person, account = bank.customer(1_000)
    statement = person.get(f"/api/accounts/{account}/statement").body
    number = statement["number"]

    def verdict(**changes: Any) -> Any:
        return person.post("/api/statements/verify", {**statement, **changes}).body

    assert verdict()["genuine"]
    assert verdict(accountId=as_written(number), number=as_written(number))["genuine"]
    assert verdict(number=UNKNOWN)["fault"]["field"] == "number"
    without = {name: value for name, value in statement.items() if name != "number"}
    assert person.post("/api/statements/verify", without).body["genuine"], "drawn up before there were numbers"


READS: dict[str, Callable[[Person, str], Answer]] = {
    "account": lambda person, named: person.get(f"/api/accounts/{named}"),
    "balance": lambda person, named: person.get(f"/api/accounts/{named}/balance"),
    "series": lambda person, named: person.get(f"/api/accounts/{named}/balance/history"),
    "entries": lambda person, named: person.get(f"/api/accounts/{named}/entries"),
    "statement": lambda person, named: person.get(f"/api/accounts/{named}/statement"),
    "csv": lambda person, named: person.get(f"/api/accounts/{named}/statement.csv"),
    "pdf": lambda person, named: person.get(f"/api/accounts/{named}/statement.pdf"),
    "rename": lambda person, named: person.patch(f"/api/accounts/{named}", {"name": "Mine"}),
    "close": lambda person, named: person.post(f"/api/accounts/{named}/close"),
    "history": lambda person, named: person.get(f"/api/transactions?account={named}"),
}


@pytest.mark.parametrize("call", READS)
def test_a_strangers_number_answers_like_one_that_nobody_has(bank: Bank, call: str) -> None:
    _, account = bank.customer(1_000)
    stranger = bank.register()
    number = bank.system.number_of(account)

    foreign, missing, by_id = (READS[call](stranger, named) for named in (number, UNKNOWN, account))

    assert (foreign.status, foreign.code) == (404, "account_not_found")
    assert without_ids_of_requests(foreign) == without_ids_of_requests(missing) == without_ids_of_requests(by_id)


def test_nobody_pays_from_a_strangers_number(bank: Bank, parties: Parties) -> None:
    payer, from_id, payee, to_id = parties
    numbers = payer.number_of(from_id), payee.number_of(to_id)

    foreign, missing, treasury = (
        payee.transfer(sender, receiver, 10)
        for sender, receiver in (
            numbers,
            (UNKNOWN, numbers[1]),
            (bank.system.number_of(str(treasury_id("INR"))), numbers[1]),
        )
    )

    assert (foreign.status, foreign.code) == (404, "account_not_found")
    assert without_ids_of_requests(foreign) == without_ids_of_requests(missing) == without_ids_of_requests(treasury)
    assert payer.balance(from_id) == 1_000


def test_nobody_pays_to_an_unknown_number_or_to_the_bank(bank: Bank, parties: Parties) -> None:
    payer, from_id, _, _ = parties
    treasury = bank.system.number_of(str(treasury_id("INR")))

    for receiver in (UNKNOWN, treasury):
        answer = payer.transfer(from_id, receiver, 10)
        assert (answer.status, answer.code) == (404, "account_not_found")
    same = payer.transfer(from_id, payer.number_of(from_id), 10)
    assert (same.status, same.code) == (422, "same_account")


@pytest.mark.parametrize("call", READS)
def test_wrong_check_digits_are_named_in_paths(bank: Bank, call: str) -> None:
    answer = READS[call](bank.register(), WRONG)

    assert (answer.status, answer.code) == (422, "validation_failed")
    ((field, (message,)),) = answer.body["errors"].items()
    assert field == ("account" if call == "history" else "accountId")
    assert "check digits 77" in message


def test_wrong_check_digits_are_named_in_bodies(bank: Bank, parties: Parties) -> None:
    payer, from_id, _, to_id = parties
    item = {"fromAccount": from_id, "toAccount": WRONG, "amount": 1}

    create = payer.transfer(from_id, WRONG, 1)
    hold = payer.post("/api/transactions/hold", {**item, "idempotencyKey": new_key()})
    batch = payer.post(
        "/api/transactions/batch",
        {"idempotencyKey": new_key(), "transfers": [{**item, "toAccount": to_id}, item]},
    )
    fund = bank.system.post(
        "/api/transactions/initial-funds", {"toAccount": WRONG, "amount": 1, "idempotencyKey": new_key()}
    )

    for answer, field in (
        (create, "toAccount"),
        (hold, "toAccount"),
        (batch, "transfers.1.toAccount"),
        (fund, "toAccount"),
    ):
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert "check digits 77" in answer.body["errors"][field][0]


def test_wrong_check_digits_tell_a_stranger_to_the_bank_nothing(bank: Bank) -> None:
    for number in (WRONG, UNKNOWN):
        answer = bank.anonymous.get(f"/api/accounts/{number}")
        assert (answer.status, answer.code) == (401, "token_missing")
    user = bank.register()
    answer = user.patch(f"/api/admin/accounts/{WRONG}/status", {"status": "FROZEN", "reason": "Stolen"})
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize(
    "named", ["FC", "FC1234", "FC7691028473665", f"{UNKNOWN}0", "٠" * 24, 76910284736650, None, []]
)
def test_what_is_neither_an_id_nor_a_number_is_refused(parties: Parties, named: Any) -> None:
    payer, from_id, _, _ = parties

    answer = payer.transfer(from_id, named, 1)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert list(answer.body["errors"]) == ["toAccount"]


def test_a_number_that_is_taken_is_drawn_again(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, _ = bank.customer()
    monkeypatch.setattr(account_numbers, "randbelow", Draws(7, 7, 7, 8))

    first, second = (person.post(CREATE, {"idempotencyKey": key}) for key in ("a", "b"))

    assert (first.status, second.status) == (201, 201)
    assert first.body["account"]["number"].endswith("000000000007")
    assert second.body["account"]["number"].endswith("000000000008")
    repeat = person.post(CREATE, {"idempotencyKey": "b"})
    assert (repeat.status, repeat.body) == (200, second.body)
    assert len(person.get("/api/accounts").body["accounts"]) == 3
    assert database.ledger_entries.count_documents({"account": ObjectId(second.body["account"]["id"])}) == 1


def test_two_openings_that_draw_the_same_number_both_succeed(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [bank.customer()[0] for _ in range(4)]
    # Whoever loses runs its block again, which draws anew, also after a mere conflict.
    monkeypatch.setattr(account_numbers, "randbelow", Draws(*[7] * 4, *range(8, 1_000)))

    answers = at_once([partial(person.post, CREATE, {}) for person in people])

    assert [answer.status for answer in answers] == [201] * 4, answers
    numbers = {answer.body["account"]["number"] for answer in answers}
    assert len(numbers) == 4
    for person, answer in zip(people, answers, strict=True):
        assert person.get(f"/api/accounts/{answer.body['account']['number']}").status == 200


def test_a_number_in_jsons_escapes_is_a_number(parties: Parties) -> None:
    payer, from_id, payee, to_id = parties
    body = {"fromAccount": from_id, "toAccount": payee.number_of(to_id), "amount": 3, "idempotencyKey": new_key()}
    escaped = json.dumps(body).replace('"FC', '"\\u0046C').encode()

    answer = payer.post("/api/transactions/create", data=escaped)

    assert (answer.status, payee.balance(to_id)) == (201, 3)
