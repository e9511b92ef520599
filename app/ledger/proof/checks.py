"""What must hold in a journal, checked entry by entry without any I/O.

Each fault is named once: after it, the check goes on from what is written, so that one
wrong entry does not put all that follow it under suspicion.
"""

import hashlib
from collections.abc import Iterable, Iterator

from bson import ObjectId

from app.clock import milliseconds
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind
from app.ledger.proof.legs import Legs
from app.ledger.proof.rows import Row
from app.ledger.records import CANONICAL, GENESIS_HASH, NO_TRANSACTION, AccountKind, AccountStatus
from app.mongo import Document

# From each type of entry: what it does to the balance and to what is held, whether it needs an ACTIVE account, and
# whether it is one of STATUS.
_TYPES = {
    b"DEBIT": (-1, 0, True, False),
    b"CREDIT": (1, 0, True, False),
    b"HOLD": (0, 1, True, False),
    b"RELEASE": (0, -1, False, False),
    b"STATUS": (0, 0, False, True),
}


class JournalCheck:
    """Follows the journal of one account from its first entry to its last."""

    def __init__(self, account: ObjectId, kind: str, currency: str) -> None:
        self.account = account
        self.currency = currency
        self.is_customer = kind == AccountKind.CUSTOMER
        self.sequence = -1
        self.balance = 0
        self.held = 0
        self.status: str | None = None
        self._hash = GENESIS_HASH
        self._at = -(2**63)
        self._overdrawn = False
        # Set after an entry that can not be read: the next one can not be held against it.
        self._lost = False
        # After a fault, the next entry may follow from what is written (as kept above) or from what should be.
        self._other_hash: bytes | None = None
        self._other_balance: int | None = None
        self._other_held: int | None = None

    def follow(self, entries: Iterable[Row | Document], legs: Legs | None = None) -> Iterator[Fault]:
        """Yield what is wrong with the next entries; tell `legs` of each that belongs to a transaction."""
        account, currency = self.account.binary, self.currency.encode()
        sha256, pack = hashlib.sha256, CANONICAL.pack
        for entry in entries:
            try:
                row = entry if isinstance(entry, Row) else _row(entry)
                _, sequence, type_, amount, balance, held, transaction, counterparty, text, at, previous, stated = row
                effect, held_effect, needs_active, is_status = _TYPES[type_]
                computed = sha256(
                    previous
                    + pack(
                        account, sequence, type_, amount, balance, held, transaction, at,
                        text if is_status else b"",
                    )
                ).digest()  # fmt: skip
            except UNREADABLE as error:
                found = f"{type(error).__name__}: {error}"
                yield self._fault(FaultKind.FORMAT, _sequence_of(entry), "an entry", found)
                self._lost = True
                self._hash = b""
                continue
            if legs is not None and transaction != NO_TRANSACTION:
                legs.found(transaction, account, counterparty, type_, amount, at, currency, text)
            if (
                sequence == self.sequence + 1
                and previous == self._hash
                and computed == stated
                and balance == self.balance + amount * effect
                and held == self.held + amount * held_effect
                and held >= 0
                and at >= self._at
                and amount > 0
                and not is_status
                and transaction != NO_TRANSACTION
                and (balance >= held or not self.is_customer)
                and (self.status == "ACTIVE" or not needs_active)
            ):
                self._other_hash = self._other_balance = self._other_held = None
                self._overdrawn = False
            else:
                yield from self._examine(row, computed, amount * effect, amount * held_effect)
            self.sequence, self.balance, self.held, self._hash, self._at = sequence, balance, held, stated, at

    def _examine(self, row: Row, computed: bytes, effect: int, held_effect: int) -> Iterator[Fault]:
        """Yield what is wrong with an entry that is not simply right."""
        sequence, is_status = row.sequence, row.type == b"STATUS"
        others = self._other_hash, self._other_balance, self._other_held
        self._other_hash = self._other_balance = self._other_held = None
        if self._lost:
            self._lost = False
        elif sequence != self.sequence + 1:
            yield self._fault(FaultKind.SEQUENCE, sequence, self.sequence + 1, sequence)
        else:
            yield from self._examine_link(row, effect, held_effect, others)
        if computed != row.hash:
            self._other_hash = computed
            yield self._fault(FaultKind.HASH, sequence, computed.hex(), row.hash.hex())
        if row.at < self._at:
            yield self._fault(FaultKind.TIME, sequence, f"{self._at} ms or later", f"{row.at} ms")
        if (row.amount > 0) == is_status or (row.transaction == NO_TRANSACTION) != is_status or row.held < 0:
            yield self._fault(FaultKind.FORMAT, sequence, "an entry that a rule allows", _summary(row))
        if is_status:
            self.status = (row.description or b"").decode()
            if self.status not in set(AccountStatus):
                yield self._fault(FaultKind.FORMAT, sequence, "a status", self.status)
        elif sequence == 0:
            yield self._fault(FaultKind.FORMAT, sequence, "the STATUS entry that opens the account", _summary(row))
        yield from self._examine_rights(row)

    def _examine_rights(self, row: Row) -> Iterator[Fault]:
        """Yield what the account could not have been allowed."""
        needs_active = _TYPES[row.type][2]
        if needs_active and self.status != AccountStatus.ACTIVE:
            yield self._fault(FaultKind.INACTIVE, row.sequence, AccountStatus.ACTIVE.value, self.status)
        is_overdrawn = self.is_customer and row.balance < row.held
        if is_overdrawn and not self._overdrawn:
            yield self._fault(FaultKind.OVERDRAFT, row.sequence, "0 or more", row.balance - row.held)
        self._overdrawn = is_overdrawn

    def _examine_link(
        self, row: Row, effect: int, held_effect: int, others: tuple[bytes | None, int | None, int | None]
    ) -> Iterator[Fault]:
        other_hash, other_balance, other_held = others
        if row.previous_hash not in (self._hash, other_hash):
            yield self._fault(FaultKind.PREVIOUS_HASH, row.sequence, self._hash.hex(), row.previous_hash.hex())
        expected = self.balance + effect
        if row.balance != expected and (other_balance is None or row.balance != other_balance + effect):
            self._other_balance = expected
            yield self._fault(FaultKind.BALANCE, row.sequence, expected, row.balance)
        expected = self.held + held_effect
        if row.held != expected and (other_held is None or row.held != other_held + held_effect):
            self._other_held = expected
            yield self._fault(FaultKind.HELD, row.sequence, expected, row.held)

    def _fault(
        self, kind: FaultKind, sequence: int | None, expected: int | str | None, found: int | str | None
    ) -> Fault:
        return Fault(kind=kind, account=self.account, sequence=sequence, expected=expected, found=found)


def _row(entry: Document) -> Row:
    """Return a decoded entry as a row; raises one of `_UNREADABLE` if it is none."""
    transaction, counterparty, description = entry["transaction"], entry["counterparty"], entry["description"]
    row = Row(
        entry["account"].binary,
        entry["sequence"],
        entry["type"].encode(),
        entry["amount"],
        entry["balance"],
        entry["held"],
        NO_TRANSACTION if transaction is None else transaction.binary,
        NO_TRANSACTION if counterparty is None else counterparty.binary,
        None if description is None else description.encode(),
        milliseconds(entry["created_at"]),
        entry["previous_hash"],
        entry["hash"],
    )
    if type(row.hash) is not bytes or type(row.previous_hash) is not bytes:
        raise TypeError("a hash is no binary")
    return row


def _sequence_of(entry: Row | Document) -> int | None:
    sequence = entry.sequence if isinstance(entry, Row) else entry.get("sequence")
    return sequence if isinstance(sequence, int) else None


def _summary(row: Row) -> str:
    transaction = None if row.transaction == NO_TRANSACTION else ObjectId(row.transaction)
    return f"{row.type.decode()} {row.amount}, held {row.held}, transaction {transaction}"
