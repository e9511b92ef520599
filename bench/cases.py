"""What is asked of a server in each case: for each connection a token, and requests to send one after another."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.extent import extent
from bench.load import Streams
from tests.people import Bank, Person

CONNECTIONS = extent(64, brief=4)
POOL = 16
ACCOUNTS_EACH = 4
FUNDS = 1_000_000_000
BODIES_EACH = 200
BATCH_SIZE = extent(500, brief=20)
# With its first funds, an account has one more transaction than a page holds.
PAYMENTS_A_PAGE = extent(25, brief=1)

Customer = tuple[Person, list[str]]


def open_accounts(bank: Bank, count: int = CONNECTIONS) -> list[Customer]:
    """Return that many users, each with some accounts that never run dry."""

    def customer(_: int) -> Customer:
        person = bank.register()
        accounts = [person.open_account() for _ in range(ACCOUNTS_EACH)]
        for account in accounts:
            bank.fund(account, FUNDS)
        return person, accounts

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(customer, range(count)))


def spread(customers: list[Customer]) -> Streams:
    """Each connection is a user of its own who pays from all accounts to anybody's."""
    payees = [account for _, accounts in customers for account in accounts]
    return [_paying(person, accounts, payees) for person, accounts in customers]


def hot(customers: list[Customer]) -> Streams:
    """All connections pay from one account."""
    payees = [account for _, accounts in customers[1:] for account in accounts]
    person, accounts = customers[0]
    return [_paying(person, accounts[:1], payees) for _ in customers]


def _paying(person: Person, payers: list[str], payees: list[str]) -> dict[str, Any]:
    chance = random.Random(person.id)
    requests = []
    for _ in range(BODIES_EACH):
        body = {**_movement(chance, payers, payees), "idempotencyKey": "KEY"}
        requests.append(["POST", "/api/transactions/create", json.dumps(body)])
    return {"token": person.token, "requests": requests}


def _movement(chance: random.Random, payers: list[str], payees: list[str]) -> dict[str, Any]:
    payer = chance.choice(payers)
    return {
        "fromAccount": payer,
        "toAccount": chance.choice([payee for payee in payees if payee != payer]),
        "amount": 1,
    }


def batches(connections: int) -> Callable[[list[Customer]], Streams]:
    """Some connections each send batches of 500."""

    def streams(customers: list[Customer]) -> Streams:
        payees = [account for _, accounts in customers for account in accounts]
        return [_batching(person, accounts, payees) for person, accounts in customers[:connections]]

    return streams


def _batching(person: Person, payers: list[str], payees: list[str]) -> dict[str, Any]:
    chance = random.Random(person.id)
    items = [_movement(chance, payers, payees) for _ in range(BATCH_SIZE)]
    body = json.dumps({"idempotencyKey": "KEY", "transfers": items})
    return {"token": person.token, "requests": [["POST", "/api/transactions/batch", body]]}


def reads(path: str) -> Callable[[list[Customer]], Streams]:
    """Each connection is a user of its own who reads what is theirs."""

    def streams(customers: list[Customer]) -> Streams:
        return [
            {"token": person.token, "requests": [["GET", path.format(account=account), ""] for account in accounts]}
            for person, accounts in customers
        ]

    return streams


def fill_pages(customers: list[Customer]) -> None:
    """Give each account a full page of transactions, so that all sides return pages of the same length."""
    accounts = [account for _, accounts in customers for account in accounts]
    next_of = dict(zip(accounts, accounts[1:] + accounts[:1], strict=True))
    for number, (person, own) in enumerate(customers):
        payments = [{"fromAccount": payer, "toAccount": next_of[payer], "amount": 1} for payer in own]
        body = {"idempotencyKey": f"pages {number}", "transfers": payments * PAYMENTS_A_PAGE}
        answer = person.post("/api/transactions/batch", body)
        # 200: the pages are full already.
        assert answer.status in (200, 201), answer


def alone(case: Callable[[list[Customer]], Streams]) -> Callable[[list[Customer]], Streams]:
    """One connection asks, and nobody else."""
    return lambda customers: case(customers)[:1]


def pool(case: Callable[[list[Customer]], Streams]) -> Callable[[list[Customer]], Streams]:
    """As many connections ask as one client program usually keeps."""
    return lambda customers: case(customers)[:POOL]


BALANCES = reads("/api/accounts/{account}/balance")
CASES: dict[str, Callable[[list[Customer]], Streams]] = {
    "transfers": spread,
    "hot-payer": hot,
    "lone-transfer": alone(spread),
    "batches-8": batches(8),
    "batches-16": batches(16),
    "balances": BALANCES,
    "lone-balance": alone(BALANCES),
    "pool-transfers": pool(spread),
    "pool-balances": pool(BALANCES),
    "accounts": reads("/api/accounts"),
    "history": reads("/api/transactions?account={account}"),
    "me": reads("/api/auth/me"),
    "health": reads("/healthz"),
}
# What is done once on each side before a case is measured.
PREPARED: dict[str, Callable[[list[Customer]], None]] = {"history": fill_pages}
