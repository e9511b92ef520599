"""Opening an account under an idempotency key: once, and no other call may use that key."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from tests.clients import InProcess
from tests.people import Bank, Caller, new_key

CREATE = "/api/accounts/create"
REPLAYED = "idempotency-replayed"
THREADS = 12


def count_of(person: Caller) -> int:
    return len(person.get("/api/accounts").body["accounts"])


@pytest.mark.parametrize("body", [{}, {"currency": "EUR"}, {"name": "Rent", "currency": None}])
def test_a_repeat_gets_the_same_account_and_is_marked(bank: Bank, body: dict[str, Any]) -> None:
    person = bank.register()

    first = person.post(CREATE, {**body, "idempotencyKey": "a"})
    by_header = person.post(CREATE, body, headers={"Idempotency-Key": "a"})
    by_body = person.post(CREATE, {**body, "idempotencyKey": "a"})

    assert (first.status, REPLAYED in first.headers) == (201, False)
    assert first.headers["location"].endswith(first.body["account"]["id"])
    for repeat in (by_header, by_body):
        assert (repeat.status, repeat.headers[REPLAYED], repeat.body) == (200, "true", first.body)
    assert count_of(person) == 1


def test_a_repeat_shows_the_account_as_it_was_first_answered(bank: Bank) -> None:
    person = bank.register()
    first = person.post(CREATE, {"name": "Rent", "idempotencyKey": "a"}).body
    account = first["account"]["id"]
    person.patch(f"/api/accounts/{account}", {"name": "Holidays"})
    assert person.post(f"/api/accounts/{account}/close").status == 200

    assert person.post(CREATE, {"name": "Rent", "idempotencyKey": "a"}).body == first
    assert person.get(f"/api/accounts/{account}").body["account"]["status"] == "CLOSED"


@pytest.mark.parametrize(
    ("body", "differing"), [({"currency": "EUR"}, "currency"), ({"name": "Other"}, "name"), ({}, "name")]
)
def test_another_request_under_the_key_is_refused_and_says_what_differs(
    bank: Bank, body: dict[str, Any], differing: str
) -> None:
    person = bank.register()
    person.post(CREATE, {"name": "Rent", "idempotencyKey": "a"})

    answer = person.post(CREATE, {**body, "idempotencyKey": "a"})

    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert differing in answer.body["errors"]
    assert count_of(person) == 1


def test_keys_of_accounts_and_of_money_are_one_namespace(bank: Bank) -> None:
    person, account = bank.customer(100)
    _, payee = bank.customer()
    spent_on_account = person.post(CREATE, {"idempotencyKey": "a"})
    spent_on_transfer = person.transfer(account, payee, 1, "t")

    transfer = person.transfer(account, payee, 1, "a")
    opening = person.post(CREATE, {"idempotencyKey": "t"})

    assert (spent_on_account.status, spent_on_transfer.status) == (201, 201)
    for answer in (transfer, opening):
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert person.balance(account) == 99
    assert count_of(person) == 2


def test_another_users_key_is_another_key(bank: Bank) -> None:
    asha, ben = bank.register(), bank.register()

    answers = [person.post(CREATE, {"idempotencyKey": "a"}) for person in (asha, ben)]

    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body["account"]["id"] != answers[1].body["account"]["id"]


def test_a_key_that_was_made_to_name_a_strangers_account_does_not_show_it(
    bank: Bank, database: Database[Document]
) -> None:
    asha = bank.register()
    _, strangers = bank.customer()
    asha.post(CREATE, {"idempotencyKey": "a"})
    database.transactions.update_one({"kind": "ACCOUNT"}, {"$set": {"account": ObjectId(strangers)}})

    answer = asha.post(CREATE, {"idempotencyKey": "a"})

    assert answer.status == 500
    assert strangers not in answer.content.decode()


def test_a_refused_opening_does_not_spend_the_key(bank: Bank) -> None:
    person = bank.register()

    assert person.post(CREATE, {"currency": "RUPEE", "idempotencyKey": "a"}).status == 422
    assert person.post(CREATE, {"currency": "EUR", "idempotencyKey": "a"}).status == 201


def test_two_different_keys_are_refused(bank: Bank) -> None:
    answer = bank.register().post(CREATE, {"idempotencyKey": "a"}, headers={"Idempotency-Key": "b"})

    assert (answer.status, answer.code) == (422, "validation_failed")


@pytest.mark.parametrize("currency", ["INR", "JPY"], ids=["with its treasury there or not", "a first account"])
def test_many_at_once_open_one_account(bank: Bank, app: Flask, database: Database[Document], currency: str) -> None:
    person = bank.register()

    def opening(_: int) -> tuple[int, str]:
        answer = Caller(InProcess(app), person.token).post(CREATE, {"currency": currency, "idempotencyKey": "a"})
        assert answer.status in (200, 201), answer.content
        return answer.status, answer.body["account"]["id"]

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(opening, range(THREADS)))

    assert Counter(status for status, _ in answers) == {201: 1, 200: THREADS - 1}
    assert len({account for _, account in answers}) == 1
    assert count_of(person) == 1
    # The letter that tells of it is one, too.
    told = {"user": ObjectId(person.id), "kind": "account_opened"}
    assert database.outbox.count_documents(told) == 1


def test_an_opening_and_a_transfer_that_race_for_a_key_spend_it_once(bank: Bank, app: Flask) -> None:
    person, account = bank.customer(THREADS)
    _, payee = bank.customer()

    def attempt(number: int) -> str:
        caller = Caller(InProcess(app), person.token)
        key = f"race-{number // 2}"
        if number % 2:
            answer = caller.post(CREATE, {"idempotencyKey": key})
        else:
            body = {"fromAccount": account, "toAccount": payee, "amount": 1, "idempotencyKey": key}
            answer = caller.post("/api/transactions/create", body)
        assert answer.status in (201, 422), answer.content
        return answer.code or "done"

    with ThreadPoolExecutor(THREADS) as threads:
        codes = Counter(threads.map(attempt, range(2 * THREADS)))

    assert codes == {"done": THREADS, "idempotency_key_reused": THREADS}
    opened, paid = count_of(person) - 1, THREADS - person.balance(account)
    assert opened + paid == THREADS


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/accounts/{account}", {"name": "Rent"}),
        ("POST", "/api/accounts/{account}/close", None),
        ("POST", "/api/auth/logout", None),
        ("POST", "/api/statements/verify", {}),
    ],
)
def test_no_call_that_takes_no_key_lets_one_pass_as_if_it_counted(
    bank: Bank, method: str, path: str, body: dict[str, Any] | None
) -> None:
    person, account = bank.customer()

    answer = person.call(method, path.format(account=account), body, headers={"Idempotency-Key": new_key()})

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert "Idempotency-Key" in answer.body["errors"]
    shown = person.get(f"/api/accounts/{account}", headers={"Idempotency-Key": new_key()}).body["account"]
    assert (shown["name"], shown["status"]) == (None, "ACTIVE")
