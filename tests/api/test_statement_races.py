"""Statements and receipts that are drawn up while money moves: each is of one moment, and stays what it was."""

import threading
from typing import Any

from flask import Flask

from tests.support import Bank, InProcess, Person
from tests.threads import at_once

MOVERS = 4
READERS = 2
STATEMENTS_OF_EACH = 60


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
