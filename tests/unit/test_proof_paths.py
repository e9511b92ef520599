"""The quick way of a proof never accepts anything that the careful way would find fault with."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import bson
import pytest
from bson import Code, DatetimeMS, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.clock import milliseconds
from app.ledger.commands import Command, Expire
from app.ledger.documents import from_entry, from_key_use, from_transaction
from app.ledger.proof.checks import JournalCheck, Upgrade
from app.ledger.proof.faults import Fault
from app.ledger.proof.legs import transaction_faults
from app.ledger.proof.plain import COMPARED, Owner, is_plainly_right
from app.ledger.proof.reading import QUICK, readable_identity
from app.ledger.proof.rows import CODEC, Row, read_rows
from app.ledger.proof.slips import read_slip, slip_of
from app.ledger.records import GENESIS_HASH, AccountKind, AccountStatus, Entry, Identity, Transaction
from app.mongo import Document
from tests.commands import capture, change_status, hold, reversal, transfer, void
from tests.sealing import sealed
from tests.unit.books import ASHA, AT, BINA, Books

EXAMPLES_MAX = 100
ABSENT = object()
# What a forger may write in any field's place. Some of it is what another record or entry of the ledger says.
VALUES: list[Any] = [
    ABSENT, None, "", "x", "ü", "FAILED", "VOIDED", "REVERSED", "DEBIT", "CREDIT", "HOLD", "FUNDING", "REVERSAL", "USD",
    0, -1, Int64(1), Int64(-1), Int64(10), Int64(5), 10.0, True, Int64(2**53), [], {}, ["x"], b"", bytes(32),
    {"code": "hold_expired", "detail": ""}, ObjectId("c" * 24), ASHA, BINA, AT, AT + timedelta(days=1),
    datetime(1, 1, 1, tzinfo=UTC), DatetimeMS(2**60),
]  # fmt: skip
UPGRADE = Upgrade(milliseconds(AT), None)


class Ledger(NamedTuple):
    """Some journals and all records, as documents, and whose the accounts are."""

    journals: dict[ObjectId, list[Document]]
    records: list[Document]
    uses: list[Document]
    identities: dict[ObjectId, Identity | None]

    @property
    def owners(self) -> dict[bytes, Owner]:
        return {
            id_.binary: Owner(found.user.binary if found.user else None, found.currency)
            for id_, found in self.identities.items()
            if found is not None
        }


@cache
def ledger(version: int) -> Ledger:
    """Return a ledger with every kind and status of a transaction, as this version of the hash seals it."""
    books, uses = posted()
    return Ledger(
        {id_: documents(entries, version) for id_, entries in books.journals.items()},
        [record_of(transaction, version) for transaction in books.state.transactions.values()],
        uses,
        {each.id: Identity(each.user, each.kind, each.currency) for each in books.state.accounts.values()},
    )


@cache
def posted() -> tuple[Books, list[Document]]:
    """Return the books after some commands, and what keys were used for besides."""
    books, uses = Books(), list[Document]()
    books.open(None)
    asha, bina = books.open(ASHA, funds=1_000), books.open(BINA, funds=10)
    late = AT + timedelta(minutes=3)

    def do(command: Command, at: datetime) -> None:
        use = books.post(command, at).key_use
        uses.extend([from_key_use(use)] if use else [])

    to_capture, to_void, to_expire, to_reverse = (hold(ASHA, asha, bina, 10, minutes=2) for _ in range(4))
    sent = transfer(ASHA, asha, bina, 10)
    early: list[Command] = [
        transfer(ASHA, asha, bina, 10, description="Rent"),
        transfer(ASHA, asha, bina, 10, description="किराया", metadata={"b": "2", "ä": "1"}),
        transfer(BINA, bina, asha, 9_999),
        *(hold(ASHA, asha, bina, 10), to_capture, to_void, to_expire, to_reverse, sent),
        capture(BINA, to_capture.id, 5),
        capture(BINA, to_reverse.id),
        void(BINA, to_void.id, reason="Not needed"),
    ]
    later: list[Command] = [
        Expire(hold=to_expire.id),
        *(reversal(original.id) for original in (sent, to_reverse)),
        *(change_status(asha, status) for status in (AccountStatus.FROZEN, AccountStatus.ACTIVE)),
        transfer(ASHA, asha, bina, 10),
    ]
    for command in early:
        do(command, AT)
    for command in later:
        do(command, late)
    return books, uses


def documents(entries: list[Entry], version: int) -> list[Document]:
    found, link = [], GENESIS_HASH
    for entry in entries:
        if version == 1:
            entry = sealed(replace(entry, previous_hash=link, version=1, record_hash=None, identity=None))
        link = entry.hash
        found.append({"_id": ObjectId(), **from_entry(entry)})
    return found


def record_of(transaction: Transaction, version: int) -> Document:
    return from_transaction(transaction if version > 1 else replace(transaction, salt=None))


def forged(document: Document, field: str, value: Any, *, is_reordered: bool) -> Document:
    """Return the document with another value in a field, or without it, and with the fields in another order."""
    changed = {**document, field: value}
    if value is ABSENT:
        del changed[field]
    return dict(reversed(changed.items())) if is_reordered else changed


@st.composite
def forgeries(draw: st.DrawFn, found: list[Document], among: Collection[str] | None = None) -> tuple[int, Document]:
    """Draw the number of a document and what a forger makes of it, in one of these fields or in any."""
    number = draw(st.integers(0, len(found) - 1))
    field = draw(st.sampled_from([name for name in (*found[number], "more") if among is None or name in among]))
    others = [document[field] for document in found if field in document]
    value = draw(st.sampled_from([*VALUES, *others]))
    return number, forged(found[number], field, value, is_reordered=draw(st.booleans()))


def faults_of(found: Ledger, journal: list[Document], account: ObjectId, *, is_quick: bool) -> tuple[list[Fault], Any]:
    """Return the faults of a journal and where its check ends, read quickly or with every entry looked at closely."""
    raw = [bson.encode(entry) for entry in journal]
    check = JournalCheck(account, found.identities[account], UPGRADE)
    entries = read_rows(b"".join(raw)) if is_quick else [bson.decode(entry, CODEC) for entry in raw]
    return list(check.follow(entries)), (check.sequence, check.balance, check.held, check.status)


@pytest.mark.parametrize("version", [1, 2])
@settings(max_examples=EXAMPLES_MAX)
@given(data=st.data())
def test_a_forged_journal_has_the_same_faults_on_both_paths(version: int, data: st.DataObject) -> None:
    found = ledger(version)
    account, journal = data.draw(st.sampled_from(list(found.journals.items())))
    number, entry = data.draw(forgeries(journal))
    changed = [*journal[:number], entry, *journal[number + 1 :]]

    assert faults_of(found, changed, account, is_quick=True) == faults_of(found, changed, account, is_quick=False)


@pytest.mark.parametrize("version", [1, 2])
def test_the_entries_of_transactions_are_passed_over_quickly(version: int) -> None:
    found = ledger(version)
    for account, journal in found.journals.items():
        rows = read_rows(b"".join(map(bson.encode, journal)))

        assert faults_of(found, journal, account, is_quick=True)[0] == []
        assert {type(row) is Row for row, entry in zip(rows, journal, strict=True) if entry["type"] != "STATUS"} == {
            True
        }


def said_by(entry: Document) -> bytes:
    """Return what MongoDB would return of an entry for a transaction's check."""
    return bson.encode({field: value for field, value in entry.items() if COMPARED.get(field)})


def is_passed_over(found: Ledger, record: Document, entries: list[Document], uses: list[Document]) -> bool:
    raw = bson.encode(record)
    slip = read_slip(raw) or slip_of(bson.decode(raw, QUICK))
    said = [said_by(entry) for entry in entries]
    return slip is not None and is_plainly_right(slip, said, uses, found.owners)


def faults_in(found: Ledger, record: Document, entries: list[Document], uses: list[Document]) -> list[Fault]:
    decoded = bson.decode(bson.encode(record), CODEC)
    entries = [bson.decode(bson.encode(entry), CODEC) for entry in entries]
    return list(transaction_faults(record["_id"], decoded, entries, uses, found.identities))


def traces_of(found: Ledger, id_: ObjectId) -> tuple[list[Document], list[Document]]:
    entries = [entry for journal in found.journals.values() for entry in journal if entry["transaction"] == id_]
    return entries, [use for use in found.uses if use["transaction"] == id_]


@pytest.mark.parametrize("version", [1, 2])
def test_a_sound_transaction_of_any_kind_is_passed_over_quickly(version: int) -> None:
    found = ledger(version)
    assert {record["status"] for record in found.records} == {"COMPLETED", "FAILED", "PENDING", "REVERSED", "VOIDED"}

    for record in found.records:
        entries, uses = traces_of(found, record["_id"])
        for ordered in (entries, entries[::-1]):
            assert faults_in(found, record, ordered, uses) == []
            assert is_passed_over(found, record, ordered, uses), record


@pytest.mark.parametrize("version", [1, 2])
@settings(max_examples=EXAMPLES_MAX)
@given(data=st.data())
def test_a_forged_transaction_is_passed_over_only_if_it_has_no_fault(version: int, data: st.DataObject) -> None:
    found = ledger(version)
    record = data.draw(st.sampled_from(found.records))
    entries, uses = traces_of(found, record["_id"])
    parts = [
        part for part in ("record", "entries", "uses") if part == "record" or {"entries": entries, "uses": uses}[part]
    ]
    match data.draw(st.sampled_from(parts)):
        case "record":
            _, changed = data.draw(forgeries([record, *(other for other in found.records if other is not record)]))
            record = {**changed, "_id": record["_id"]}
        case "entries":
            # The check of its journal names what is wrong in an entry's other fields.
            number, changed = data.draw(forgeries(entries, set(COMPARED) - {"_id"}))
            is_gone = changed.get("transaction") != record["_id"]
            entries = [*entries[:number], *([] if is_gone else [changed]), *entries[number + 1 :]]
        case "uses":
            number, changed = data.draw(forgeries(uses))
            uses = [*uses[:number], changed, *uses[number + 1 :]]
    if data.draw(st.booleans()) and entries:
        entries = [*entries, entries[0]]

    if is_passed_over(found, record, entries, uses):
        assert faults_in(found, record, entries, uses) == []


@pytest.mark.parametrize("value", [ObjectId(), b"x", Code("ACTIVE"), DatetimeMS(2**60), AT, {"a": 1}, ["x"], 1.5])
def test_a_proof_names_any_value_of_an_identity_that_none_has(value: Any) -> None:
    found = ledger(2)
    account = next(id_ for id_, identity in found.identities.items() if identity is not None and identity.user)
    opening, *others = found.journals[account]
    for name in ("user", "currency", "number"):
        if not (name == "user" and isinstance(value, ObjectId)):
            forged_opening = {**opening, "identity": {**opening["identity"], name: value}}
            faults, _ = faults_of(found, [forged_opening, *others], account, is_quick=False)
            assert faults[0].sequence == 0
    faults, _ = faults_of(found, [{**opening, "description": value}, *others], account, is_quick=False)
    assert faults[0].sequence == 0


@pytest.mark.parametrize("value", [ObjectId(), b"x", bson.Regex("x"), DatetimeMS(2**60), bson.MinKey(), Int64(2**62)])
def test_a_fingerprint_with_any_value_is_not_passed_over(value: Any) -> None:
    found = ledger(2)
    record = next(each for each in found.records if each["status"] == "COMPLETED")
    entries, uses = traces_of(found, record["_id"])
    assert is_passed_over(found, record, entries, uses)
    name = next(iter(record["fingerprint"]))
    changed = {**record, "fingerprint": {**record["fingerprint"], name: value}}
    assert not is_passed_over(found, changed, entries, uses)


@pytest.mark.parametrize("currency", [{"a": 1}, ["INR"], Code("INR"), b"INR"])
def test_an_account_in_what_is_no_currency_is_unreadable(currency: Any) -> None:
    account = {"_id": ObjectId(), "user": ASHA, "kind": "CUSTOMER", "currency": "INR"}
    assert readable_identity(account) == Identity(ASHA, AccountKind.CUSTOMER, "INR")
    assert readable_identity({**account, "currency": currency}) is None
