"""Account numbers in the database: sealed, given to older accounts, and found without another round trip."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import account_numbers
from app.account_numbers import read_number
from app.ledger.proof.verify import verify
from app.mongo import Document
from app.mongo.migrations import run, steps, version_2
from app.mongo.migrations.run import NOBODY
from tests.api.test_account_numbers import UNKNOWN
from tests.asked import commands
from tests.chance import Draws
from tests.clients import Answer
from tests.integration.tampering import faults
from tests.people import Bank, new_key
from tests.upgrades import run_again


def numbers(database: Database[Document]) -> dict[ObjectId, str | None]:
    return {account["_id"]: account.get("number") for account in database.accounts.find()}


def without_numbers(database: Database[Document]) -> None:
    """Bring the bank to how a program without numbers would have left it."""
    database.accounts.update_many({}, {"$unset": {"number": ""}})


@pytest.mark.parametrize("call", ["create", "hold", "batch"])
def test_a_posting_by_numbers_takes_no_round_trip_more(bank: Bank, database: Database[Document], call: str) -> None:
    payer, from_id = bank.customer(1_000)
    payee, to_id = bank.customer()
    pairs = [(from_id, to_id), (payer.number_of(from_id), payee.number_of(to_id))]
    sent = []
    for sender, receiver in pairs:
        item = {"fromAccount": sender, "toAccount": receiver, "amount": 1}
        body = {"transfers": [item]} if call == "batch" else item
        with commands(database) as of_this:
            answer = payer.post(f"/api/transactions/{call}", {**body, "idempotencyKey": new_key()})
        assert answer.status == 201
        sent.append([each["op"] for each in of_this])

    assert len(sent[0]) == len(sent[1]), sent


@pytest.mark.parametrize("path", ["", "/balance"])
def test_a_read_by_number_takes_one_query_more_than_by_id(bank: Bank, database: Database[Document], path: str) -> None:
    person, account = bank.customer()
    number = person.number_of(account)

    with commands(database) as sent:
        assert person.get(f"/api/accounts/{number}{path}").status == 200

    assert len(sent) == 2


def test_a_number_is_one_seek_however_many_accounts_there_are(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    for _ in range(20):
        account = person.open_account()
    number = person.number_of(account)

    with commands(database) as sent:
        person.get(f"/api/accounts/{number}")

    # Two ids on the blocklist, the number, the account's first entry, and what shows that there are no others.
    assert sent[0]["keysExamined"] <= 8


def asked(database: Database[Document], call: Callable[[], Answer], status: int) -> list[str]:
    """Return which collections the call's commands were for, in order."""
    with commands(database) as sent:
        answer = call()
    assert answer.status == status, answer.content
    return [each["ns"] for each in sent]


@pytest.mark.parametrize("path", ["/api/accounts/{}", "/api/accounts/{}/balance", "/api/transactions?account={}"])
def test_a_strangers_number_and_an_unknown_one_are_sought_alike(
    bank: Bank, database: Database[Document], path: str
) -> None:
    owner, account = bank.customer()
    stranger = bank.register()

    foreign, unknown = (
        asked(database, partial(stranger.get, path.format(number)), 404)
        for number in (owner.number_of(account), UNKNOWN)
    )

    assert foreign == unknown


def test_a_lookup_of_a_closed_account_and_of_an_unknown_number_are_alike(
    bank: Bank, database: Database[Document]
) -> None:
    owner, account = bank.customer()
    number = owner.number_of(account)
    assert owner.post(f"/api/accounts/{account}/close").status == 200
    stranger = bank.register()

    closed, unknown = (
        asked(database, partial(stranger.get, f"/api/payees/lookup?number={each}"), 404) for each in (number, UNKNOWN)
    )

    assert closed == unknown


def test_the_application_itself_cannot_lead_money_astray_by_exchanging_numbers(
    bank: Bank, as_application: Database[Document]
) -> None:
    payer, from_id = bank.customer(1_000)
    payee, to_id = bank.customer()
    thief, other_id = bank.customer()
    wanted, own = payee.number_of(to_id), thief.number_of(other_id)
    accounts = as_application.accounts
    accounts.update_one({"_id": ObjectId(to_id)}, {"$set": {"number": UNKNOWN}})
    accounts.update_one({"_id": ObjectId(other_id)}, {"$set": {"number": wanted}})

    for number in (wanted, own, UNKNOWN):
        answer = payer.transfer(from_id, number, 10)
        assert (answer.status, answer.code) == (404, "account_not_found")
    assert set(faults()) == {("identity", ObjectId(to_id), 0, None), ("identity", ObjectId(other_id), 0, None)}


def test_a_number_that_was_taken_away_is_a_fault(bank: Bank, as_application: Database[Document]) -> None:
    _, account = bank.customer()

    as_application.accounts.update_one({"_id": ObjectId(account)}, {"$unset": {"number": ""}})

    assert faults() == [("identity", ObjectId(account), 0, None)]


def test_accounts_of_the_first_release_get_numbers(old_database: Database[Document]) -> None:
    assert set(numbers(old_database).values()) == {None}

    run.upgrade(old_database)

    given = numbers(old_database)
    assert len(set(given.values())) == len(given) > 5
    assert all(number is not None and read_number(number) == number for number in given.values())


def test_accounts_that_the_old_release_opens_during_the_upgrade_get_theirs_at_its_end(
    old_database: Database[Document],
) -> None:
    run.upgrade(old_database)
    given = numbers(old_database)
    account = old_database.accounts.find_one({"kind": "CUSTOMER"}, {"number": 0, "_id": 0})
    assert account is not None
    # An id as a host whose clock is behind would make it.
    new = [ObjectId.from_datetime(account["created_at"]), ObjectId()]
    old_database.accounts.insert_many([{**account, "_id": id_} for id_ in new])

    run.finish(old_database)

    now = numbers(old_database)
    assert {id_: now[id_] for id_ in given} == given
    assert None not in now.values()
    assert len(set(now.values())) == len(given) + 2


class _Killed(BaseException):
    pass


class _DiesAfter:
    """A watch that ends the process once so many accounts are numbered."""

    def __init__(self, accounts: int) -> None:
        self._left = accounts

    def waits(self, holder: str) -> None:
        raise AssertionError(holder)

    @contextmanager
    def follows(self, title: str, length: int | None) -> Iterator[Callable[[int], None]]:
        def advanced(done: int) -> None:
            self._left -= done
            if self._left <= 0:
                raise _Killed

        yield advanced if "numbers" in title else lambda _done: None


def test_numbers_that_were_given_before_a_kill_stay(
    old_database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "WALKED_AT_ONCE", 2)
    with pytest.raises(_Killed):
        run.upgrade(old_database, _DiesAfter(4))
    before = {id_: number for id_, number in numbers(old_database).items() if number is not None}
    assert 0 < len(before) < old_database.accounts.count_documents({})

    run.upgrade(old_database, NOBODY)

    after = numbers(old_database)
    assert {id_: after[id_] for id_ in before} == before
    assert None not in after.values()


def test_numbers_that_are_taken_are_drawn_again(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        bank.customer()
    without_numbers(database)
    # Four accounts, with the treasury: three draw the same number, then two of those, then all are different.
    monkeypatch.setattr(account_numbers, "randbelow", Draws(1, 1, 1, 2, 1, 3, 4))

    run_again(version_2.number_accounts, database)

    digits = sorted(int(number[4:]) for number in numbers(database).values() if number)
    assert digits == [1, 2, 3, 4]


def test_a_bank_of_before_there_were_numbers_goes_on_and_stays_sound(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        # Entry 0 as programs without numbers wrote it.
        from app import ledger

        begin = ledger.begin_journal
        patched.setattr(ledger, "begin_journal", lambda account, **more: begin(account, **{**more, "number": None}))
        payer, from_id = bank.customer(1_000)
        payee, to_id = bank.customer()
    without_numbers(database)
    unnumbered = payer.get(f"/api/accounts/{from_id}")
    assert (unnumbered.status, unnumbered.body["account"]["number"]) == (200, None)
    assert payer.get(f"/api/accounts/{from_id}/statement").body["number"] is None
    assert payer.get(f"/api/accounts/{from_id}/statement.csv").status == 200

    run_again(version_2.number_accounts, database)

    number = payee.number_of(to_id)
    assert payer.transfer(from_id, number, 10).status == 201
    assert (
        bank.system.patch(f"/api/admin/accounts/{number}/status", {"status": "FROZEN", "reason": "Stolen"}).status
        == 200
    )
    frozen = database.ledger_entries.find_one({"account": ObjectId(to_id), "description": "FROZEN"})
    assert frozen is not None
    assert frozen["identity"]["number"] == number, "a change of status seals what the first entry did not"
    report = verify()
    assert report.is_sound, report.faults
