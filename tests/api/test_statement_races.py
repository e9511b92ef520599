"""Statements and receipts that are drawn up while money moves: each shows one moment and does not change."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
from flask import Flask

from tests.api.conftest import UnderWay
from tests.clients import InProcess
from tests.people import Bank, Person, new_key
from tests.threads import at_once
from tests.verdicts import SOUND

MOVERS = 4
READERS = 2
STATEMENTS_OF_EACH = 25
HOLDS = 12
RECEIPTS_OF_EACH = 12
JOINED = {
    **SOUND,
    "complete": False,
    "joinedLater": 1,
    "fault": {"sequence": 2, "field": "sequence", "expected": 2, "found": None},
}


def session_of_its_own(app: Flask, person: Person) -> Person:
    """Return the same person with a client for another thread."""
    return Person(InProcess(app), person.token, person.user)


def test_a_statement_adds_up_while_money_moves(app: Flask, bank: Bank) -> None:
    asha, account = bank.customer(1_000_000)
    _, other = bank.customer()
    read = threading.Barrier(READERS)
    stop = threading.Event()

    def move() -> list[dict[str, Any]]:
        payer = session_of_its_own(app, asha)
        while not stop.is_set():
            payer.transfer(account, other, 1)
        return []

    def draw_up() -> list[dict[str, Any]]:
        reader = session_of_its_own(app, asha)
        try:
            return [reader.get(f"/api/accounts/{account}/statement").body for _ in range(STATEMENTS_OF_EACH)]
        finally:
            read.wait()
            stop.set()

    statements = [each for drawn in at_once([*[move] * MOVERS, *[draw_up] * READERS]) for each in drawn]

    assert statements[-1]["lastSequence"] > statements[0]["lastSequence"]
    for found in statements:
        moved = found["totalCredits"] - found["totalDebits"]
        last = found["entries"][-1]
        assert found["closingBalance"] == found["openingBalance"] + moved == last["balanceAfter"]
        assert (found["lastSequence"], found["lastHash"]) == (last["sequence"], last["hash"])


def test_a_statement_until_now_stays_genuine_and_is_not_complete_when_an_entry_under_way_joins_its_period(
    app: Flask, bank: Bank, under_way: UnderWay
) -> None:
    asha, account = bank.customer(1_000)
    payer, (_, other) = session_of_its_own(app, asha), bank.customer()

    with under_way(lambda: payer.transfer(account, other, 1)):
        before = asha.get(f"/api/accounts/{account}/statement").body
    after = asha.get(f"/api/accounts/{account}/statement?to={before['to']}").body

    assert (before["lastSequence"], after["lastSequence"], after["to"]) == (1, 2, before["to"])
    assert asha.post("/api/statements/verify", before).body == JOINED
    assert asha.post("/api/statements/verify", after).body == SOUND


def test_an_empty_statement_stays_genuine_and_is_not_complete_when_an_entry_joins_what_was_before(
    app: Flask, bank: Bank, under_way: UnderWay
) -> None:
    asha, account = bank.customer(1_000)
    payer, (_, other) = session_of_its_own(app, asha), bank.customer()

    with under_way(lambda: payer.transfer(account, other, 1)):
        to = asha.get(f"/api/accounts/{account}/statement").body["to"]
        before = asha.get(f"/api/accounts/{account}/statement?from={to}").body
    asha.transfer(account, other, 1)
    after = asha.get(f"/api/accounts/{account}/statement?from={to}&to={before['to']}").body

    assert (before["entries"], before["openingBalance"], after["openingBalance"]) == ([], 1_000, 999)
    assert asha.post("/api/statements/verify", before).body == JOINED
    assert asha.post("/api/statements/verify", after).body == SOUND
    assert asha.post("/api/statements/verify", {**before, "lastHash": "0" * 64}).body["fault"]["field"] != "sequence"


def test_a_receipts_transaction_and_entries_are_of_one_moment(app: Flask, bank: Bank) -> None:
    asha, ashas = bank.customer(HOLDS)
    ravi, ravis = bank.customer()
    shown: list[tuple[str, list[str]]] = []

    for _ in range(HOLDS):
        body = {"fromAccount": ashas, "toAccount": ravis, "amount": 1, "idempotencyKey": new_key()}
        hold = f"/api/transactions/{asha.post('/api/transactions/hold', body).body['transaction']['id']}"
        payees, payers = session_of_its_own(app, ravi), [session_of_its_own(app, asha) for _ in range(READERS)]

        def capture(payee: Person = payees, hold: str = hold) -> list[str]:
            assert payee.post(f"{hold}/capture", {"idempotencyKey": new_key()}).status == 200
            return []

        def read(payer: Person, hold: str = hold) -> list[str]:
            return [payer.get(f"{hold}/receipt").body["receipt"] for _ in range(RECEIPTS_OF_EACH)]

        calls: list[Callable[[], list[str]]] = [capture, *(partial(read, payer) for payer in payers)]
        for receipts in at_once(calls):
            claims = [jwt.decode(receipt, options={"verify_signature": False}) for receipt in receipts]
            shown += [(c["transaction"]["status"], [entry["type"] for entry in c["entries"]]) for c in claims]

    assert len(shown) == HOLDS * READERS * RECEIPTS_OF_EACH
    assert all(seen in (("PENDING", ["HOLD"]), ("COMPLETED", ["HOLD", "RELEASE", "DEBIT"])) for seen in shown)
