"""Books for the tests of the rules: whole journals kept in memory, every decision held to the laws of money."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from app.errors import DomainError
from app.ledger.chain import BALANCE_MAX, open_journal
from app.ledger.commands import Batch, Capture, Command, Keyed, Transfer, Void
from app.ledger.journal import DECLINES, decide
from app.ledger.records import (
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Outcome,
    Transaction,
    TransactionStatus,
    treasury_id,
)
from app.ledger.state import Decision, State
from tests.commands import change_status, funding

AT = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
ASHA, BINA = ObjectId("a" * 24), ObjectId("b" * 24)

CREDIT, DEBIT, HOLD, RELEASE = EntryType.CREDIT, EntryType.DEBIT, EntryType.HOLD, EntryType.RELEASE


class Books:
    """Every account's journal, kept by folding `decide` over commands as posting does."""

    def __init__(self) -> None:
        self.state = State([], [])
        self.journals: dict[ObjectId, list[Entry]] = {}
        self._first: dict[tuple[ObjectId, str], Decision] = {}
        self._totals: dict[ObjectId | None, Counter[EntryType]] = defaultdict(Counter)

    def open(
        self,
        user: ObjectId | None,
        currency: str = "INR",
        *,
        funds: int = 0,
        status: AccountStatus = AccountStatus.ACTIVE,
    ) -> ObjectId:
        """Open an account, a treasury if it has no user, fund it and give it its status."""
        kind = AccountKind.CUSTOMER if user else AccountKind.TREASURY
        account_id = ObjectId() if user else treasury_id(currency)
        account, entry = open_journal(account_id, kind=kind, user=user, currency=currency, at=AT)
        self.state.accounts[account_id] = account
        self.journals[account_id] = [entry]
        if funds:
            self.must(funding(account_id, funds, currency=currency))
        if status is not AccountStatus.ACTIVE:
            self.must(change_status(account_id, status))
        return account_id

    def post(self, command: Command, at: datetime = AT) -> Decision:
        """Decide the command, hold the decision to the laws, and move on to the state it leaves."""
        before = dict(self.state.accounts), dict(self.state.recorded), dict(self.state.transactions)
        decision = decide(command, self.state, at)
        again = decide(command, self.state, at)
        assert before == (self.state.accounts, self.state.recorded, self.state.transactions), "decide changed its state"
        assert written(again) == written(decision), "decide is no function of its arguments"

        if isinstance(command, Keyed):
            self._check_once(command, decision)
        check_record(command, decision)
        self._check_rights(command, decision)
        self._write_entries(decision)
        self.state.apply(decision)
        if decision.updated is not None:
            # As a later batch reads it from the database.
            self.state.recorded[decision.updated.user, decision.updated.idempotency_key] = decision.updated
        self._check_transactions(decision)
        self._check_accounts()
        return decision

    def must(self, command: Command, at: datetime = AT) -> Decision:
        """Post a command and insist that it takes effect."""
        decision = self.post(command, at)
        assert decision.outcome.error is None, decision.outcome.error
        return decision

    def balance(self, account: ObjectId) -> int:
        return self.journals[account][-1].balance

    def available(self, account: ObjectId) -> int:
        return self.balance(account) - self.journals[account][-1].held

    def _check_once(self, command: Keyed, decision: Decision) -> None:
        """L5: a key takes effect once; a repeat gets the first outcome, another body is refused."""
        key = command.user, command.idempotency_key
        first = self._first.get(key)
        if first is None:
            assert not decision.outcome.replayed
            if record_of(decision) is not None:
                self._first[key] = decision
            return
        assert not written(decision), "a spent key took effect again"
        if record_of(first).fingerprint == command.fingerprint:
            assert decision.outcome.replayed
            assert told(decision.outcome) == told(first.outcome)
        else:
            assert (code_of(decision), decision.outcome.transaction) == ("idempotency_key_reused", None)

    def _check_rights(self, command: Command, decision: Decision) -> None:
        """L8 and L9: money moves between ACTIVE accounts, and out of those of the user only."""
        for entry in entries_of(decision):
            account = self.state.accounts[entry.account]
            if entry.type in (DEBIT, CREDIT, HOLD):
                assert account.status is AccountStatus.ACTIVE
            is_payer = entry.type in (DEBIT, HOLD) and account.kind is AccountKind.CUSTOMER
            if isinstance(command, Transfer | Batch) and is_payer:
                assert account.user == command.user
        if isinstance(command, Capture | Void) and decision.entries and command.act is None:
            assert self.state.accounts[self.state.transactions[command.hold].to_account].user == command.user

    def _write_entries(self, decision: Decision) -> None:
        for entry in entries_of(decision):
            check_succession(self.journals[entry.account][-1], entry)
            self.journals[entry.account].append(entry)
            self._totals[entry.transaction][entry.type] += entry.amount

    def _check_transactions(self, decision: Decision) -> None:
        """L3: what a transaction's status says is what its entries did."""
        for part in decision.flat():
            for transaction in (part.inserted, part.updated):
                if transaction is not None:
                    totals = self._totals[transaction.id]
                    assert [totals[type_] for type_ in (DEBIT, CREDIT, HOLD, RELEASE)] == totals_due(transaction)

    def _check_accounts(self) -> None:
        """L2, L6 and the conservation of money."""
        sums: Counter[str] = Counter()
        held: Counter[ObjectId] = Counter()
        parties: set[ObjectId] = set()
        for transaction in self.state.transactions.values():
            if transaction.status is TransactionStatus.PENDING:
                held[transaction.from_account] += transaction.amount
                parties |= {transaction.from_account, transaction.to_account}
        for account in self.state.accounts.values():
            head = self.journals[account.id][-1]
            assert (account.sequence, account.balance, account.hash) == (head.sequence, head.balance, head.hash)
            assert account.held == head.held == held[account.id]
            assert -BALANCE_MAX <= head.balance <= BALANCE_MAX
            assert account.kind is AccountKind.TREASURY or head.held <= head.balance, "an overdraft"
            assert account.status is not AccountStatus.CLOSED or (head.balance == 0 and account.id not in parties)
            sums[account.currency] += head.balance
        assert not any(sums.values()), "money came from nowhere or went there"


def check_record(command: Command, decision: Decision) -> None:
    """What took effect or was declined is recorded under its key, once; what was refused leaves no trace."""
    outcome, record = decision.outcome, record_of(decision)
    if outcome.replayed or (outcome.error is not None and not isinstance(outcome.error, DECLINES)):
        assert not written(decision)
        assert outcome.replayed or outcome.transaction is None
        return
    if isinstance(command, Keyed):
        assert (record.id, record.user, record.idempotency_key) == (command.id, command.user, command.idempotency_key)
    else:
        assert record is None
    if outcome.error is not None:
        assert record.failure.code == outcome.error.code
        assert decision.inserted is outcome.transaction
        assert written(decision) == [record]
        assert decision.inserted is None or decision.inserted.status is TransactionStatus.FAILED
    elif isinstance(command, Batch):
        assert outcome.results == tuple(part.outcome for part in decision.parts)
        for item, part in zip(command.items, decision.parts, strict=True):
            assert part.outcome.error is None or not command.atomic
            check_record(item, part)
    else:
        expected = outcome.transaction.id if outcome.transaction else None
        assert {entry.transaction for entry in decision.entries} == {expected}


def check_succession(newest: Entry, entry: Entry) -> None:
    """L4: an entry follows from the one before it in its account's journal."""
    assert (entry.sequence, entry.previous_hash) == (newest.sequence + 1, newest.hash)
    assert entry.hash == entry.computed_hash()
    assert entry.created_at >= newest.created_at, "time ran backwards"
    assert entry.balance - newest.balance == {CREDIT: entry.amount, DEBIT: -entry.amount}.get(entry.type, 0)
    assert entry.held - newest.held == {HOLD: entry.amount, RELEASE: -entry.amount}.get(entry.type, 0)


def totals_due(transaction: Transaction) -> list[int]:
    """Return what a transaction's debits, credits, holds and releases must come to."""
    held = transaction.held_amount or 0
    match transaction.status:
        case TransactionStatus.COMPLETED | TransactionStatus.REVERSED:
            return [transaction.amount, transaction.amount, held, held]
        case TransactionStatus.PENDING:
            return [0, 0, held, 0]
        case TransactionStatus.VOIDED:
            return [0, 0, held, held]
        case TransactionStatus.FAILED:
            return [0, 0, 0, 0]


def record_of(decision: Decision) -> Any:
    """Return what the decision records under the command's key."""
    return decision.inserted or decision.key_use


def entries_of(decision: Decision) -> list[Entry]:
    return [entry for part in decision.flat() for entry in part.entries]


def written(decision: Decision) -> list[Any]:
    """Return all that is to be written for a decision."""
    return [
        document
        for part in decision.flat()
        for document in (*part.entries, *part.accounts, part.inserted, part.updated, part.key_use, part.change)
        if document is not None
    ]


def code_of(decision: Decision) -> str | None:
    return None if decision.outcome.error is None else decision.outcome.error.code


def told(outcome: Outcome) -> tuple[Any, ...]:
    """Return all that a client is told of an outcome, except that it is a repeat."""
    error = outcome.error
    problem = None if error is None else (error.code, error.status, error.detail, error.members)
    return outcome.transaction, problem, [told(result) for result in outcome.results]


def refusal(decision: Decision) -> DomainError:
    assert decision.outcome.error is not None
    return decision.outcome.error
