"""Checks a journal entry by entry. No I/O.

Each fault is named once. After a fault the check continues from what is written, so that
one wrong entry does not make all later entries look wrong.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from types import NoneType
from typing import NamedTuple

import bson
from bson import ObjectId

from app.clock import milliseconds
from app.ledger.canonical import CANONICAL_1, CANONICAL_2
from app.ledger.chain import BALANCE_EFFECT, HASH_VERSION, HELD_EFFECT
from app.ledger.documents import to_entry
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind
from app.ledger.proof.fields import PLAIN, hidden_in, is_utf8
from app.ledger.proof.rows import CODEC, EARLIEST, LATEST, form_of
from app.ledger.records import (
    GENESIS_HASH,
    TRANSITIONS,
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Identity,
    treasury_id,
)
from app.mongo import Document

# RELEASE is not here, because money that was set aside is given back whatever the account's status is.
_NEEDS_ACTIVE = (EntryType.DEBIT, EntryType.CREDIT, EntryType.HOLD)
# What each type of entry does to the balance and to what is held, and whether it needs an ACTIVE account.
_EFFECTS = {
    type_.encode(): (BALANCE_EFFECT.get(type_, 0), HELD_EFFECT.get(type_, 0), type_ in _NEEDS_ACTIVE)
    for type_ in EntryType
}
# What the hash of an entry is computed from: the hash of the entry before, then its own canonical bytes.
_LINK_1 = struct.Struct(f">32s{CANONICAL_1.format[1:]}")
_LINK_2 = struct.Struct(f">32s{CANONICAL_2.format[1:]}")


class Upgrade(NamedTuple):
    """The period in which the release with version 1 of the hash may have run beside the one with version 2.

    In milliseconds. `finished` is None while it may still run.
    """

    begun: int
    finished: int | None

    def covers(self, at: int) -> bool:
        return self.begun <= at and (self.finished is None or at <= self.finished)


class JournalCheck:
    """Follows the journal of one account from its first entry to its last.

    `identity` is what the account's own document says, or None if it is missing or unreadable. During the `upgrade`,
    entries of version 1 may follow those of version 2.
    """

    def __init__(self, account: ObjectId, identity: Identity | None, upgrade: Upgrade | None = None) -> None:
        self.account = account
        self._account = account.binary
        self.identity = identity
        self._upgrade = upgrade
        self.sequence = -1
        self.balance = 0
        self.held = 0
        self.status: str | None = None
        self._hash = GENESIS_HASH
        self._at = EARLIEST
        self._version = 1
        self._overdrawn = False
        # Set after an unreadable entry, because the next one cannot be compared with it.
        self._lost = False
        # After a fault, the next entry may follow from what was written (above) or from what should have been written
        # (here).
        self._other_hash: bytes | None = None
        self._other_balance: int | None = None
        self._other_held: int | None = None

    def examine_account(self) -> Iterator[Fault]:
        """Yield the faults of the account itself. Call this before `follow`."""
        identity = self.identity
        if identity is None:
            return
        is_treasury = self.account == treasury_id(identity.currency)
        expected = AccountKind.TREASURY if is_treasury else AccountKind.CUSTOMER
        if identity.kind is not expected or is_treasury != (identity.user is None):
            owner = "the bank" if is_treasury else "a user"
            yield self._fault(FaultKind.IDENTITY, None, f"{expected} of {owner}", described(identity))

    def follow(self, entries: Sequence[bytes]) -> Iterator[Fault]:
        """Yield the faults of the next entries, in order. They are BSON."""
        position = self._follow_plain(entries, 0)
        while position < len(entries):
            yield from self._look_closer(entries[position])
            position = self._follow_plain(entries, position + 1)

    def _follow_plain(self, entries: Sequence[bytes], begin: int) -> int:
        """Follow the entries from a position on for as long as they are plainly right; return the position reached.

        Almost all entries are, so this loop makes no call that it does not need. `_look_closer` would find no fault in
        any of them.
        """
        if self._lost:
            return begin
        is_treasury, is_active = self._is_treasury(), self.status == AccountStatus.ACTIVE
        account, link, sequence, at = self._account, self._hash, self.sequence, self._at
        balance, held, version = self.balance, self.held, self._version
        effects, sha256, sealed_1, sealed_2 = _EFFECTS, hashlib.sha256, _LINK_1.pack, _LINK_2.pack
        end = begin
        for raw in islice(entries, begin, None):
            form = form_of(raw)
            if form is None:
                break
            (
                own_account, next_sequence, amount, next_balance, next_held, transaction, counterparty, text, next_at,
                previous_hash, hash_, record_hash,
            ) = form.unpack(raw)  # fmt: skip
            effect, held_effect, needs_active = effects[form.type]
            if not (
                next_sequence == sequence + 1
                and own_account == account
                and previous_hash == link
                and at <= next_at <= LATEST
                and amount > 0
                and next_held >= 0
                and next_balance == balance + amount * effect
                and next_held == held + amount * held_effect
                and (next_balance >= next_held or is_treasury)
                and (is_active or not needs_active)
            ):
                break
            if form.version == HASH_VERSION:
                sealed = sealed_2(
                    link, HASH_VERSION, account, next_sequence, form.type, amount, next_balance, next_held, transaction,
                    counterparty, next_at, record_hash, form.is_told,
                ) + text  # fmt: skip
                version = HASH_VERSION
            elif self._version_due(next_at, version) == 1:
                sealed = sealed_1(
                    link, account, next_sequence, form.type, amount, next_balance, next_held, transaction, next_at, b""
                )
            else:
                break
            if sha256(sealed).digest() != hash_ or not (text.isascii() or is_utf8(text)):
                break
            link, sequence, at, balance, held = hash_, next_sequence, next_at, next_balance, next_held
            end += 1
        if end > begin:
            self._other_hash = self._other_balance = self._other_held = None
            self._overdrawn = False
            self._hash, self.sequence, self._at, self._version = link, sequence, at, version
            self.balance, self.held = balance, held
        return end

    def _look_closer(self, raw: bytes) -> Iterator[Fault]:
        """Follow one entry, and yield its faults."""
        document: Document = {}
        try:
            document = bson.decode(raw, CODEC)
            if (fault := entry_hidden_fault(raw, document, self.account)) is not None:
                yield fault
            entry = to_entry(document)
            _refuse_other_types(entry)
            at, computed = milliseconds(entry.created_at), entry.computed_hash()
            sealed = None if entry.identity is None else _hash_of(entry.identity)
        except UNREADABLE as error:
            sequence = document.get("sequence")
            sequence = sequence if isinstance(sequence, int) else None
            yield self._fault(FaultKind.FORMAT, sequence, "an entry", f"{type(error).__name__}: {error}")
            self._lost = True
            self._hash = b""
            return
        if entry.account != self.account:
            # Of two fields by this name, MongoDB looks for the first.
            yield self._fault(FaultKind.FORMAT, entry.sequence, "an entry of this account", str(entry.account))
        yield from self._examine(entry, at, computed, sealed)
        self.sequence, self.balance, self.held = entry.sequence, entry.balance, entry.held
        self._hash, self._at, self._version = entry.hash, at, max(self._version, entry.version)

    def _examine(self, entry: Entry, at: int, computed: bytes, sealed: bytes | None) -> Iterator[Fault]:
        """Yield the faults of one entry. `sealed` is the hash of its identity."""
        sequence, is_status = entry.sequence, entry.type is EntryType.STATUS
        others = self._other_hash, self._other_balance, self._other_held
        self._other_hash = self._other_balance = self._other_held = None
        if self._lost:
            self._lost = False
        elif sequence != self.sequence + 1:
            yield self._fault(FaultKind.SEQUENCE, sequence, self.sequence + 1, sequence)
        else:
            yield from self._examine_link(entry, others)
        if computed != entry.hash:
            self._other_hash = computed
            yield self._fault(FaultKind.HASH, sequence, computed.hex(), entry.hash.hex())
        if entry.version < self._version_due(at, self._version):
            # An older hash seals less, so going back to it would let a forger change what only the newer one seals.
            expected = f"version {HASH_VERSION} of the hash"
            yield self._fault(FaultKind.HASH, sequence, expected, f"version {entry.version}")
        if at < self._at:
            yield self._fault(FaultKind.TIME, sequence, f"{self._at} ms or later", f"{at} ms")
        if (entry.amount > 0) == is_status or (entry.transaction is None) != is_status or entry.held < 0:
            yield self._fault(FaultKind.FORMAT, sequence, "an entry that a rule allows", _summary(entry))
        if is_status:
            yield from self._examine_status(entry, sealed)
        elif sequence == 0:
            yield self._fault(FaultKind.FORMAT, sequence, "the STATUS entry that opens the account", _summary(entry))
        yield from self._examine_rights(entry)

    def _version_due(self, at: int, newest: int) -> int:
        """Return the oldest version that an entry of this time may have. `newest` is that of the entries before it."""
        upgrade = self._upgrade
        if upgrade is None:
            return newest
        if upgrade.covers(at):
            return 1
        return newest if at < upgrade.begun else HASH_VERSION

    def _examine_link(self, entry: Entry, others: tuple[bytes | None, int | None, int | None]) -> Iterator[Fault]:
        """Yield the faults in how an entry follows from the one before."""
        other_hash, other_balance, other_held = others
        if entry.previous_hash not in (self._hash, other_hash):
            yield self._fault(FaultKind.PREVIOUS_HASH, entry.sequence, self._hash.hex(), entry.previous_hash.hex())
        effect = entry.amount * BALANCE_EFFECT.get(entry.type, 0)
        expected = self.balance + effect
        if entry.balance != expected and (other_balance is None or entry.balance != other_balance + effect):
            self._other_balance = expected
            yield self._fault(FaultKind.BALANCE, entry.sequence, expected, entry.balance)
        effect = entry.amount * HELD_EFFECT.get(entry.type, 0)
        expected = self.held + effect
        if entry.held != expected and (other_held is None or entry.held != other_held + effect):
            self._other_held = expected
            yield self._fault(FaultKind.HELD, entry.sequence, expected, entry.held)

    def _examine_status(self, entry: Entry, sealed: bytes | None) -> Iterator[Fault]:
        """Yield the faults of a change of status, and of the identity that the entry carries."""
        before, status = self.status, entry.description
        # A forger may have written anything in its place, such as BSON's JavaScript code, which is a `str` too.
        self.status = status if type(status) is str else ""
        if status is None or self.status not in set(AccountStatus):
            found = status if status is None or type(status) is str else type(status).__name__
            yield self._fault(FaultKind.FORMAT, entry.sequence, "a status", found)
        elif not _may_become(before, status) or (status != AccountStatus.ACTIVE and self._is_treasury()):
            yield self._fault(FaultKind.TRANSITION, entry.sequence, _successors(before), status)
        elif status == AccountStatus.CLOSED and (entry.balance or entry.held):
            yield self._fault(
                FaultKind.TRANSITION, entry.sequence, "CLOSED at 0", f"CLOSED at {entry.balance}, held {entry.held}"
            )
        if entry.identity is None and entry.version == 1:
            return
        if entry.identity is None or sealed != entry.record_hash:
            found = None if entry.identity is None else described(entry.identity)
            yield self._fault(FaultKind.IDENTITY, entry.sequence, "what its hash seals", found)
        elif self.identity is not None and not entry.identity.is_of(self.identity):
            yield self._fault(FaultKind.IDENTITY, entry.sequence, described(entry.identity), described(self.identity))
            # From here on, the sealed identity counts.
            self.identity = entry.identity

    def _examine_rights(self, entry: Entry) -> Iterator[Fault]:
        """Yield a fault if the account was not ACTIVE or lacked the money."""
        if entry.type in _NEEDS_ACTIVE and self.status != AccountStatus.ACTIVE:
            yield self._fault(FaultKind.INACTIVE, entry.sequence, AccountStatus.ACTIVE.value, self.status)
        is_overdrawn = entry.balance < entry.held and not self._is_treasury()
        if is_overdrawn and not self._overdrawn:
            yield self._fault(FaultKind.OVERDRAFT, entry.sequence, "0 or more", entry.balance - entry.held)
        self._overdrawn = is_overdrawn

    def _is_treasury(self) -> bool:
        # Decided by the id, because only the true treasury may go below zero, whatever its document says.
        return self.identity is not None and self.account == treasury_id(self.identity.currency)

    def _fault(
        self, kind: FaultKind, sequence: int | None, expected: int | str | None, found: int | str | None
    ) -> Fault:
        return Fault(kind=kind, account=self.account, sequence=sequence, expected=expected, found=found)


def described(identity: Identity) -> str:
    """Return an identity as a fault shows it."""
    number = "" if identity.number is None else f", {identity.number}"
    return f"{identity.kind} of {identity.user or 'the bank'} in {identity.currency}{number}"


def entry_hidden_fault(raw: bytes, entry: Document, account: object) -> Fault | None:
    """Return the fault of an entry, as BSON and decoded, that says more than its decoded form; None if it does not."""
    hidden = hidden_in(raw, entry, CODEC)
    if hidden is None:
        return None
    account = account if isinstance(account, ObjectId) else None
    sequence = entry.get("sequence")
    sequence = sequence if isinstance(sequence, int) else None
    expected = f"an entry with {PLAIN}"
    return Fault(kind=FaultKind.FORMAT, account=account, sequence=sequence, expected=expected, found=hidden)


def _refuse_other_types(entry: Entry) -> None:
    """Raise TypeError for values that are sealed as an entry's would be, and that MongoDB treats differently."""
    for name, id_ in (("transaction", entry.transaction), ("counterparty", entry.counterparty)):
        if not isinstance(id_, ObjectId | None):
            # An empty text or list is sealed like no id at all.
            raise TypeError(f"The {name} {id_!r}")
    if entry.type is not EntryType.STATUS and type(entry.description) not in (str, NoneType):
        raise TypeError(f"The description {entry.description!r}")
    if bool in map(type, (entry.sequence, entry.amount, entry.balance, entry.held)):
        raise TypeError("A truth value in place of a number")


def _hash_of(identity: Identity) -> bytes:
    """Return an identity's hash; raises TypeError or AttributeError if no identity has such values."""
    if type(identity.currency) is not str or type(identity.number) not in (str, NoneType):
        raise TypeError(f"An identity in {identity.currency!r} with the number {identity.number!r}")
    return identity.record_hash()


def _may_become(before: str | None, status: str) -> bool:
    if before is None:
        return status == AccountStatus.ACTIVE
    # If the previous status is not a status, that fault has been named already, and any status may follow.
    return before not in set(AccountStatus) or AccountStatus(status) in TRANSITIONS[AccountStatus(before)]


def _successors(before: str | None) -> str:
    if before is None:
        return AccountStatus.ACTIVE.value
    return " or ".join(sorted(TRANSITIONS[AccountStatus(before)])) or "nothing after CLOSED"


def _summary(entry: Entry) -> str:
    return f"{entry.type} {entry.amount}, held {entry.held}, transaction {entry.transaction}"
