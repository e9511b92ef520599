"""The ledger's records: the hash that chains entries, ids and times that must never change, and what repeats answer."""

import hashlib
import json
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId

from app.clock import milliseconds, whole_milliseconds
from app.errors import InsufficientFunds
from app.ledger.journal import DECLINES
from app.ledger.proof.slips import Slip
from app.ledger.records import (
    GENESIS_HASH,
    Entry,
    EntryType,
    Failure,
    Outcome,
    Transaction,
    TransactionKind,
    TransactionStatus,
    treasury_id,
)

AT = datetime(2026, 11, 22, 16, 0, 0, 123_000, UTC)

ENTRY = Entry(
    account=ObjectId("0102030405060708090a0b0c"),
    sequence=7,
    type=EntryType.DEBIT,
    amount=500,
    balance=-1_500,
    held=20,
    transaction=ObjectId("1112131415161718191a1b1c"),
    counterparty=ObjectId("2122232425262728292a2b2c"),
    description="Rent",
    created_at=AT,
    previous_hash=bytes(range(32)),
)
TRANSACTION = Transaction(
    id=ObjectId(),
    user=ObjectId(),
    idempotency_key="rent",
    fingerprint={},
    kind=TransactionKind.TRANSFER,
    from_account=ObjectId(),
    to_account=ObjectId(),
    amount=500,
    currency="INR",
    status=TransactionStatus.COMPLETED,
    created_at=AT,
    completed_at=AT,
)
HOLD = replace(
    TRANSACTION,
    kind=TransactionKind.HOLD,
    status=TransactionStatus.PENDING,
    held_amount=500,
    completed_at=None,
    expires_at=AT + timedelta(days=7),
)


def test_the_hash_of_an_entry_is_pinned_because_every_stored_chain_depends_on_it() -> None:
    assert ENTRY.computed_hash().hex() == "2d6318164025cb43c1ca2b24f2621e9804d86b05ebaca0eaa8fb794239d2d84f"


@pytest.mark.parametrize(
    "change",
    [
        {"account": ObjectId()},
        {"sequence": 8},
        {"type": EntryType.CREDIT},
        {"amount": 501},
        {"balance": -1_499},
        {"held": 21},
        {"transaction": ObjectId()},
        {"transaction": None},
        {"created_at": AT + timedelta(milliseconds=1)},
        {"previous_hash": GENESIS_HASH},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_hash_covers_all_that_money_depends_on(change: dict[str, Any]) -> None:
    assert replace(ENTRY, **change).computed_hash() != ENTRY.computed_hash()


def test_the_hash_of_a_status_entry_covers_the_status() -> None:
    frozen = replace(ENTRY, type=EntryType.STATUS, description="FROZEN")

    assert frozen.computed_hash() != replace(frozen, description="ACTIVE").computed_hash()


@pytest.mark.parametrize(
    "text",
    ["Rent", 'a "quote" and a \\', "\b\f\n\r\t\x00\x1f", "\x7f", "£ é ₹ 家賃 😀", "\u2028", "</script>", ""],
    ids=["plain", "quoted", "control", "delete", "wide", "separator", "markup", "empty"],
)
def test_a_record_is_hashed_as_the_json_of_its_first_version(text: str) -> None:
    """Whatever is in it, so that every stored chain stays right."""
    record = replace(
        TRANSACTION, idempotency_key=text, description=text, metadata={"z": text, text: "a"}, fingerprint={text: text},
        amount=Int64(9_007_199_254_740_991), salt=bytes(16),
    )  # fmt: skip
    said = [
        "transaction", str(record.id), str(record.user), text, {text: text}, "TRANSFER", str(record.from_account),
        str(record.to_account), 9_007_199_254_740_991, "INR", text, {"z": text, text: "a"}, 1_795_363_200_123, None,
        None, "0" * 32,
    ]  # fmt: skip
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))

    assert record.record_hash() == hashlib.sha256(canonical.encode()).digest()
    assert Slip._make([*[None] * 15, said]).record_hash() == record.record_hash()


def test_half_a_character_can_be_hashed_though_not_stored() -> None:
    record = replace(TRANSACTION, description="\ud800")

    assert record.record_hash() != TRANSACTION.record_hash()


@pytest.mark.parametrize("wrong", [float("nan"), 5, AT, {"a": AT}])
def test_a_record_with_a_value_of_a_wrong_type_has_no_hash(wrong: Any) -> None:
    name = "metadata" if isinstance(wrong, dict) else "description"

    with pytest.raises(TypeError):
        replace(TRANSACTION, **{name: wrong}).record_hash()


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ENTRY.amount = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        TRANSACTION.status = TransactionStatus.FAILED  # type: ignore[misc]


def test_a_currency_has_one_treasury_whose_id_never_changes() -> None:
    assert treasury_id("INR") == ObjectId("99d4dff8cfe23ebe7c5b88c8")
    assert treasury_id("USD") != treasury_id("INR")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC), -1),
        (AT, 1_795_363_200_123),
        (datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC), 253_402_300_799_999),
    ],
)
def test_milliseconds_are_exact_however_far_the_moment(moment: datetime, expected: int) -> None:
    assert milliseconds(moment) == expected


def test_a_moment_is_cut_to_what_the_database_keeps() -> None:
    assert whole_milliseconds(AT + timedelta(microseconds=999)) == AT


@pytest.mark.parametrize("decline", DECLINES)
def test_a_recorded_decline_is_answered_as_the_same_problem(decline: type[InsufficientFunds]) -> None:
    error = Failure(decline.code, "The reason.").as_error(TRANSACTION.id)

    assert type(error) is decline
    assert (error.detail, error.members) == ("The reason.", {"transactionId": str(TRANSACTION.id)})


def test_a_transaction_that_was_reversed_since_was_first_answered_completed() -> None:
    reversed_ = replace(TRANSACTION, status=TransactionStatus.REVERSED, reversed_by=ObjectId())

    assert reversed_.as_first_answered() == TRANSACTION


@pytest.mark.parametrize(
    "since",
    [
        {"status": TransactionStatus.COMPLETED, "amount": 30, "completed_at": AT},
        {"status": TransactionStatus.REVERSED, "amount": 30, "completed_at": AT, "reversed_by": ObjectId()},
        {"status": TransactionStatus.VOIDED},
        {"status": TransactionStatus.VOIDED, "failure": Failure("hold_expired", "Too late.")},
    ],
    ids=["captured", "reversed", "voided", "expired"],
)
def test_a_hold_was_first_answered_pending_whatever_became_of_it(since: dict[str, Any]) -> None:
    assert replace(HOLD, **since).as_first_answered() == HOLD


@pytest.mark.parametrize("transaction", [TRANSACTION, HOLD], ids=["transfer", "hold"])
def test_a_decline_was_first_answered_as_it_is(transaction: Transaction) -> None:
    failure = Failure("insufficient_funds", "Too little.")
    failed = replace(transaction, status=TransactionStatus.FAILED, failure=failure, completed_at=None)

    assert failed.as_first_answered() == failed


def test_an_outcome_gives_its_transaction() -> None:
    assert Outcome(TRANSACTION).unwrap() is TRANSACTION


@pytest.mark.parametrize("replayed", [False, True])
def test_an_outcome_raises_its_refusal_marked_if_it_repeats_an_earlier_one(replayed: bool) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        Outcome(TRANSACTION, InsufficientFunds(), replayed=replayed).unwrap()

    assert refusal.value.replayed is replayed
