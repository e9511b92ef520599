"""Overdue holds block nobody: no debit, no close, and no other people's postings."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId
from pymongo.database import Database

from app import clock
from app.auth.roles import roles_of
from app.errors import LedgerBusy
from app.ledger.commands import Command, Expire, Hold, Transfer
from app.ledger.posting import EXPIRED_HOLDS_MAX, post_block, rehearse
from app.ledger.records import AccountStatus, Outcome
from app.mongo import Document, leases
from app.transactions import service
from local.processes import holds_within
from tests.commands import WITNESSES, batch, change_status, hold, void
from tests.integration.branch import Branch, Customer, codes, process

BRIEF = timedelta(milliseconds=1)


@pytest.fixture(autouse=True)
def _nobody_else_sweeps(database: Database[Document]) -> Iterator[None]:
    """Keep the servers that other tests left running from releasing the holds of these tests."""
    with leases.kept(database, service.SWEEP_LEASE, timedelta(minutes=1), lambda _holder: None):
        yield


def block(*commands: Command) -> list[Outcome]:
    """Post the commands in one atomic block, which releases what it releases and does not go on."""
    return post_block(commands, 10.0, WITNESSES, roles_of)


def brief(payer: Customer, payee: Customer, amount: int = 1) -> Hold:
    """Return a hold that is over at once."""
    command = hold(payer.user, payer.account, payee.account, amount)
    assert isinstance(command, Hold)
    return Hold(**{name: getattr(command, name) for name in _FIELDS}, lifetime=BRIEF)


_FIELDS = ("id", "user", "idempotency_key", "fingerprint", "salt", "from_account", "to_account", "amount")


def overdue(payer: Customer, payee: Customer, holds: int, amount: int = 1) -> list[ObjectId]:
    """Have so many holds whose time is over, and return their ids."""
    outcomes = block(*(brief(payer, payee, amount) for _ in range(holds)))
    time.sleep(0.01)
    return [outcome.unwrap().id for outcome in outcomes]


def is_open(branch: Branch, holds: Sequence[ObjectId]) -> int:
    return branch.database.transactions.count_documents({"_id": {"$in": list(holds)}, "status": "PENDING"})


def test_a_debit_that_shares_its_block_with_the_expiry_of_its_hold_is_not_declined(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    (held,) = overdue(payer, payee, 1, amount=100)

    paid, expired = block(payer.pay(payee, 100), Expire(hold=held))

    assert (paid.error, expired.error) == (None, None)
    assert expired.unwrap().id == held
    assert branch.balance(payee) == 100


def test_a_debit_that_shares_its_block_with_one_expiry_and_has_another_in_its_way_is_not_declined(
    branch: Branch,
) -> None:
    payer, payee = branch.customer(100), branch.customer()
    first, _ = overdue(payer, payee, 2, amount=50)

    paid, _ = block(payer.pay(payee, 100), Expire(hold=first))

    assert paid.error is None


def test_what_is_held_for_good_reason_still_declines_a_debit(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    block(hold(payer.user, payer.account, payee.account, 60))
    (held,) = overdue(payer, payee, 1, amount=40)

    outcomes = block(payer.pay(payee, 41), Expire(hold=held), payer.pay(payee, 40))

    assert codes(outcomes) == {"insufficient_funds": 1, "ok": 2}


def test_a_block_releases_a_bounded_number_of_holds_and_says_nothing_false(branch: Branch) -> None:
    payer, payee, other = branch.customer(250), branch.customer(), branch.customer(10)
    holds = overdue(payer, payee, 250)
    command = payer.pay(payee, 250)

    put_off, others = block(command, other.pay(payee, 10))

    assert isinstance(put_off.error, LedgerBusy)
    assert others.error is None
    assert is_open(branch, holds) == 250 - EXPIRED_HOLDS_MAX
    # Nothing was recorded, so the key is as new.
    assert branch.recorded(payer) == 1 + 250 - 1
    assert process().post([command])[0].error is None
    assert is_open(branch, holds) == 0


def test_nobody_elses_debit_is_put_off_for_one_payers_many_holds(branch: Branch) -> None:
    hoarder, payee, other = branch.customer(250), branch.customer(), branch.customer(10)
    overdue(hoarder, payee, 250)
    overdue(other, payee, 1, amount=10)

    put_off, paid = block(hoarder.pay(payee, 250), other.pay(payee, 10))

    assert isinstance(put_off.error, LedgerBusy)
    assert paid.error is None


def test_a_decline_is_final_only_when_no_overdue_hold_of_the_payer_is_left(branch: Branch) -> None:
    payer, payee = branch.customer(250), branch.customer()
    holds = overdue(payer, payee, 250)

    declined = process().post([payer.pay(payee, 251)])[0]

    assert declined.error is not None
    assert declined.error.code == "insufficient_funds"
    assert "250 are available" in declined.error.detail
    assert is_open(branch, holds) == 0


@pytest.mark.parametrize("amount", [40, 250, 251])
@pytest.mark.parametrize("in_a_batch", [False, True])
def test_a_dry_run_says_what_the_real_call_says_however_many_overdue_holds_are_in_the_way(
    branch: Branch, amount: int, in_a_batch: bool
) -> None:
    payer, payee = branch.customer(250), branch.customer()
    holds = overdue(payer, payee, 250)
    command: Command = payer.pay(payee, amount)
    if in_a_batch:
        assert isinstance(command, Transfer)
        command = batch(payer.user, [command])

    rehearsed, accounts = rehearse(command, roles_of)
    assert is_open(branch, holds) == 250
    (posted,) = process().post([command])

    assert (str(rehearsed.error), len(rehearsed.results)) == (str(posted.error), len(posted.results))
    (head,) = branch.database.ledger_entries.find({"account": payer.account}).sort("sequence", -1).limit(1)
    assert (accounts[payer.account].balance, accounts[payer.account].held) == (head["balance"], head["held"])


def test_who_is_short_only_because_another_debit_got_its_money_is_judged_with_its_holds_released(
    branch: Branch,
) -> None:
    first, second, payee = branch.customer(100), branch.customer(10), branch.customer()
    overdue(first, payee, 1, amount=100)
    overdue(second, payee, 1, amount=10)
    second_needs_it = second.pay(payee, 10)

    # With its holds in the way `first` can pay nothing at first; what it then pays does not decide about `second`.
    outcomes = process().post([first.pay(payee, 100), first.pay(second, 10), second_needs_it])

    assert [outcome.error.code if outcome.error else None for outcome in outcomes] == [None, "insufficient_funds", None]


@pytest.mark.parametrize("holds", [1, 150])
def test_an_account_closes_at_the_first_try_however_many_overdue_holds_it_has(branch: Branch, holds: int) -> None:
    payer, payee = branch.customer(200), branch.customer()
    placed = overdue(payer, payee, holds)

    (closed,) = block(change_status(payee.account, AccountStatus.CLOSED, owner=payee.user))

    assert closed.error is None
    assert is_open(branch, placed) == max(holds - EXPIRED_HOLDS_MAX, 0)
    # The rest is the sweeper's.
    rest = [Expire(hold=hold_id) for hold_id in placed]
    process().post(rest)
    assert is_open(branch, placed) == 0


def test_a_hold_that_is_settled_in_the_block_of_a_close_does_not_stand_in_its_way(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    (placed,) = block(hold(payer.user, payer.account, payee.account, 50))

    refused = block(change_status(payee.account, AccountStatus.CLOSED))[0]
    voided, closed = block(void(payee.user, placed.unwrap().id), change_status(payee.account, AccountStatus.CLOSED))

    assert refused.error is not None
    assert refused.error.code == "account_not_empty"
    assert (voided.error, closed.error) == (None, None)


def test_a_hold_that_is_placed_in_the_block_of_a_close_stands_in_its_way(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()

    placed, closed = block(
        hold(payer.user, payer.account, payee.account, 50), change_status(payee.account, AccountStatus.CLOSED)
    )

    assert codes([placed, closed]) == {"ok": 1, "account_not_empty": 1}


@pytest.mark.parametrize("lifetime", [timedelta(hours=1), BRIEF])
def test_a_close_costs_the_same_however_many_holds_there_are(branch: Branch, lifetime: timedelta) -> None:
    payer, payee = branch.customer(100), branch.customer()
    at = clock.now() - timedelta(seconds=1)
    (placed,) = block(hold(payer.user, payer.account, payee.account, 1))
    document = branch.database.transactions.find_one({"_id": placed.unwrap().id})
    assert document is not None
    branch.database.transactions.update_one({"_id": document["_id"]}, {"$set": {"expires_at": at + lifetime}})
    copies = [
        {**document, "_id": ObjectId(), "idempotency_key": f"copy-{n}", "expires_at": at + lifetime}
        for n in range(2_000)
    ]
    branch.database.transactions.insert_many(copies)

    def probe() -> dict[str, int]:
        query = {"accounts": payee.account, "status": "PENDING", "expires_at": {"$gt": clock.now()}}
        plan = {"find": "transactions", "filter": query, "limit": 1}
        stats = branch.database.command("explain", plan, verbosity="executionStats")["executionStats"]
        return {name: stats[name] for name in ("totalKeysExamined", "totalDocsExamined")}

    assert max(probe().values()) <= 1
    branch.database.transactions.delete_many({"idempotency_key": {"$regex": "^copy-"}})
    branch.database.transactions.update_one({"_id": document["_id"]}, {"$set": {"expires_at": document["expires_at"]}})


def test_times_in_the_ledger_are_the_primarys_whatever_the_hosts_clock_says(
    branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer, payee = branch.customer(100), branch.customer()
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(seconds=5))

    begun = datetime.now(UTC)
    (outcome,) = block(payer.pay(payee))

    leeway = timedelta(seconds=1)
    assert begun - leeway < outcome.unwrap().created_at < datetime.now(UTC) + leeway


def test_a_hold_that_cannot_be_released_does_not_keep_the_sweeper_from_the_others(
    branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer, payee = branch.customer(100), branch.customer()
    holds = overdue(payer, payee, 5)
    # Too much for what is held, so that its release breaks what must hold.
    branch.database.transactions.update_one({"_id": holds[0]}, {"$set": {"held_amount": Int64(101)}})
    monkeypatch.setattr(service, "_unwritable", deque(maxlen=10))

    assert holds_within(60, lambda: bool(service.release_expired_holds()) and is_open(branch, holds) == 1)
    later = overdue(payer, payee, 3)
    assert holds_within(60, lambda: bool(service.release_expired_holds()) and is_open(branch, later) == 0)

    assert is_open(branch, holds) == 1
    # Mended, it is released too.
    branch.database.transactions.update_one({"_id": holds[0]}, {"$set": {"held_amount": Int64(1)}})
    assert block(Expire(hold=holds[0]))[0].error is None
