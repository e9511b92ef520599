"""Recognises transactions that are plainly right: quickly, and never one that is not right.

The entries of a transaction follow from its record, so they are compared as BSON with what they must be.
What is not recognised here goes to `legs.transaction_faults`, which decides.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from app.ledger.proof.shapes import INT64, LENGTH
from app.ledger.proof.slips import Slip
from app.ledger.records import EntryType, KeyUseKind, TransactionKind, TransactionStatus, treasury_id
from app.mongo import Document

# The fields of an entry that tell of its transaction. MongoDB returns them in the order in which the bank writes them.
COMPARED = {
    "_id": 0, "account": 1, "type": 1, "amount": 1, "transaction": 1, "counterparty": 1, "description": 1,
    "created_at": 1, "record_hash": 1,
}  # fmt: skip
# Enums are compared slowly, and these are compared for every transaction.
_HOLD, _FUNDING = TransactionKind.HOLD.value, TransactionKind.FUNDING.value
_REVERSAL = TransactionKind.REVERSAL.value
_PENDING, _FAILED = TransactionStatus.PENDING.value, TransactionStatus.FAILED.value
_VOIDED = TransactionStatus.VOIDED.value
_MOVED = (TransactionStatus.COMPLETED.value, TransactionStatus.REVERSED.value)
NO_TEXT, TEXT, TIME = b"\x0adescription\0", b"\x02description\0", b"\x09created_at\0"
# How an entry ends that seals its record, and one of version 1, which does not.
SEALED, UNSEALED = b"\x05record_hash\0\x20\0\0\0\0%b\0", b"\0"


class Owner(NamedTuple):
    """The part of an account's identity that is compared."""

    user: bytes | None
    currency: str


def _named(type_: EntryType) -> bytes:
    """Return the fields from the type to the name of the amount."""
    text = type_.encode() + b"\0"
    return b"\x02type\0" + LENGTH.pack(len(text)) + text + b"\x12amount\0"


DEBITED, CREDITED, _HELD, _RELEASED = map(
    _named, (EntryType.DEBIT, EntryType.CREDIT, EntryType.HOLD, EntryType.RELEASE)
)


# Where the transaction's id is in COMPARED, by the byte with the length of the type.
_TYPE_LENGTH_AT = 31
_ID_AT = {
    bytes([len(type_) + 1]): _TYPE_LENGTH_AT
    + len(b"\0\0\0\0" + type_.encode() + b"\0\x12amount\0\0\0\0\0\0\0\0\0\x07transaction\0")
    for type_ in EntryType
}


def named_by(entry: bytes) -> bytes:
    """Return the transaction that an entry seems to name, from the BSON of its COMPARED fields.

    Only an entry in a forged form can name another, and no such entry is plainly right.
    """
    id_at = _ID_AT.get(entry[_TYPE_LENGTH_AT : _TYPE_LENGTH_AT + 1], 0)
    return entry[id_at : id_at + 12]


def is_plainly_right(slip: Slip, entries: list[bytes], uses: Sequence[Document], owners: Mapping[bytes, Owner]) -> bool:
    """Tell whether a record agrees with its entries and key uses, and was its payer's to make.

    `entries` are the COMPARED fields of all entries that name the transaction, `uses` the captures and voids that name
    it. `owners` has the owners of its two accounts, by the bytes of their ids.
    """
    if not _may_pay(slip, owners) or ((uses or slip.kind == _HOLD) and not _agree(slip, uses)):
        return False
    sides = (slip.payer, slip.payee) if slip.status in _MOVED else (slip.payer,)
    if not all(account in owners and owners[account].currency == slip.currency for account in sides):
        return False
    try:
        sealed = SEALED % slip.record_hash()
        if slip.status == _FAILED:
            return not entries
        wanted = _expected(slip, sealed)
        # The RELEASE of a hold is not among them.
        if (entries == wanted or entries == wanted[::-1]) and slip.kind != _HOLD:
            return True
        return _are_all(slip, [*entries], wanted, sealed)
    except (AttributeError, OverflowError, TypeError, struct.error):
        # A value in the record has a type that cannot be sealed.
        return False


def _expected(slip: Slip, end: bytes) -> list[bytes]:
    """Return the entries that a transaction must have, like `legs.expected_legs`, but for a RELEASE."""
    _, _, _, kind, status, payer, payee, amount, held, _, _, created, completed, _, _, _ = slip
    entries = []
    if status in _MOVED:
        tail = _told(slip) + TIME + INT64.pack(completed) + end
        moved = INT64.pack(amount)
        entries += [
            _entry(slip.id, payer, payee, DEBITED + moved, tail),
            _entry(slip.id, payee, payer, CREDITED + moved, tail),
        ]
    if kind == _HOLD:
        tail = _told(slip) + TIME + INT64.pack(created) + end
        entries.append(_entry(slip.id, payer, payee, _HELD + INT64.pack(held), tail))
    return entries


def _told(slip: Slip) -> bytes:
    """Return the field with the description."""
    text = slip.description
    return NO_TEXT if text is None else TEXT + LENGTH.pack(len(text) + 1) + text + b"\0"


def _entry(transaction: bytes, account: bytes, counterparty: bytes, type_and_amount: bytes, tail: bytes) -> bytes:
    fields = b"\x07account\0%b%b\x07transaction\0%b\x07counterparty\0%b%b" % (
        account, type_and_amount, transaction, counterparty, tail,
    )  # fmt: skip
    return LENGTH.pack(LENGTH.size + len(fields)) + fields


def _are_all(slip: Slip, entries: list[bytes], wanted: list[bytes], sealed: bytes) -> bool:
    """Tell whether these entries, of version 1 or 2, are the wanted ones, and for a hold its RELEASE too."""
    for new, old in zip(wanted, _expected(slip, UNSEALED), strict=True):
        if new in entries:
            entries.remove(new)
        elif old in entries:
            entries.remove(old)
        else:
            return False
    if slip.kind == _HOLD and slip.status != _PENDING:
        return len(entries) == 1 and _is_release(slip, entries[0], sealed)
    return not entries


def _is_release(slip: Slip, entry: bytes, sealed: bytes) -> bool:
    """Tell whether this releases the hold, and not before it expires. The record says neither when nor why."""
    begin = _entry(slip.id, slip.payer, slip.payee, _RELEASED + INT64.pack(slip.held_amount), b"")
    text_at = len(begin)
    if entry[LENGTH.size : text_at] != begin[LENGTH.size :]:
        return False
    if entry.startswith(NO_TEXT, text_at):
        time_at = text_at + len(NO_TEXT)
    elif entry.startswith(TEXT, text_at):
        length_at = text_at + len(TEXT)
        time_at = length_at + LENGTH.size + LENGTH.unpack_from(entry, length_at)[0]
    else:
        return False
    value_at = time_at + len(TIME)
    end = entry[value_at + INT64.size :]
    if not entry.startswith(TIME, time_at) or end not in (sealed, UNSEALED):
        return False
    if not slip.has_failure or slip.expires_at is None:
        return True
    (released_at,) = INT64.unpack_from(entry, value_at)
    return bool(released_at >= slip.expires_at)


def _may_pay(slip: Slip, owners: Mapping[bytes, Owner]) -> bool:
    if slip.kind == _REVERSAL:
        return True
    if slip.kind == _FUNDING:
        return slip.payer == treasury_of(slip.currency)
    owner = owners.get(slip.payer)
    return owner is not None and owner.user == slip.user


@lru_cache(maxsize=256)
def treasury_of(currency: str) -> bytes:
    return treasury_id(currency).binary


def _agree(slip: Slip, uses: Sequence[Document]) -> bool:
    """Tell whether the captures and voids that took effect are those that the status needs."""
    expected: list[str] = []
    if slip.kind == _HOLD and slip.status in _MOVED:
        expected = [KeyUseKind.CAPTURE.value]
    elif slip.kind == _HOLD and slip.status == _VOIDED and not slip.has_failure:
        expected = [KeyUseKind.VOID.value]
    return [use.get("kind") for use in uses if use.get("failure") is None] == expected
