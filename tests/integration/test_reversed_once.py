"""A transaction is reversed once: under races, whatever its record says, and while both releases run."""

from collections.abc import Iterator

import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.backup import copy, create
from app.errors import LedgerBusy
from app.ledger.proof.verify import verify
from app.mongo import Document
from app.mongo.migrations import run
from app.mongo.migrations.version_2 import guard_reversals, keep_reversals
from local.replica_set import ReplicaSet
from tests.commands import reversal
from tests.copies import Silent, used
from tests.integration.branch import Branch, codes, posting, process
from tests.integration.tampering import faults
from tests.people import Bank
from tests.threads import at_once
from tests.upgrades import EMPTY_DATABASE, run_again


@pytest.fixture
def branch(bank: Bank, database: Database[Document]) -> Branch:
    """A branch whose ledger may be left with faults."""
    return Branch(bank, database)


@pytest.fixture
def reversed_payment(branch: Branch) -> tuple[ObjectId, ObjectId]:
    """A transaction and its reversal."""
    payer, payee = branch.customer(100), branch.customer(100)
    payment = process().post([payer.pay(payee, 30)])[0].unwrap()
    return payment.id, process().post([reversal(payment.id)])[0].unwrap().id


@pytest.fixture
def upgraded(old_database: Database[Document], replica_set: ReplicaSet) -> Iterator[Database[Document]]:
    """A bank of the first release whose upgrade is not finished; it has one reversal."""
    run.upgrade(old_database)
    with used(replica_set, EMPTY_DATABASE) as database:
        yield database


def test_many_processes_reverse_a_transaction_once(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer(100)
    payment = process().post([payer.pay(payee, 30)])[0].unwrap()
    processes = process(), process()

    outcomes = at_once([posting(processes[n % 2], reversal(payment.id)) for n in range(8)])

    assert codes(outcomes) == {"ok": 1, "already_reversed": 7}
    won = next(outcome.unwrap() for outcome in outcomes if outcome.error is None)
    assert list(branch.database.reversals.find()) == [{"_id": payment.id, "by": won.id}]
    assert (branch.balance(payer), branch.balance(payee)) == (100, 100)


def test_a_record_that_forgot_its_reversal_is_not_reversed_again(
    branch: Branch, reversed_payment: tuple[ObjectId, ObjectId]
) -> None:
    original, _ = reversed_payment
    forgotten = {"$set": {"status": "COMPLETED"}, "$unset": {"reversed_by": ""}}
    branch.database.transactions.update_one({"_id": original}, forgotten)

    with pytest.raises(LedgerBusy):
        process().post([reversal(original)])

    assert branch.database.transactions.count_documents({"reverses": original}) == 1


def test_a_declined_reversal_leaves_no_mark(branch: Branch) -> None:
    payer, payee = branch.customer(100), branch.customer()
    payment = process().post([payer.pay(payee, 30)])[0].unwrap()
    process().post([payee.pay(payer, 30)])[0].unwrap()

    declined = process().post([reversal(payment.id)])
    process().post([payer.pay(payee, 30)])[0].unwrap()

    assert codes(declined) == {"insufficient_funds": 1}
    assert branch.database.reversals.count_documents({}) == 0
    assert codes(process().post([reversal(payment.id)])) == {"ok": 1}


def test_the_proof_misses_a_mark_and_names_one_of_nothing(
    branch: Branch, reversed_payment: tuple[ObjectId, ObjectId]
) -> None:
    original, reversal_id = reversed_payment
    assert faults() == []

    branch.database.reversals.delete_one({"_id": original})
    assert faults() == [("reversal", None, None, original)]

    branch.database.reversals.insert_one({"_id": original, "by": ObjectId()})
    assert faults() == [("reversal", None, None, original)]

    nothing = ObjectId()
    branch.database.reversals.delete_one({"_id": original})
    branch.database.reversals.insert_many([{"_id": original, "by": reversal_id}, {"_id": nothing, "by": reversal_id}])
    assert faults() == [("reversal", None, None, nothing)]


def test_what_the_old_release_reversed_is_marked_when_it_has_gone(upgraded: Database[Document]) -> None:
    (mark,) = upgraded.reversals.find()
    # As the old release leaves it.
    upgraded.reversals.delete_one({})
    assert verify().is_sound, "the old release may still write"
    assert "reverses_1" in upgraded.transactions.index_information(), "and has this index alone"

    run.finish(upgraded)

    assert list(upgraded.reversals.find()) == [mark]
    assert "reverses_1" not in upgraded.transactions.index_information()
    assert verify().is_sound
    upgraded.reversals.delete_one({})
    assert not verify().is_sound


def test_a_bank_that_was_restored_before_its_upgrade_has_the_old_guard_too(upgraded: Database[Document]) -> None:
    upgraded.transactions.drop_index("reverses_1")

    run_again(guard_reversals, upgraded)

    reversal_made = upgraded.transactions.find_one({"kind": "REVERSAL"}, projection={"_id": 0})
    assert reversal_made is not None
    with pytest.raises(DuplicateKeyError):
        upgraded.transactions.insert_one({**reversal_made, "idempotency_key": "another"})


def test_marks_are_made_again_without_harm(branch: Branch, reversed_payment: tuple[ObjectId, ObjectId]) -> None:
    original, reversal_id = reversed_payment

    for _ in range(2):
        run_again(keep_reversals, branch.database)

    assert list(branch.database.reversals.find()) == [{"_id": original, "by": reversal_id}]


def test_a_copy_has_the_marks_and_misses_one(
    branch: Branch, reversed_payment: tuple[ObjectId, ObjectId], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, lacking = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("lacking")
    create.create(branch.database, whole, Silent())
    branch.database.reversals.delete_one({"_id": reversed_payment[0]})
    create.create(branch.database, lacking, Silent())

    assert copy.prove(whole, Silent()).is_sound
    assert [fault.transaction for fault in copy.prove(lacking, Silent()).faults] == [reversed_payment[0]]
