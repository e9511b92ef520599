"""Status changes, reversals and role changes that race, against two worker processes.

The threads of one process share a block, so only requests that land on different
workers meet in the database; with two workers about half of the rounds do.
"""

from functools import partial

from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.clients import Answer
from tests.people import Bank, Person, new_key
from tests.proof import assert_ledger_is_whole
from tests.threads import at_once

ROUNDS = range(100)
ROLE_ROUNDS = range(20)


def set_status(staff: Person, account: str, status: str) -> Answer:
    return staff.patch(f"/api/admin/accounts/{account}/status", {"status": status, "reason": "A race"})


def set_role(who: Person, user: Person, role: str) -> Answer:
    return who.patch(f"/api/admin/users/{user.id}/role", {"role": role})


def reverse(staff: Person, transaction: str) -> Answer:
    return staff.post(f"/api/transactions/{transaction}/reverse", {"idempotencyKey": new_key(), "reason": "A race"})


def test_no_transfer_comes_after_the_freeze_it_raced(live_bank: Bank, database: Database[Document]) -> None:
    payer, from_account = live_bank.customer(1_000)
    payee, to_account = live_bank.customer()
    moved = 0

    for round_ in ROUNDS:
        frozen = (from_account, to_account)[round_ % 2]
        freeze, transfer = at_once(
            [
                partial(set_status, live_bank.system, frozen, "FROZEN"),
                partial(payer.transfer, from_account, to_account, 1),
            ]
        )
        assert freeze.status == 200
        assert (transfer.status, transfer.code) in [(201, None), (422, "account_not_active")]
        moved += transfer.status == 201
        assert set_status(live_bank.system, frozen, "ACTIVE").status == 200

    assert payee.balance(to_account) == moved
    # It also insists that no journal has money moving behind a STATUS entry other than ACTIVE.
    assert_ledger_is_whole(database)


def test_no_closed_account_gets_money_from_the_credit_it_raced(live_bank: Bank, database: Database[Document]) -> None:
    payer, from_account = live_bank.customer(1_000)
    payee = live_bank.register()

    for _ in ROUNDS:
        to_account = payee.open_account()
        close, transfer = at_once(
            [
                partial(payee.post, f"/api/accounts/{to_account}/close"),
                partial(payer.transfer, from_account, to_account, 1),
            ]
        )
        assert (close.status, transfer.status) in [(200, 422), (409, 201)]
        assert (close.code or transfer.code) in ("account_not_empty", "account_not_active")

    for account in database.accounts.find({"status": "CLOSED"}):
        assert payee.balance(str(account["_id"])) == 0
    assert_ledger_is_whole(database)


def test_a_reversal_that_is_raced_takes_effect_once(live_bank: Bank, database: Database[Document]) -> None:
    payer, from_account = live_bank.customer(1_000)
    _, to_account = live_bank.customer(1_000)
    transaction = payer.transfer(from_account, to_account, 10).body["transaction"]["id"]

    answers = at_once([partial(reverse, live_bank.system, transaction)] * 20)

    assert (
        sorted((answer.status, answer.code) for answer in answers if answer.status != 201)
        == [(409, "already_reversed")] * 19
    )
    assert payer.balance(from_account) == 1_000
    assert database.transactions.count_documents({"reverses": ObjectId(transaction)}) == 1
    assert database.audit_log.count_documents({"subject": ObjectId(transaction)}) == 1
    assert_ledger_is_whole(database)


def test_two_system_users_who_demote_each_other_leave_one(live_bank: Bank, database: Database[Document]) -> None:
    first, second = live_bank.system, live_bank.administrator("SYSTEM")

    for _ in ROLE_ROUNDS:
        answers = at_once([partial(set_role, first, second, "USER"), partial(set_role, second, first, "USER")])

        assert sorted(answer.status for answer in answers) == [200, 403]
        assert database.users.count_documents({"role": "SYSTEM"}) == 1
        winner, loser = (first, second) if answers[0].status == 200 else (second, first)
        assert set_role(winner, loser, "SYSTEM").status == 200


def test_three_system_users_who_demote_in_a_circle_leave_one(live_bank: Bank, database: Database[Document]) -> None:
    circle = [live_bank.system, live_bank.administrator("SYSTEM"), live_bank.administrator("SYSTEM")]

    for _ in ROLE_ROUNDS:
        at_once([partial(set_role, who, circle[n - 1], "USER") for n, who in enumerate(circle)])

        (left, *_) = [user for user in circle if user.get("/api/admin/users?limit=1").status == 200]
        assert database.users.count_documents({"role": "SYSTEM"}) >= 1
        for user in circle:
            assert user is left or set_role(left, user, "SYSTEM").status == 200
