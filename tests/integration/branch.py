"""A bank whose ledger the tests post to directly, as the threads and processes of a server do."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bson import Int64, ObjectId
from pymongo.database import Database

from app.auth.roles import roles_of
from app.ledger.commands import Command
from app.ledger.group import GroupCommit
from app.ledger.posting import post_block
from app.ledger.records import Outcome, Transaction
from app.mongo import Document
from app.settings.policies import LedgerPolicy
from tests.asked import times_asked
from tests.commands import WITNESSES, transfer
from tests.people import Bank, Person


@dataclass(frozen=True)
class Customer:
    user: ObjectId
    account: ObjectId

    @classmethod
    def of(cls, person: Person, account: str) -> "Customer":
        return cls(ObjectId(person.id), ObjectId(account))

    def pay(self, payee: "Customer", amount: int = 1, **more: Any) -> Command:
        return transfer(self.user, self.account, payee.account, amount, **more)


@dataclass(frozen=True)
class Branch:
    """The bank, its customers, and what its database says."""

    bank: Bank
    database: Database[Document]

    def customer(self, amount: int = 0) -> Customer:
        return Customer.of(*self.bank.customer(amount))

    def balance(self, customer: Customer) -> int:
        head = self.database.ledger_entries.find_one({"account": customer.account}, sort=[("sequence", -1)])
        assert head is not None
        balance: int = head["balance"]
        return balance

    def recorded(self, customer: Customer) -> int:
        return self.database.transactions.count_documents({"user": customer.user})

    def blocks(self) -> int:
        """Return how many atomic blocks this process has committed. Other servers have blocks of their own."""
        return times_asked("commitTransaction")

    @contextmanager
    def blocked(self, customer: Customer) -> Iterator[None]:
        """Keep the account's next sequence number taken, as an unfinished block of somebody else does."""
        head = self.database.ledger_entries.find_one({"account": customer.account}, sort=[("sequence", -1)])
        assert head is not None
        taken = {**head, "_id": ObjectId(), "sequence": Int64(head["sequence"] + 1)}
        with self.database.client.start_session() as session:
            session.start_transaction()
            self.database.ledger_entries.insert_one(taken, session=session)
            yield
            session.abort_transaction()


def process(batch_size_max: int = 200, queue_size_max: int = 2_000, timeout_ms: int = 10_000) -> GroupCommit:
    """Return what one process of the server posts through. Two of them know nothing of each other."""
    policy = LedgerPolicy(batch_size_max=batch_size_max, queue_size_max=queue_size_max, timeout_ms=timeout_ms)
    return GroupCommit(policy, partial(post_block, witnesses=WITNESSES, roles=roles_of))


def posting(group: GroupCommit, command: Command) -> Callable[[], Outcome]:
    return lambda: group.post([command])[0]


def effects(outcomes: list[Outcome]) -> list[Transaction]:
    return [outcome.unwrap() for outcome in outcomes if outcome.error is None and not outcome.replayed]


def codes(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.error.code if outcome.error else "ok" for outcome in outcomes)
