"""Group commit on a real database: callers share blocks, and no caller's fault affects another."""

import ctypes
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from app.errors import LedgerBusy
from app.ledger.records import Outcome
from local.processes import holds_within
from tests.commands import repeated
from tests.integration.branch import Branch, codes, posting, process
from tests.threads import at_once

NOTHING_WAS_DONE = "Nothing was done."
WAIT_S = 30


def test_a_lone_posting_costs_one_block(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    before = branch.blocks()

    process().post([payer.pay(payee)])

    assert branch.blocks() - before == 1


def test_callers_that_post_at_the_same_time_share_blocks(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process()
    before = branch.blocks()

    with ThreadPoolExecutor(60) as threads, branch.blocked(payer):
        for _ in range(60):
            threads.submit(posting(group, payer.pay(payee)))
        assert holds_within(WAIT_S, lambda: len(group._queue) == 59)

    # The leader's own, which was under way, and one of all the others.
    assert branch.blocks() - before == 2
    assert branch.balance(payee) == 60


def test_the_lead_is_handed_on_until_the_queue_is_empty(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process(batch_size_max=1)
    before = branch.blocks()

    at_once([posting(group, payer.pay(payee)) for _ in range(20)])

    assert branch.blocks() - before == 20
    assert branch.balance(payee) == 20


def test_the_commands_of_one_call_are_never_split(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    before = branch.blocks()

    process(batch_size_max=3).post([payer.pay(payee) for _ in range(10)])

    assert branch.blocks() - before == 1


def test_the_commands_of_one_call_are_decided_in_their_order(branch: Branch) -> None:
    first, second, third = branch.customer(10), branch.customer(), branch.customer()
    command = second.pay(third, 10)

    outcomes = process().post([command, first.pay(second, 10), repeated(second.pay(third, 10)), repeated(command)])

    assert [outcome.error.code if outcome.error else None for outcome in outcomes] == [
        "insufficient_funds",
        None,
        None,
        "insufficient_funds",
    ]
    assert [outcome.replayed for outcome in outcomes] == [False, False, False, True]
    assert branch.balance(third) == 10


def test_a_refused_command_does_not_fail_its_batch(branch: Branch) -> None:
    payer, payee, poor = branch.customer(100), branch.customer(), branch.customer()
    group = process()

    outcomes = at_once([posting(group, customer.pay(payee)) for customer in [payer] * 20 + [poor] * 20])

    assert codes(outcomes) == {"ok": 20, "insufficient_funds": 20}
    assert branch.recorded(poor) == 20


def test_a_command_that_the_database_cannot_take_does_not_fail_its_batch(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process()
    poison = payer.pay(payee, description="\ud800")

    with ThreadPoolExecutor(21) as threads:
        with branch.blocked(payer):
            leader = threads.submit(posting(group, payer.pay(payee)))
            poisoned = threads.submit(posting(group, poison))
            others = [threads.submit(posting(group, payer.pay(payee))) for _ in range(19)]

        outcomes = [future.result() for future in [leader, *others]]
        assert isinstance(poisoned.exception(), UnicodeEncodeError)

    assert codes(outcomes) == {"ok": 20}
    assert branch.balance(payee) == 20


def test_a_batch_that_is_taken_apart_waits_once_for_what_concerns_all_of_it(branch: Branch) -> None:
    first, payer, payee = branch.customer(100), branch.customer(100), branch.customer()
    group = process(timeout_ms=500)
    poison = payer.pay(payee, description="\ud800")

    with ThreadPoolExecutor(21) as threads, branch.blocked(payer):
        with branch.blocked(first):
            leader = threads.submit(posting(group, first.pay(payee)))
            futures = [threads.submit(posting(group, poison))]
            futures += [threads.submit(posting(group, payer.pay(payee))) for _ in range(19)]
        begun = time.monotonic()
        wait([leader, *futures])
        waited_s = time.monotonic() - begun

    assert leader.exception() is None
    assert all(isinstance(future.exception(), LedgerBusy | UnicodeEncodeError) for future in futures)
    # Less than each of them alone would have waited, one after another.
    assert waited_s < 19 * 0.5
    assert branch.recorded(payer) == 0


# Limits.


def test_a_full_queue_refuses_at_once_and_does_nothing(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process(queue_size_max=1)
    commands = [payer.pay(payee) for _ in range(10)]

    with ThreadPoolExecutor(len(commands)) as threads:
        with branch.blocked(payer):
            begun = time.monotonic()
            futures = {threads.submit(posting(group, command)): command for command in commands}
            refused, _ = wait(futures, return_when=FIRST_COMPLETED)
            waited_s = time.monotonic() - begun
        wait(futures)

    for future in refused:
        assert_nothing_was_done(future)
    # A posting may take ten seconds.
    assert waited_s < 9
    refused = {future for future in futures if future.exception() is not None}
    assert branch.balance(payee) == len(commands) - len(refused)
    assert not any(process().post([repeated(futures[future])])[0].replayed for future in refused)


def test_who_waited_too_long_is_told_so_and_nothing_was_done(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process(batch_size_max=1, timeout_ms=1_000)
    commands = [payer.pay(payee) for _ in range(6)]

    with branch.blocked(payer), ThreadPoolExecutor(len(commands)) as threads:
        futures = [threads.submit(posting(group, command)) for command in commands]
        wait(futures)

    # Those that came to lead a block failed in it. At most one of the others was handed the lead in time.
    assert all(isinstance(future.exception(), LedgerBusy) for future in futures)
    assert sum(NOTHING_WAS_DONE in str(future.exception()) for future in futures) >= len(commands) - 2
    assert branch.recorded(payer) == 0
    group.post([payer.pay(payee)])
    assert branch.recorded(payer) == 1


def test_a_leader_that_fails_takes_its_batch_along_and_wakes_everybody(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    group = process(timeout_ms=1_500)
    commands = [payer.pay(payee) for _ in range(20)]

    begun = time.monotonic()
    with branch.blocked(payer), ThreadPoolExecutor(len(commands)) as threads:
        futures = [threads.submit(posting(group, command)) for command in commands]
        wait(futures)
    waited_s = time.monotonic() - begun

    assert all(isinstance(future.exception(), LedgerBusy) for future in futures)
    # Each raises its own: an exception collects the traceback of every thread that raises it.
    assert len({id(future.exception()) for future in futures}) == len(futures)
    # They did not fail one after another.
    assert waited_s < 20 * 1.5
    assert codes(group.post([repeated(command) for command in commands])) == {"ok": 20}
    assert branch.balance(payee) == 20


def test_a_caller_that_is_torn_away_does_not_take_the_lead_with_it(branch: Branch) -> None:
    payer, other, payee = branch.customer(100), branch.customer(100), branch.customer()
    group = process(batch_size_max=1, timeout_ms=2_000)
    torn: list[type[BaseException]] = []

    def post_until_torn_away() -> None:
        try:
            group.post([other.pay(payee)])
        except SystemExit as error:
            torn.append(type(error))

    with branch.blocked(payer), ThreadPoolExecutor(1) as threads:
        leader = threads.submit(posting(group, payer.pay(payee)))
        assert holds_within(WAIT_S, lambda: group._leader is not None and not group._queue)
        waiting = threading.Thread(target=post_until_torn_away)
        waiting.start()
        assert holds_within(WAIT_S, lambda: bool(group._queue))
        # Felt when the thread wakes, which is when the lead is handed to it.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(waiting.ident or 0), ctypes.py_object(SystemExit))
        waiting.join()
        wait([leader])

    assert torn == [SystemExit]
    group.post([other.pay(payee)])
    assert (branch.recorded(other), branch.balance(payee)) == (1, 1)


def test_contention_that_outlasts_a_posting_is_told_as_such_wherever_its_time_ends(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()

    def post() -> type[Exception] | None:
        try:
            process(timeout_ms=1_500).post([payer.pay(payee)])
        except Exception as error:  # noqa: BLE001 -- which one it is, is the question
            return type(error)
        return None

    with branch.blocked(payer):
        told = at_once([post] * 8)

    assert set(told) == {LedgerBusy}
    assert branch.recorded(payer) == 0


def test_a_posting_waits_for_a_block_of_somebody_else_and_then_succeeds(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()

    with ThreadPoolExecutor(1) as threads:
        with branch.blocked(payer):
            future = threads.submit(posting(process(), payer.pay(payee)))
            done, _ = wait([future], timeout=0.2)
            assert not done
        assert future.result().error is None


def assert_nothing_was_done(future: Future[Outcome]) -> None:
    error = future.exception()
    assert isinstance(error, LedgerBusy)
    assert NOTHING_WAS_DONE in error.detail
