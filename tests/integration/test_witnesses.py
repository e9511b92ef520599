"""The witnesses of a block: if one of them fails, nothing of the block happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.database import Database

from app import ledger
from app.auth.roles import roles_of
from app.ledger.posting import Witness, post_block
from app.ledger.records import AccountStatus
from app.ledger.state import Decided
from app.mongo import Document, Insert
from app.mongo.pipelined import DOCUMENTS_OF_A_COMMAND, SENT_TOGETHER_BYTES
from config import Config
from tests.background import settle
from tests.commands import WITNESSES, change_status
from tests.people import Bank

WRITTEN = ("accounts", "transactions", "ledger_entries", "outbox", "audit_log")


@contextmanager
def broken(config: Config, witness: Witness) -> Iterator[None]:
    """Have one witness fail after all that it tells has been sent."""

    def fail(decided: Decided, session: ClientSession) -> Iterator[Insert]:
        yield from witness(decided, session)
        yield Insert("outbox", fail_after_a_command())

    def fail_after_a_command() -> Iterator[Document]:
        for _ in range(DOCUMENTS_OF_A_COMMAND):
            yield {"_id": ObjectId(), "padding": "x" * (SENT_TOGETHER_BYTES // DOCUMENTS_OF_A_COMMAND)}
        raise RuntimeError("The witness fails.")

    ledger.configure(
        config.ledger, witnesses=tuple(fail if each is witness else each for each in WITNESSES), roles=roles_of
    )
    try:
        yield
    finally:
        ledger.configure(config.ledger, witnesses=WITNESSES, roles=roles_of)


def test_each_act_of_a_block_leaves_a_record(bank: Bank, database: Database[Document]) -> None:
    accounts = [ObjectId(bank.customer()[1]) for _ in range(2)]
    frozen = [change_status(account, AccountStatus.FROZEN) for account in accounts]
    post_block(frozen, 10.0, WITNESSES, roles_of)
    assert database.audit_log.distinct("subject", {"subject": {"$in": accounts}}) == sorted(accounts)


def everything(database: Database[Document]) -> dict[str, list[Any]]:
    return {name: list(database[name].find().sort("_id")) for name in WRITTEN}


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.__name__)
def test_a_block_whose_witness_fails_leaves_no_trace(
    bank: Bank, database: Database[Document], config: Config, witness: Witness
) -> None:
    asha, first = bank.customer(1_000)
    _, second = bank.customer()
    paid = asha.transfer(first, second, 100).body["transaction"]["id"]
    settle()
    before = everything(database)

    with broken(config, witness):
        transfer = asha.transfer(first, second, 100, "again")
        reason = {"reason": "Paid twice", "idempotencyKey": "back"}
        reversal = bank.system.post(f"/api/transactions/{paid}/reverse", reason)
        freeze = bank.system.patch(f"/api/admin/accounts/{first}/status", {"status": "FROZEN", "reason": "Because"})

    assert [transfer.status, reversal.status, freeze.status] == [500, 500, 500]
    assert everything(database) == before
    assert asha.transfer(first, second, 100, "again").status == 201, "The key was not spent."
