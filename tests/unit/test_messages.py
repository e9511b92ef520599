"""Who gets which message about a decision, and what a message never contains."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.acts import Act
from app.ledger import chain, journal
from app.ledger.commands import Capture, ChangeStatus, Command, Expire, Hold, Reversal, Transfer, Void
from app.ledger.records import Account, AccountKind, AccountStatus, Entry, Identity, TransactionKind
from app.ledger.state import State
from app.outbox.messages import OF_ACCOUNTS, MessageKind, OutboxMessage, about_account, about_transaction, news_of

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
BANKER = ObjectId()


class Ledger:
    """The rules without a database: posts a command and returns who would be told what."""

    def __init__(self) -> None:
        self.payer = self._account(ObjectId(), 1_000)
        self.payee = self._account(ObjectId(), 70_000)
        self.treasury = self._account(None, 0)
        self.state = State([self.payer, self.payee, self.treasury], [])
        self.entries: list[Entry] = []

    def post(self, command: Command, at: datetime = NOW) -> list[OutboxMessage]:
        decision = journal.decide(command, self.state, at)
        self.state.apply(decision)
        self.transaction = decision.outcome.transaction
        self.entries += decision.entries
        parties = {
            account.id: Identity(account.user, account.kind, account.currency)
            for account in (self.payer, self.payee, self.treasury)
        }
        messages = []
        for news in news_of([decision]):
            if news.event in OF_ACCOUNTS:
                messages += about_account(news, parties[news.subject])
                continue
            entries = [entry for entry in self.entries if entry.transaction == news.subject]
            messages += about_transaction(news, self.state.transactions[news.subject], entries, parties)
        return messages

    def transfer(self, amount: int = 300, **changes: Any) -> Transfer:
        return replace(
            Transfer(
                **keyed(self.payer.user),
                kind=TransactionKind.TRANSFER,
                from_account=self.payer.id,
                to_account=self.payee.id,
                amount=amount,
                description="Rent",
            ),
            **changes,
        )

    def hold(self, amount: int = 300) -> Hold:
        return Hold(
            **keyed(self.payer.user),
            from_account=self.payer.id,
            to_account=self.payee.id,
            amount=amount,
            lifetime=timedelta(days=7),
        )

    def _account(self, user: ObjectId | None, balance: int) -> Account:
        kind = AccountKind.CUSTOMER if user else AccountKind.TREASURY
        account, _ = chain.open_journal(ObjectId(), kind=kind, user=user, currency="INR", at=NOW)
        return replace(account, balance=balance)


def keyed(user: ObjectId | None) -> dict[str, Any]:
    names = {"id": ObjectId(), "user": user, "idempotency_key": str(ObjectId())}
    return {**names, "fingerprint": {"amount": "x"}, "salt": bytes(16)}


def told(messages: list[OutboxMessage]) -> list[tuple[str, ObjectId]]:
    return [(message.kind, message.user) for message in messages]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_a_transfer_tells_both_parties_their_own_balance_and_nothing_of_the_others(ledger: Ledger) -> None:
    sent, received = ledger.post(ledger.transfer())

    assert told([sent, received]) == [
        (MessageKind.MONEY_SENT, ledger.payer.user),
        (MessageKind.MONEY_RECEIVED, ledger.payee.user),
    ]
    assert (sent.payload["balance"], sent.payload["account"]) == (700, ledger.payer.id)
    assert (received.payload["balance"], received.payload["account"]) == (70_300, ledger.payee.id)
    assert 70_300 not in sent.payload.values()
    assert 700 not in received.payload.values()
    assert ledger.payer.user not in received.payload.values()


def test_a_replay_tells_nobody(ledger: Ledger) -> None:
    command = ledger.transfer()
    ledger.post(command)

    assert ledger.post(command) == []


def test_a_refusal_without_a_record_tells_nobody(ledger: Ledger) -> None:
    assert ledger.post(ledger.transfer(to_account=ObjectId())) == []


def test_a_decline_tells_the_payer_alone_and_why(ledger: Ledger) -> None:
    (declined,) = ledger.post(ledger.transfer(amount=5_000))

    assert told([declined]) == [(MessageKind.TRANSFER_DECLINED, ledger.payer.user)]
    assert declined.payload["failure"]["code"] == "insufficient_funds"
    assert "balance" not in declined.payload


def test_initial_funds_tell_the_payee_alone(ledger: Ledger) -> None:
    command = ledger.transfer(
        user=BANKER, kind=TransactionKind.FUNDING, from_account=ledger.treasury.id, to_account=ledger.payer.id
    )
    (received,) = ledger.post(command)

    assert told([received]) == [(MessageKind.MONEY_RECEIVED, ledger.payer.user)]
    assert "counterparty" not in received.payload


def test_a_reversal_tells_both_parties_of_the_reversal_once(ledger: Ledger) -> None:
    ledger.post(ledger.transfer())
    assert ledger.transaction is not None
    original = ledger.transaction.id

    messages = ledger.post(Reversal(**keyed(BANKER), original=original, act=Act(BANKER, "Fraud")))

    assert told(messages) == [
        (MessageKind.MONEY_SENT, ledger.payee.user),
        (MessageKind.MONEY_RECEIVED, ledger.payer.user),
    ]
    assert {message.payload["reverses"] for message in messages} == {original}
    assert {message.payload["transaction_kind"] for message in messages} == {"REVERSAL"}


def test_a_hold_tells_both_parties_of_every_step(ledger: Ledger) -> None:
    steps: dict[MessageKind, Callable[[ObjectId], Command]] = {
        MessageKind.HOLD_CAPTURED: lambda hold: Capture(**keyed(ledger.payee.user), hold=hold, amount=100),
        MessageKind.HOLD_VOIDED: lambda hold: Void(**keyed(ledger.payee.user), hold=hold),
        MessageKind.HOLD_EXPIRED: lambda hold: Expire(hold=hold),
    }
    for kind, step in steps.items():
        placed = ledger.post(ledger.hold())
        assert ledger.transaction is not None
        at = NOW + timedelta(days=8) if kind is MessageKind.HOLD_EXPIRED else NOW
        settled = ledger.post(step(ledger.transaction.id), at)

        parties = [ledger.payer.user, ledger.payee.user]
        assert told(placed) == [(MessageKind.HOLD_PLACED, user) for user in parties]
        assert told(settled) == [(kind, user) for user in parties]
        assert [message.payload["is_payer"] for message in settled] == [True, False]


def test_the_payee_of_a_hold_learns_no_balance_of_the_payer(ledger: Ledger) -> None:
    of_payer, of_payee = ledger.post(ledger.hold())

    assert (of_payer.payload["balance"], of_payer.payload["available"]) == (1_000, 700)
    assert not {"balance", "available"} & of_payee.payload.keys()


def test_a_status_change_tells_the_owner(ledger: Ledger) -> None:
    steps = [
        (AccountStatus.FROZEN, MessageKind.ACCOUNT_FROZEN),
        (AccountStatus.ACTIVE, MessageKind.ACCOUNT_UNFROZEN),
    ]
    for status, kind in steps:
        messages = ledger.post(ChangeStatus(account=ledger.payer.id, status=status, act=Act(BANKER, "Because")))
        assert told(messages) == [(kind, ledger.payer.user)]


def test_a_close_tells_the_owner(ledger: Ledger) -> None:
    ledger.post(ledger.transfer(1_000))
    command = ChangeStatus(account=ledger.payer.id, status=AccountStatus.CLOSED, act=Act("x"), owner=ledger.payer.user)

    assert told(ledger.post(command)) == [(MessageKind.ACCOUNT_CLOSED, ledger.payer.user)]
