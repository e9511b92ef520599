"""Any sequence of commands keeps the laws of money. `Books` checks them at every step."""

import struct
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Protocol, get_args

from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ledger.chain import BALANCE_MAX
from app.ledger.commands import Command, Expire, Keyed
from app.ledger.records import AccountStatus, TransactionKind, TransactionStatus
from tests.commands import STAFF, batch, capture, change_status, hold, repeated, reversal, transfer, void
from tests.unit.books import ASHA, AT, BINA, Books, code_of

EXAMPLES_MAX = 80
STEPS_MIN, STEPS_MAX = 12, 24
STEP_BYTES = 2
HOLD_MINUTES = 4
HUGE = BALANCE_MAX - 60


class Scene:
    """Books with accounts of all sorts, and what was asked of them so far."""

    def __init__(self) -> None:
        self.books = Books()
        self.accounts = {
            "treasury": self.books.open(None, "INR"),
            "usd treasury": self.books.open(None, "USD"),
            "asha's": self.books.open(ASHA, funds=100),
            "asha's other": self.books.open(ASHA),
            "asha's usd": self.books.open(ASHA, "USD", funds=BALANCE_MAX - 50),
            "bina's": self.books.open(BINA, funds=60),
            "bina's usd": self.books.open(BINA, "USD", funds=20),
            "frozen": self.books.open(BINA, funds=50, status=AccountStatus.FROZEN),
            "nobody's": ObjectId(),
        }
        asha, bina = self.accounts["asha's"], self.accounts["bina's"]
        self.commands: list[Command] = [transfer(ASHA, asha, bina, 1), hold(ASHA, asha, bina, 2, minutes=HOLD_MINUTES)]
        for command in self.commands:
            self.books.must(command)

    def recent(self, age: int, status: TransactionStatus) -> ObjectId:
        """Return the id of a transaction, the newest for age 1, in this status if there is any."""
        transactions = list(self.books.state.transactions.values())
        chosen = [transaction for transaction in transactions if transaction.status is status] or transactions
        return chosen[-min(age, len(chosen))].id


class Step(Protocol):
    """Makes the next command of a scene. Another kind of command is one more class and one more menu below."""

    def command(self, scene: Scene) -> Command: ...


@dataclass(frozen=True)
class Payment:
    kind: TransactionKind
    user: ObjectId
    payer: str
    payee: str
    amount: int

    def command(self, scene: Scene) -> Command:
        payer, payee = scene.accounts[self.payer], scene.accounts[self.payee]
        if self.kind is TransactionKind.HOLD:
            return hold(self.user, payer, payee, self.amount, minutes=HOLD_MINUTES)
        return transfer(self.user, payer, payee, self.amount, kind=self.kind)


@dataclass(frozen=True)
class Bundle:
    payments: tuple[Payment, ...]
    atomic: bool

    def command(self, scene: Scene) -> Command:
        items = [
            transfer(ASHA, scene.accounts[payment.payer], scene.accounts[payment.payee], payment.amount)
            for payment in self.payments
        ]
        return batch(ASHA, items, atomic=self.atomic)


@dataclass(frozen=True)
class Settlement:
    act: str
    user: ObjectId
    age: int
    amount: int | None

    def command(self, scene: Scene) -> Command:
        of = scene.recent(self.age, TransactionStatus.PENDING)
        match self.act:
            case "capture":
                return capture(self.user, of, self.amount, is_system=self.user == STAFF)
            case "void":
                return void(self.user, of, is_system=self.user == STAFF)
            case _:
                return Expire(hold=of)


@dataclass(frozen=True)
class Undoing:
    age: int
    status: TransactionStatus

    def command(self, scene: Scene) -> Command:
        return reversal(scene.recent(self.age, self.status))


@dataclass(frozen=True)
class Decree:
    account: str
    status: AccountStatus
    owner: ObjectId | None

    def command(self, scene: Scene) -> Command:
        return change_status(scene.accounts[self.account], self.status, owner=self.owner)


@dataclass(frozen=True)
class Repeat:
    """An earlier command again, as itself or with another body under its key."""

    age: int
    changed: bool

    def command(self, scene: Scene) -> Command:
        again = repeated(scene.commands[-min(self.age, len(scene.commands))])
        return replace(again, fingerprint={"amount": "another"}) if self.changed and isinstance(again, Keyed) else again


OWN = [(ASHA, "asha's"), (ASHA, "asha's other"), (BINA, "bina's")]
NOT_TO_BE_SPENT = [(BINA, "frozen"), (ASHA, "treasury"), (ASHA, "bina's"), (ASHA, "nobody's"), (BINA, "bina's usd")]
NAMES = ["asha's", "asha's other", "bina's", "bina's usd", "frozen", "treasury", "nobody's"]
FUNDING, HOLD, TRANSFER = TransactionKind.FUNDING, TransactionKind.HOLD, TransactionKind.TRANSFER
COMPLETED, PENDING, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.PENDING, TransactionStatus.REVERSED

ROUND_TRIP = [Payment(TRANSFER, ASHA, payer, payee, 40) for payer, payee in (NAMES[:2], NAMES[1::-1])]

MENUS: list[list[Step]] = [
    [Payment(TRANSFER, *own, payee, amount) for own, payee, amount in product(OWN, NAMES[:3], [1, 40])],
    [Payment(HOLD, *own, payee, amount) for own, payee, amount in product(OWN, NAMES[:3], [1, 40])],
    [Payment(kind, *foreign, payee, 1) for kind, foreign, payee in product([TRANSFER, HOLD], NOT_TO_BE_SPENT, NAMES)],
    [Payment(*step) for step in product([TRANSFER, HOLD], [ASHA], ["asha's"], NAMES[1:], [1, 200])],
    [Payment(FUNDING, STAFF, *step) for step in product(["treasury", "bina's"], NAMES[:3], [1, 40, HUGE])],
    [Payment(FUNDING, STAFF, *step) for step in product(["usd treasury"], ["asha's usd", "bina's usd"], [1, HUGE])],
    [
        Bundle((*ROUND_TRIP, Payment(TRANSFER, ASHA, payer, payee, amount)), atomic)
        for payer, payee, amount, atomic in product(["asha's", "bina's"], NAMES[1:4], [1, 200], [True, False])
    ],
    [Settlement("capture", *step) for step in product([ASHA, BINA, STAFF, STAFF], [1, 1, 2], [None, 1, 40])],
    [Settlement("void", user, age, None) for user, age in product([ASHA, BINA, STAFF], [1, 2])],
    [Settlement("expire", STAFF, age, None) for age in (1, 2)],
    [Undoing(*step) for step in product([1, 2, 3], [COMPLETED, COMPLETED, PENDING, REVERSED])],
    [Decree(*step) for step in product(NAMES, AccountStatus, [None, None, ASHA])],
    [Repeat(*step) for step in product([1, 2, 3, 4], [False, False, True])],
]
MOMENTS = [AT + timedelta(minutes=minutes) for minutes in (0, 1, -1, HOLD_MINUTES, HOLD_MINUTES + 1)]


def read(script: bytes) -> list[tuple[Step, datetime]]:
    """Return the steps that a script stands for, two bytes each.

    Drawn one by one they would come to be much the same: hypothesis likes to repeat what it drew.
    """
    sequence: list[tuple[Step, datetime]] = []
    for (number,) in struct.iter_unpack(">H", script):
        number, menu = divmod(number, len(MENUS))
        number, moment = divmod(number, len(MOMENTS))
        sequence.append((MENUS[menu][number % len(MENUS[menu])], MOMENTS[moment]))
    return sequence


scripts = st.binary(min_size=STEP_BYTES * STEPS_MIN, max_size=STEP_BYTES * STEPS_MAX).map(
    lambda script: read(script[: len(script) // STEP_BYTES * STEP_BYTES])
)


def test_any_sequence_of_commands_keeps_the_laws() -> None:
    took_effect: set[type[Command]] = set()
    refused_with: set[str | None] = set()
    replays = 0

    @settings(max_examples=EXAMPLES_MAX, derandomize=True, database=None, deadline=None)
    @given(scripts)
    def keeps_the_laws(sequence: list[tuple[Step, datetime]]) -> None:
        nonlocal replays
        scene = Scene()
        for step, at in sequence:
            command = step.command(scene)
            scene.commands.append(command)
            decision = scene.books.post(command, at)
            replays += decision.outcome.replayed
            refused_with.add(code_of(decision))
            if decision.outcome.error is None and not decision.outcome.replayed:
                took_effect.add(type(command))

    keeps_the_laws()

    # The sequences say something only if everything happens in them.
    assert took_effect == set(get_args(Command))
    assert replays > 0
    assert refused_with >= {
        "account_not_active",
        "account_not_empty",
        "account_not_found",
        "balance_limit_exceeded",
        "currency_mismatch",
        "forbidden",
        "hold_not_pending",
        "idempotency_key_reused",
        "insufficient_funds",
        "invalid_status_transition",
        "not_reversible",
        "same_account",
        "transaction_not_found",
    }
