"""The quick way of a proof never accepts anything that the careful way would find fault with."""

from collections.abc import Collection, Sequence
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
from app.ledger import documents as documents_of_ledger
from app.ledger.commands import Command, Expire
from app.ledger.documents import from_entry, from_key_use, from_transaction
from app.ledger.proof import checks
from app.ledger.proof.checks import JournalCheck, Upgrade
from app.ledger.proof.completed import is_its_payers, read_completed
from app.ledger.proof.faults import Fault
from app.ledger.proof.legs import transaction_faults
from app.ledger.proof.plain import COMPARED, Owner, is_plainly_right
from app.ledger.proof.reading import QUICK, readable_identity
from app.ledger.proof.rows import CODEC
from app.ledger.proof.slips import slip_of
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


class CarefulCheck(JournalCheck):
    """Looks at every entry closely."""

    def _follow_plain(self, entries: Sequence[bytes], begin: int) -> int:
        del entries
        return begin


def faults_of(found: Ledger, journal: list[Document], account: ObjectId, *, is_quick: bool) -> tuple[list[Fault], Any]:
    """Return the faults of a journal and where its check ends, read quickly or with every entry looked at closely."""
    check = (JournalCheck if is_quick else CarefulCheck)(account, found.identities[account], UPGRADE)
    faults = list(check.follow(list(map(bson.encode, journal))))
    return faults, (check.sequence, check.balance, check.held, check.status)


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
def test_the_entries_of_transactions_are_passed_over_quickly(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ledger(version)
    decoded: list[Document] = []

    def to_entry(document: Document) -> Entry:
        decoded.append(document)
        return documents_of_ledger.to_entry(document)

    monkeypatch.setattr(checks, "to_entry", to_entry)
    for account, journal in found.journals.items():
        assert faults_of(found, journal, account, is_quick=True)[0] == []
    assert {entry["type"] for entry in decoded} == {"STATUS"}


def said_by(entry: Document) -> bytes:
    """Return what MongoDB would return of an entry for a transaction's check."""
    return bson.encode({field: value for field, value in entry.items() if COMPARED.get(field)})


def is_passed_over(found: Ledger, record: Document, entries: list[Document], uses: list[Document]) -> bool:
    slip = slip_of(bson.decode(bson.encode(record), QUICK))
    said = [said_by(entry) for entry in entries]
    is_right = slip is not None and is_plainly_right(slip, said, uses, found.owners)
    # The quickest way knows only some records. Of these it says what the other way says.
    completed = read_completed(bson.encode(record))
    if completed is not None and said == completed.entries and not uses:
        assert is_its_payers(completed, found.owners) == is_right
    return is_right


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
def test_completed_transfers_and_fundings_are_read_with_their_entries(version: int) -> None:
    found = ledger(version)
    for record in found.records:
        completed = read_completed(bson.encode(record))
        is_common = record["kind"] in ("TRANSFER", "FUNDING") and record["status"] == "COMPLETED"

        assert (completed is not None) == (is_common and "metadata" not in record)
        if completed is not None:
            assert completed.entries == [said_by(entry) for entry in traces_of(found, record["_id"])[0]]
            assert is_its_payers(completed, found.owners)


ODD_TEXTS = ["", '"', "\\", "\x7f", "k\x1f7", "%b", "😀"]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(ODD_TEXTS)
FINGERPRINTS = st.dictionaries(st.sampled_from(["amount", "toAccount", "description", "ü"]), TEXTS)


@settings(max_examples=EXAMPLES_MAX)
@given(
    key=TEXTS,
    text=st.none() | TEXTS,
    fingerprint=FINGERPRINTS,
    amount=st.integers(1, 2**53),
)
def test_what_a_completed_transfer_seals_is_what_its_record_says(
    key: str, text: str | None, fingerprint: dict[str, str], amount: int
) -> None:
    transaction = next(each for each in posted()[0].state.transactions.values() if each.description == "Rent")
    changed = replace(transaction, idempotency_key=key, description=text, fingerprint=fingerprint, amount=amount)

    completed = read_completed(bson.encode(from_transaction(changed)))

    if completed is None:
        assert not all(name.isascii() and name.isalnum() for name in fingerprint) or not fingerprint
    else:
        seal = changed.record_hash()
        assert [bson.decode(entry)["record_hash"] for entry in completed.entries] == [seal, seal]
        assert [bson.decode(entry)["amount"] for entry in completed.entries] == [amount, amount]
        assert completed.idempotency_key == key.encode()


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


def test_a_funding_in_what_is_no_currency_is_not_passed_over() -> None:
    found = ledger(2)
    funding = next(each for each in found.records if each["kind"] == "FUNDING")
    entries, uses = traces_of(found, funding["_id"])
    for value in ({"a": 1}, ["INR"], 5, None):
        assert not is_passed_over(found, {**funding, "currency": value}, entries, uses)


def test_a_release_without_a_field_for_its_description_is_not_passed_over() -> None:
    found = ledger(2)
    release = next(each for journal in found.journals.values() for each in journal if each["type"] == "RELEASE")
    record = next(each for each in found.records if each["_id"] == release["transaction"])
    entries, uses = traces_of(found, record["_id"])
    assert is_passed_over(found, record, entries, uses)
    changed = forged(release, "description", ABSENT, is_reordered=False)
    others = [entry for entry in entries if entry is not release]
    assert not is_passed_over(found, record, [*others, changed], uses)


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
