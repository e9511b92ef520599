"""What the simulated clients ask for, in plain values that the ledger and the judge can both read."""

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.acts import Act
from app.ledger.commands import Batch, Capture, ChangeStatus, Command, Hold, Reversal, Transfer, Void
from app.ledger.fingerprints import fingerprint
from app.ledger.records import AccountStatus, TransactionKind, item_key, treasury_id

STAFF = ObjectId("c" * 24)
# Nobody guesses here, so the salt need not be random.
SALT = b"s" * 16
STAFF_ROLES = frozenset({"SYSTEM"})
ITEMS_MAX = 5
AMOUNT_MAX = 60
HOLD_SECONDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a client wants done, once. All its deliveries have the same `number` and `key`."""

    number: int
    call: str
    user: ObjectId
    key: str
    payer: ObjectId | None = None
    payee: ObjectId | None = None
    amount: int | None = None
    subject: ObjectId | None = None
    seconds: int = 0
    items: tuple[tuple[ObjectId, ObjectId, int], ...] = ()
    is_atomic: bool = False
    status: str = ""
    currency: str = ""

    @property
    def text(self) -> str:
        """The description by which the judge knows what came of this request, whatever its key."""
        return f"request {self.number}"


def command_of(request: Request) -> Command:
    """Return the ledger's command for one delivery of a request, as a service makes it."""
    act = Act(STAFF, "because", roles=STAFF_ROLES)
    if request.call == "status":
        assert request.subject is not None
        owner = request.user if request.user != STAFF else None
        by = replace(act, actor=request.user, roles=frozenset()) if owner else act
        return ChangeStatus(account=request.subject, status=AccountStatus(request.status), act=by, owner=owner)
    keyed: dict[str, Any] = {
        "id": ObjectId(),
        "user": request.user,
        "idempotency_key": request.key,
        "fingerprint": fingerprint(request.call, _said(request)),
        "salt": SALT,
    }
    moved: dict[str, Any] = {"from_account": request.payer, "to_account": request.payee, "amount": request.amount}
    text: dict[str, Any] = {"description": request.text}
    for_bank = act if request.user == STAFF else None
    match request.call:
        case "transfer":
            return Transfer(**keyed, **moved, **text, kind=TransactionKind.TRANSFER)
        case "funding":
            return Transfer(**keyed, **moved, **text, kind=TransactionKind.FUNDING, act=act)
        case "hold":
            return Hold(**keyed, **moved, **text, lifetime=timedelta(seconds=request.seconds))
        case "capture":
            assert request.subject is not None
            return Capture(**keyed, hold=request.subject, amount=request.amount, act=for_bank)
        case "void":
            assert request.subject is not None
            return Void(**keyed, hold=request.subject, act=for_bank)
        case "reverse":
            assert request.subject is not None
            return Reversal(**keyed, original=request.subject, act=act)
        case _:
            return Batch(**keyed, items=_items(request), atomic=request.is_atomic)


def _said(request: Request) -> dict[str, Any]:
    return {
        "from_account": request.payer,
        "to_account": request.payee,
        "amount": request.amount,
        "id": request.subject,
        "expires_in": request.seconds or None,
        "transfers": [list(map(str, item)) for item in request.items] or None,
        "atomic": request.is_atomic or None,
    }


def _items(request: Request) -> tuple[Transfer, ...]:
    return tuple(
        Transfer(
            id=ObjectId(),
            user=request.user,
            idempotency_key=item_key(request.key, index),
            fingerprint={},
            salt=SALT,
            kind=TransactionKind.TRANSFER,
            from_account=payer,
            to_account=payee,
            amount=amount,
            description=f"{request.text} item {index}",
        )
        for index, (payer, payee, amount) in enumerate(request.items)
    )


class Wishes:
    """Makes requests by chance, about the accounts and holds that clients have heard of."""

    def __init__(self, chance: random.Random, users: list[ObjectId], currencies: list[str]) -> None:
        self._chance = chance
        self._users = users
        self._currencies = currencies
        self._made = 0
        # What clients know: (account, owner, currency), (hold, payer, payee), and other transactions.
        self.accounts: list[tuple[ObjectId, ObjectId, str]] = []
        self.holds: list[tuple[ObjectId, ObjectId, ObjectId]] = []
        self.moved: list[ObjectId] = []
        self._frozen: list[ObjectId] = []
        self._calls = ["transfer"] * 10 + ["hold"] * 4 + ["capture"] * 4 + ["batch"] * 2
        self._calls += ["void", "reverse", "reverse", "status", "open", "funding", "funding"]
        self._favourites = chance.sample(self._calls, 6)

    def opening(self, user: ObjectId) -> Request:
        return self._request("open", user, currency=self._chance.choice(self._currencies))

    def funding(self, account: ObjectId, currency: str) -> Request:
        amount = self._chance.randint(1, 10 * AMOUNT_MAX)
        return self._request("funding", STAFF, payer=treasury_id(currency), payee=account, amount=amount)

    def next(self) -> Request:
        call = self._chance.choice(self._favourites if self._chance.random() < 0.5 else self._calls)
        payer, owner, currency = self._chance.choice(self.accounts)
        if self._frozen and self._chance.random() < 0.2:
            return self._status(self._frozen[0], owner)
        if call == "open" and len(self.accounts) < 3 * len(self._users):
            return self.opening(owner)
        if call == "funding":
            return self.funding(payer, currency)
        if call == "status":
            return self._status(payer, owner)
        if call in ("capture", "void") and self.holds:
            return self._settlement(call)
        if call == "reverse" and self.moved:
            return self._request("reverse", STAFF, subject=self._chance.choice(self.moved[-20:]))
        if call == "batch":
            items = tuple(
                (payer, self._chance.choice(self.accounts)[0], self._amount())
                for _ in range(self._chance.randint(1, ITEMS_MAX))
            )
            return self._request("batch", owner, items=items, is_atomic=self._chance.random() < 0.5)
        payee, amount = self._chance.choice(self.accounts)[0], self._amount()
        if call == "hold":
            seconds = self._chance.randint(1, HOLD_SECONDS_MAX)
            return self._request("hold", owner, payer=payer, payee=payee, amount=amount, seconds=seconds)
        return self._request("transfer", owner, payer=payer, payee=payee, amount=amount)

    def _status(self, account: ObjectId, owner: ObjectId) -> Request:
        status = "ACTIVE" if account in self._frozen else self._chance.choice(["FROZEN", "CLOSED"])
        if status == "FROZEN":
            self._frozen.append(account)
        elif status == "ACTIVE":
            self._frozen.remove(account)
        user = owner if status == "CLOSED" and self._chance.random() < 0.5 else STAFF
        return self._request("status", user, subject=account, status=status)

    def _settlement(self, call: str) -> Request:
        hold, _, payee = self._chance.choice(self.holds[-10:])
        owners = {account: owner for account, owner, _ in self.accounts}
        user = STAFF if self._chance.random() < 0.2 else owners[payee]
        amount = self._amount() if call == "capture" and self._chance.random() < 0.5 else None
        return self._request(call, user, subject=hold, amount=amount)

    def _amount(self) -> int:
        return self._chance.randint(1, AMOUNT_MAX)

    def _request(self, call: str, user: ObjectId, **more: Any) -> Request:
        self._made += 1
        return Request(self._made, call, user, f"key {self._made}", **more)
