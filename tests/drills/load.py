"""Clients that keep a bank busy and keep their own record of what they asked for and what they were told."""

import itertools
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from bson import ObjectId

from app.mongo import Document
from local.processes import holds_within
from tests.clients import Answer
from tests.drills.house import House
from tests.faults.traffic import CONNECTION_ERRORS
from tests.people import Bank, Person

CLIENTS = 16
CUSTOMERS = 8
FUNDS = 1_000_000
ITEMS = 3
HOLD_SECONDS = 600
THINK_S = 0.2
RETRY_S = 0.25
KINDS = {"transfer", "hold", "capture", "batch", "open", "decline"}
# The share of first answers that are lost on their way, so that the client has to repeat the request.
LOST_ANSWERS = 0.03
SETTLE_TIMEOUT_S = 60.0
WARM_UP_TIMEOUT_S = 60.0

# After these a client repeats the request.
PASSING = frozenset({503})

_numbers = itertools.count(1)


@dataclass
class Wish:
    """One thing that a client wants done, once, and every answer that it got."""

    kind: str
    person: Person
    path: str
    body: dict[str, Any]
    number: int = field(default_factory=lambda: next(_numbers))
    key: str = ""
    outcome: Answer | None = None
    passing: frozenset[int] = PASSING
    # How many answers did not come or were a 503.
    unknown: int = 0
    reasons: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.key or f"wish-{self.number}"

    @property
    def is_acknowledged(self) -> bool:
        return self.outcome is not None

    @property
    def is_done(self) -> bool:
        return self.outcome is not None and self.outcome.status in (200, 201)

    def send(self, key: str | None = None) -> Answer | None:
        try:
            return self.person.post(self.path, {**self.body, "idempotencyKey": key or self.key})
        except CONNECTION_ERRORS:
            return None

    def try_once(self, key: str | None = None, *, hears: bool = True) -> bool:
        """Ask, and remember the outcome; return whether it is known now. Who does not hear an answer knows nothing."""
        answer = self.send(key)
        if not hears:
            return False
        if answer is None or answer.status in self.passing:
            self.unknown += 1
            self.reasons.add("no answer" if answer is None else f"{answer.status} {answer.code}")
            if answer is not None and answer.status == 503 and int(answer.headers.get("retry-after", 0)) <= 0:
                self.failures.append(f"{self.key}: a 503 that does not tell when to come back")
            return False
        if answer.status not in (200, 201, 422):
            self.failures.append(f"{self.key}: {answer.status} {answer.content[:300]!r}")
            return True
        if self.is_done and answer.headers.get("idempotency-replayed") != "true":
            self.failures.append(f"{self.key}: done once more instead of repeated")
        if self.outcome is not None and _told(self.outcome) != _told(answer):
            self.failures.append(f"{self.key}: first {self.outcome.content[:300]!r}, then {answer.content[:300]!r}")
        self.outcome = answer
        return True


def _told(answer: Answer) -> Any:
    """Return what must be the same in each answer to one wish."""
    body = dict(answer.body)
    body.pop("requestId", None)
    return body


def events_of(person: Person) -> list[Document]:
    """Return all events that a person can read, oldest first."""
    found: list[Document] = []
    path, place = "/api/events?limit=200", None
    while True:
        answer = person.get(path if place is None else f"{path}&after={place}")
        assert answer.status == 200, answer.content
        found += answer.body["events"]
        if answer.body["nextAfter"] == place:
            return found
        place = answer.body["nextAfter"]


class Load:
    """Clients, from the start to the end of a `with` block. `settle` then asks again for what is unknown."""

    def __init__(
        self, house: House, *, clients: int = CLIENTS, think_s: float = THINK_S, keeps_keys: bool = True
    ) -> None:
        self.clients = clients
        self.bank = Bank(house.calm)
        self.wishes: list[Wish] = []
        # When each outcome became known.
        self.acknowledged_at: list[float] = []
        # After these answers a client repeats the request.
        self.passing = PASSING
        self._keeps_keys = keeps_keys
        # How long a client rests, on average, between two of its wishes.
        self.think_s = think_s
        self._settled = 0
        self._lost = random.Random(clients)
        self._customers = [self._customer() for _ in range(CUSTOMERS)]
        for person, _ in self._customers:
            person.client = house.client
        self._over = threading.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []

    def __enter__(self) -> "Load":
        self._over.clear()
        self._threads = ThreadPoolExecutor(self.clients)
        self._running = [self._threads.submit(self._run, random.Random(n)) for n in range(self.clients)]
        before = len(self.acknowledged_at)
        warm = holds_within(WARM_UP_TIMEOUT_S, lambda: len(self.acknowledged_at) > before + 2 * self.clients)
        if not warm:
            self._over.set()
        assert warm, "The bank was not in service when the round began."
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._threads is not None
        self._threads.shutdown()
        for client in self._running:
            client.result()

    def events(self) -> dict[ObjectId, list[Document]]:
        """Return what each customer can read of their events, by the customers' ids."""
        return {ObjectId(person.user["id"]): events_of(person) for person, _ in self._customers}

    def sees_every_kind(self) -> bool:
        """Return whether, within a minute from now, something of each kind has been asked for and acknowledged."""
        asked_before = len(self.wishes)

        def has_seen() -> bool:
            return {wish.kind for wish in self.wishes[asked_before:] if wish.is_acknowledged} >= KINDS

        return holds_within(SETTLE_TIMEOUT_S, has_seen)

    @property
    def unknown(self) -> int:
        """How many answers did not come, or told to come back."""
        return sum(wish.unknown for wish in self.wishes)

    @property
    def reasons(self) -> set[str]:
        """Why outcomes were not known at once."""
        return {reason for wish in self.wishes for reason in wish.reasons}

    def settle(self) -> None:
        """Ask again for everything, under its key: what was told once must be told again, and the rest be settled."""
        recent = self.wishes[self._settled :]
        self._settled = len(self.wishes)
        with ThreadPoolExecutor(self.clients) as threads:
            for _ in threads.map(self._settle, [wish for wish in recent if not wish.failures]):
                pass

    def longest_pause_s(self, since: float, until: float) -> float:
        """Return the longest time without any outcome after `since`."""
        moments = sorted([since, until, *(at for at in self.acknowledged_at if since < at < until)])
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def _customer(self) -> tuple[Person, str]:
        person = self.bank.register()
        account = person.open_account()
        funding = {"toAccount": account, "amount": FUNDS}
        # A bank that is broken on purpose may need a moment until it sees the account.
        wish = Wish("funding", self.bank.system, "/api/transactions/initial-funds", funding)
        wish.passing = PASSING | {404}
        assert holds_within(SETTLE_TIMEOUT_S, wish.try_once), wish.failures
        assert wish.is_done
        return person, account

    def _settle(self, wish: Wish) -> None:
        def try_and_rest() -> bool:
            if wish.try_once():
                return True
            time.sleep(RETRY_S)
            return False

        if not holds_within(SETTLE_TIMEOUT_S, try_and_rest):
            wish.failures.append(f"{wish.key}: not settled after {SETTLE_TIMEOUT_S:.0f} s")

    def _run(self, chance: random.Random) -> None:
        while not self._over.is_set():
            self._over.wait(chance.random() * 2 * self.think_s)
            match chance.choices(["transfer", "hold", "batch", "open", "decline"], [60, 20, 8, 6, 6])[0]:
                case "hold":
                    self._hold_and_capture(chance)
                case "open":
                    person, _ = chance.choice(self._customers)
                    self._ask(Wish("open", person, "/api/accounts/create", {"currency": "INR"}), twice=True)
                case "batch":
                    self._batch(chance)
                case "decline":
                    self._ask(self._transfer(chance, "decline", amount=FUNDS * CUSTOMERS), twice=True)
                case _:
                    self._ask(self._transfer(chance, "transfer", amount=chance.randint(1, 9)))

    def _hold_and_capture(self, chance: random.Random) -> None:
        (payer, from_account), (payee, to_account) = chance.sample(self._customers, 2)
        asked = {"fromAccount": from_account, "toAccount": to_account, "amount": 9, "expiresIn": HOLD_SECONDS}
        hold = self._described(Wish("hold", payer, "/api/transactions/hold", asked))
        self._ask(hold)
        if hold.is_done:
            assert hold.outcome is not None
            id_ = hold.outcome.body["transaction"]["id"]
            self._ask(Wish("capture", payee, f"/api/transactions/{id_}/capture", {"amount": chance.randint(1, 9)}))

    def _batch(self, chance: random.Random) -> None:
        items = [self._transfer(chance, "item", amount=1) for _ in range(ITEMS)]
        person, account = chance.choice(self._customers)
        wish = Wish("batch", person, "/api/transactions/batch", {})
        others = [to_account for _, to_account in self._customers if to_account != account]
        transfers = [
            {"fromAccount": account, "toAccount": chance.choice(others), "amount": 1, "description": f"{wish.key} {n}"}
            for n in range(len(items))
        ]
        wish.body = {"transfers": transfers, "atomic": chance.random() < 0.5}
        self._ask(wish)

    def _transfer(self, chance: random.Random, kind: str, *, amount: int) -> Wish:
        (payer, from_account), (_, to_account) = chance.sample(self._customers, 2)
        asked = {"fromAccount": from_account, "toAccount": to_account, "amount": amount}
        return self._described(Wish(kind, payer, "/api/transactions/create", asked))

    @staticmethod
    def _described(wish: Wish) -> Wish:
        wish.body["description"] = wish.key
        return wish

    def _ask(self, wish: Wish, *, twice: bool = False) -> None:
        """Ask until the outcome is known or the load ends, sometimes at the same time from two places."""
        if wish.kind == "open":
            wish.body["name"] = wish.key
        wish.passing = self.passing
        self.wishes.append(wish)
        shadow = replace(wish, failures=[])
        double = threading.Thread(target=shadow.try_once) if twice else None
        if double is not None:
            double.start()
        tries = itertools.count()
        hears = self._lost.random() >= LOST_ANSWERS
        while not wish.try_once(None if self._keeps_keys else f"{wish.key} try {next(tries)}", hears=hears):
            hears = True
            if self._over.wait(RETRY_S):
                break
        else:
            self.acknowledged_at.append(time.monotonic())
        if double is not None:
            double.join()
            wish.failures += shadow.failures
