"""The first reads of a request come with the check of its token: in one query, for this request only, and current."""

import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import NotPrimaryError

from app.auth.repository import REVOCATIONS, USERS
from app.mongo import Document, reads, together
from app.transactions import service
from tests.asked import commands
from tests.people import Bank, Person

WAIT_S = 60


@pytest.fixture(autouse=True)
def nothing_expected() -> Iterator[None]:
    together.forget()
    yield
    together.forget()


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        ("/api/accounts/{account}/balance", 1),
        ("/api/accounts/{account}", 1),
        ("/api/auth/me", 1),
        # The accounts come with the token, their heads after them: nobody can guess yet which accounts these are.
        ("/api/accounts", 2),
        # The accounts come with the token. What was declined is a walk of its own.
        ("/api/transactions", 2),
        ("/api/transactions?account={account}", 2),
        # The account comes with the token. The span of the entries is sought first.
        ("/api/accounts/{account}/entries", 3),
    ],
)
def test_a_read_takes_no_query_more_than_it_needs(
    bank: Bank, database: Database[Document], path: str, queries: int
) -> None:
    person, account = bank.customer(100)
    with commands(database) as sent:
        answer = person.get(path.format(account=account))
    assert answer.status == 200
    assert [each["op"] for each in sent] in ([("command")] * queries, ["command"] + ["query"] * (queries - 1))


def test_the_balances_of_accounts_that_were_listed_before_come_with_the_token(
    bank: Bank, database: Database[Document]
) -> None:
    person, account = bank.customer(100)

    def listed() -> tuple[list[tuple[str, int]], int]:
        with commands(database) as sent:
            accounts = person.get("/api/accounts").body["accounts"]
        return [(each["id"], each["balance"]) for each in accounts], len(sent)

    assert listed() == ([(account, 100)], 2)
    bank.fund(account, 1)
    assert listed() == ([(account, 101)], 1)
    another = person.open_account()
    assert listed() == ([(account, 101), (another, 0)], 2)
    bank.fund(another, 7)
    assert listed() == ([(account, 101), (another, 7)], 1)


def test_an_aggregation_is_asked_for_again_if_a_failover_or_its_size_ends_the_first_attempt(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = ObjectId(bank.register().id)
    stages: list[Document] = [{"$match": {"_id": user}}]
    asked = Database.command

    def fails(self: Database[Document], command: Any, *args: Any, **options: Any) -> Any:
        raise NotPrimaryError("stepped down")

    monkeypatch.setattr(Database, "command", fails)
    assert [each["_id"] for each in reads.aggregate("users", stages)] == [user]
    monkeypatch.setattr(Database, "command", asked)
    monkeypatch.setattr(reads, "FOUND_AT_ONCE_MAX", 10)
    many: list[Document] = [*stages, {"$project": {"number": {"$range": [0, 40]}}}, {"$unwind": "$number"}]
    with commands(database) as sent:
        assert [each["number"] for each in reads.aggregate("users", many)] == list(range(40))
    assert [next(iter(each["command"])) for each in sent] == ["aggregate", "killCursors", "aggregate"]


def test_a_read_ahead_sees_what_was_committed_before_the_request(bank: Bank) -> None:
    person, account = bank.customer(100)
    for balance in (101, 102, 103):
        bank.fund(account, 1)
        assert person.balance(account) == balance


def test_only_what_a_majority_has_is_read(bank: Bank, database: Database[Document]) -> None:
    person, account = bank.customer(100)
    with commands(database) as sent:
        person.balance(account)
        person.get("/api/accounts")
        person.get("/api/transactions")
    assert len(sent) >= 3
    assert {each["command"]["readConcern"]["level"] for each in sent} == {"majority"}


def test_a_token_that_was_revoked_reads_nothing(bank: Bank) -> None:
    person, account = bank.customer(100)
    assert person.post("/api/auth/logout").status == 200
    answer = person.get(f"/api/accounts/{account}/balance")
    assert (answer.status, answer.code) == (401, "token_revoked")


def test_what_was_expected_is_handed_out_once(bank: Bank, database: Database[Document]) -> None:
    user = ObjectId(bank.register().id)
    together.expect([(USERS, user)])
    assert together.find(REVOCATIONS, ["none"]) == {}
    database.users.update_one({"_id": user}, {"$set": {"name": "Renamed"}})

    names = [together.find(USERS, [user])[user]["name"] for _ in range(2)]

    assert names == ["Asha Rao", "Renamed"]


def test_what_a_request_did_not_ask_for_is_not_handed_to_the_next_one(bank: Bank, database: Database[Document]) -> None:
    user = ObjectId(bank.register().id)
    together.expect([(USERS, user)])
    assert together.find(REVOCATIONS, ["none"]) == {}
    database.users.update_one({"_id": user}, {"$set": {"name": "Renamed"}})

    assert bank.anonymous.get("/healthz").status == 200

    assert together.find(USERS, [user])[user]["name"] == "Renamed"


def test_what_was_expected_and_does_not_exist_is_not_asked_for_again(bank: Bank, database: Database[Document]) -> None:
    nobody = ObjectId()
    with commands(database) as sent:
        together.expect([(USERS, nobody)])
        assert together.find(REVOCATIONS, ["none"]) == {}
        assert together.find(USERS, [nobody]) == {}
    assert len(sent) == 1


def test_where_no_keys_are_asked_for_nothing_is_sent(bank: Bank, database: Database[Document]) -> None:
    with commands(database) as sent:
        assert together.find(USERS, []) == {}
    assert sent == []


def test_a_thread_gets_nothing_that_another_expected(bank: Bank) -> None:
    user = ObjectId(bank.register().id)
    together.expect([(USERS, user)])
    found: list[dict[ObjectId, Document]] = []
    thread = threading.Thread(target=lambda: found.append(together.find(USERS, [user])))
    thread.start()
    thread.join()
    assert [user in each for each in found] == [True]
    assert together.find(REVOCATIONS, ["none"]) == {}


def test_something_large_keeps_nobody_waiting_who_reads_small_things(bank: Bank) -> None:
    user = ObjectId(bank.register().id)
    begun, may_answer = threading.Event(), threading.Event()
    found: list[Any] = []

    def find(keys: Collection[int]) -> dict[int, str]:
        begun.set()
        assert may_answer.wait(WAIT_S)
        return {key: "large" for key in keys if key > 0}

    large = together.LargeKind(find)

    def read() -> None:
        together.expect([(large, 1), (large, 0), (USERS, user)])
        found.append(together.find(REVOCATIONS, ["none"]))
        found.extend(together.find(large, [key]) for key in (0, 1))
        found.append([*together.find(USERS, [user])])

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(WAIT_S)
    assert [*together.find(USERS, [user])] == [user]
    may_answer.set()
    thread.join()

    assert found == [{}, {}, {1: "large"}, [user]]


def test_the_page_of_an_account_is_read_ahead_for_its_owner_alone(bank: Bank, database: Database[Document]) -> None:
    person, account = bank.customer(100)
    stranger, path = bank.register(), f"/api/transactions?account={account}"

    def sent_for(caller: Person, path: str) -> list[str]:
        with commands(database) as sent:
            assert caller.get(path).status == (200 if caller is person else 404)
        return [each["ns"].partition(".")[2] for each in sent]

    with_token = sent_for(person, path)[:1]
    assert sent_for(person, path) == sent_for(person, f"{path}&limit=7") == [*with_token, "transactions"]
    assert "transactions" not in sent_for(stranger, path)
    # No page is read that nobody asked for.
    filtered = sent_for(person, f"{path}&status=COMPLETED")
    service._owners.clear()
    assert sent_for(person, f"{path}&status=COMPLETED") == filtered


def test_an_owner_who_was_forgotten_gets_the_same_page(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "OWNERS_KEPT_MAX", 1)
    person, account = bank.customer(100)
    another = person.open_account()
    paths = [f"/api/transactions?account={each}" for each in (account, another)]

    first = [person.get(path).body for path in paths]

    assert [person.get(path).body for path in paths] == first
    assert len(service._owners) == 1


def test_the_heads_in_a_query_of_several_kinds_are_seeks(bank: Bank, database: Database[Document]) -> None:
    person, account = bank.customer(100)
    payee = person.open_account()
    for _ in range(20):
        person.transfer(account, payee, 1)
    with commands(database) as sent:
        person.balance(account)
    (only,) = sent
    # Two ids on the blocklist, the account and the head, and one key more to see that there is no other head.
    assert only["keysExamined"] <= 8
