"""One account's journal as the judge keeps it."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from tests.simulator.queries import Document
from tests.simulator.sealing import sealed

BALANCE_MAX = 2**53 - 1
MONEY = ("DEBIT", "CREDIT", "HOLD")
AFTER = {"ACTIVE": {"FROZEN", "CLOSED"}, "FROZEN": {"ACTIVE", "CLOSED"}, "CLOSED": set[str]()}


class Wrong(BaseException):
    """A law was broken. No Exception, because the bank takes those for failures of the database and goes on."""


def insist(holds: bool, otherwise: str, *about: Any) -> None:
    if not holds:
        raise Wrong(": ".join([otherwise, *map(str, about)]))


class Book:
    """An account's journal: its newest state, and what it was at each commit."""

    def __init__(self, account: Document) -> None:
        self.account = account
        self.currency: str = account["currency"]
        self.is_customer = account["kind"] == "CUSTOMER"
        self.balance = self.held = 0
        self.status = "ACTIVE"
        self._sequence = -1
        self._hash = bytes(32)
        self._at = account["created_at"]
        # For each entry: its commit, what was available then, and whether the account was not ACTIVE.
        self._commits: list[int] = []
        self._available: list[int] = []
        self._idle: list[bool] = []

    def extend(self, entries: list[Document], records: Mapping[ObjectId, Document], number: int) -> None:
        """Add the entries of one commit, in their order, each held against the laws."""
        for entry in entries:
            self._follow(entry)
            about = self.account if entry["transaction"] is None else records.get(entry["transaction"])
            insist(about is not None, "an entry about nothing", entry)
            assert about is not None
            insist(bytes(entry["hash"]) == sealed(entry, about), "an entry is not sealed", entry)
            self._hash = bytes(entry["hash"])
            self._commits.append(number)
            self._available.append(self.balance - self.held)
            self._idle.append(self.status != "ACTIVE")

    def least_available(self, since: int) -> int:
        """Return the least that was available at that commit or after it."""
        return min(self._available[self._place(since) :])

    def was_idle(self, since: int) -> bool:
        """Tell whether the account was not ACTIVE at that commit or some time after it."""
        return any(self._idle[self._place(since) :])

    def _place(self, number: int) -> int:
        return max(bisect_right(self._commits, number) - 1, 0)

    def _follow(self, entry: Document) -> None:
        kind, amount = entry["type"], entry["amount"]
        insist(entry["sequence"] == self._sequence + 1, "a journal has a gap or a fork", entry, self._sequence)
        insist(bytes(entry["previous_hash"]) == self._hash, "an entry does not follow from the one before", entry)
        insist(entry["created_at"] >= self._at, "time runs backwards in a journal", entry, self._at)
        if kind == "STATUS":
            self._change_status(entry)
        else:
            insist(amount > 0, "an entry of nothing", entry)
            insist(self.status == "ACTIVE" or kind == "RELEASE", "money moved on an account that is not ACTIVE", entry)
        self.balance += {"CREDIT": amount, "DEBIT": -amount}.get(kind, 0)
        self.held += {"HOLD": amount, "RELEASE": -amount}.get(kind, 0)
        insist((entry["balance"], entry["held"]) == (self.balance, self.held), "a wrong balance", entry)
        insist(self.held >= 0 and abs(self.balance) <= BALANCE_MAX, "an impossible balance", entry)
        insist(not self.is_customer or self.balance >= self.held, "overdraft", entry)
        self._sequence, self._at = entry["sequence"], entry["created_at"]

    def _change_status(self, entry: Document) -> None:
        if entry["sequence"] == 0:
            insist(entry["description"] == "ACTIVE", "a journal starts with another status", entry)
            return
        insist(entry["description"] in AFTER[self.status], "a status cannot change so", entry, self.status)
        insist(entry["description"] != "CLOSED" or self.balance == 0, "closed with money", entry)
        self.status = entry["description"]
