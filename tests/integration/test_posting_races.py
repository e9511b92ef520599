"""Processes that post at the same moment. Each `process()` stands for one: they meet only in the database."""

from contextlib import ExitStack
from functools import partial

import pytest

from app.auth.roles import roles_of
from app.ledger.commands import Command, Transfer
from app.ledger.group import GroupCommit
from app.ledger.posting import post_block
from app.ledger.records import AccountStatus, Outcome
from tests.commands import STAFF, WITNESSES, batch, capture, change_status, hold, repeated, reversal, transfer, void
from tests.integration.branch import Branch, Customer, codes, effects, posting, process
from tests.threads import at_once

# How often a race of two is run, because a single one may be over before it is one.
ROUNDS = range(6)


def race(*commands: Command) -> list[Outcome]:
    """Post the commands at the same moment, each in a process of its own."""
    return at_once([posting(process(), command) for command in commands])


def test_a_hot_account_of_two_processes_loses_nothing(branch: Branch) -> None:
    payer, payee = branch.customer(200), branch.customer()
    groups = [process(), process()]

    outcomes = at_once([posting(groups[n % 2], payer.pay(payee)) for n in range(60)])

    assert codes(outcomes) == {"ok": 60}
    assert (branch.balance(payer), branch.balance(payee)) == (140, 60)


def test_a_process_is_told_that_another_was_in_its_way_before_its_block_runs_again(branch: Branch) -> None:
    payer, payee = branch.customer(10), branch.customer()
    told = []
    with ExitStack() as stack:
        stack.enter_context(branch.blocked(payer))

        def make_way() -> None:
            told.append(branch.balance(payee))
            stack.close()

        outcomes = post_block([payer.pay(payee)], 10.0, WITNESSES, roles_of, make_way)

    assert codes(outcomes) == {"ok": 1}
    assert told[0] == 0
    assert branch.balance(payee) == 1


def test_transfers_in_opposite_directions_do_not_stop_each_other(branch: Branch) -> None:
    first, second = branch.customer(100), branch.customer(100)
    there, back = process(), process()

    outcomes = at_once(
        [posting(there, first.pay(second, 2)) for _ in range(15)]
        + [posting(back, second.pay(first)) for _ in range(15)]
    )

    assert codes(outcomes) == {"ok": 30}
    assert (branch.balance(first), branch.balance(second)) == (85, 115)


def test_no_account_is_overdrawn_by_processes_that_race(branch: Branch) -> None:
    payer, payee = branch.customer(10), branch.customer()
    groups = [process(batch_size_max=1), process(batch_size_max=1), process()]

    outcomes = at_once([posting(groups[n % 3], payer.pay(payee)) for n in range(30)])

    assert codes(outcomes) == {"ok": 10, "insufficient_funds": 20}
    assert branch.balance(payer) == 0


def test_one_key_takes_effect_once_in_whichever_process(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    command = payer.pay(payee, 7)
    groups = [process(), process(), process()]

    outcomes = at_once([posting(groups[n % 3], repeated(command)) for n in range(24)])

    (effect,) = effects(outcomes)
    assert all(outcome.unwrap() == effect for outcome in outcomes)
    assert branch.balance(payee) == 7


@pytest.mark.parametrize("_", ROUNDS)
def test_one_key_takes_effect_once_though_nothing_else_is_in_common(branch: Branch, _: int) -> None:
    person, account = branch.bank.customer(100)
    first = Customer.of(person, account)
    second = Customer.of(person, person.open_account())
    branch.bank.fund(str(second.account), 100)

    outcomes = race(
        first.pay(branch.customer(), 5, key="the same"),
        second.pay(branch.customer(), 6, key="the same"),
    )

    assert codes(outcomes) == {"ok": 1, "idempotency_key_reused": 1}
    assert branch.recorded(first) == 1


@pytest.mark.parametrize("_", ROUNDS)
def test_a_hold_is_captured_or_voided(branch: Branch, _: int) -> None:
    payer, payee = branch.customer(100), branch.customer()
    held = process().post([hold(payer.user, payer.account, payee.account, 80)])[0].unwrap()

    outcomes = race(capture(payee.user, held.id), void(payee.user, held.id), capture(payee.user, held.id))

    assert codes(outcomes) == {"ok": 1, "hold_not_pending": 2}
    assert branch.balance(payee) in (0, 80)


@pytest.mark.parametrize("_", ROUNDS)
def test_a_transaction_is_reversed_once(branch: Branch, _: int) -> None:
    payer, payee = branch.customer(100), branch.customer(100)
    payment = process().post([payer.pay(payee, 30)])[0].unwrap()

    outcomes = race(reversal(payment.id), reversal(payment.id))

    assert codes(outcomes) == {"ok": 1, "already_reversed": 1}
    assert branch.balance(payer) == 100


@pytest.mark.parametrize("_", ROUNDS)
def test_an_account_is_closed_or_credited(branch: Branch, _: int) -> None:
    payer, payee = branch.customer(100), branch.customer()

    closed, paid = race(change_status(payee.account, AccountStatus.CLOSED), payer.pay(payee))

    assert codes([closed, paid]) in ({"ok": 1, "account_not_active": 1}, {"ok": 1, "account_not_empty": 1})
    assert branch.balance(payee) == (0 if closed.error is None else 1)


@pytest.mark.parametrize("_", ROUNDS)
def test_an_account_is_closed_or_held_for(branch: Branch, _: int) -> None:
    payer, payee = branch.customer(100), branch.customer()

    outcomes = race(
        change_status(payee.account, AccountStatus.CLOSED), hold(payer.user, payer.account, payee.account, 80)
    )

    assert codes(outcomes) in ({"ok": 1, "account_not_active": 1}, {"ok": 1, "account_not_empty": 1})


def test_nothing_leaves_an_account_while_it_is_frozen(branch: Branch) -> None:
    payer, payee = branch.customer(1_000), branch.customer()
    groups = [process(batch_size_max=1), process(batch_size_max=1)]
    changes = [AccountStatus.FROZEN, AccountStatus.ACTIVE] * 8

    def change() -> list[Outcome]:
        return [process().post([change_status(payer.account, status)])[0] for status in changes]

    def pay(group: GroupCommit) -> list[Outcome]:
        return [group.post([payer.pay(payee)])[0] for _ in range(20)]

    changed, *paid = at_once([change] + [partial(pay, group) for group in groups * 4])

    # The journal's order decides, and the proof that follows each test reads it: no debit while FROZEN.
    assert codes(changed) == {"ok": len(changes)}
    outcomes = [outcome for share in paid for outcome in share]
    assert set(codes(outcomes)) <= {"ok", "account_not_active"}
    assert branch.balance(payee) == codes(outcomes)["ok"]


def pay(payer: Customer, payee: Customer, amount: int) -> Transfer:
    return transfer(payer.user, payer.account, payee.account, amount)


@pytest.mark.parametrize("is_atomic", [True, False])
@pytest.mark.parametrize("amount", [10, 1_000])
def test_a_batch_that_loses_the_race_for_its_key_gets_the_winners_outcome_and_so_does_each_repeat(
    branch: Branch, is_atomic: bool, amount: int
) -> None:
    payer, payee = branch.customer(100), branch.customer()
    asked = batch(payer.user, [pay(payer, payee, amount), pay(payer, payee, 1)], key="one", atomic=is_atomic)

    outcomes = race(*(repeated(asked) for _ in range(6)))
    again = [process().post([repeated(asked)])[0] for _ in range(3)]

    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert all(outcome.replayed for outcome in again)
    told = {
        (codes([outcome]).most_common(1)[0][0], tuple(codes(list(outcome.results)))) for outcome in outcomes + again
    }
    assert len(told) == 1


def test_the_bank_and_the_payee_capture_a_hold_once(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    held = process().post([hold(payer.user, payer.account, payee.account, 80)])[0].unwrap()

    outcomes = race(capture(payee.user, held.id, 50), capture(STAFF, held.id, 60, is_system=True))

    assert codes(outcomes) == {"ok": 1, "hold_not_pending": 1}
    assert branch.balance(payee) in (50, 60)
