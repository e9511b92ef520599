"""Acts by right of a role: the actor must have the role when the act takes effect, and a record is kept."""

from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import ledger
from app.accounts import service as accounts
from app.acts import Act
from app.errors import Forbidden
from app.ledger.commands import Command
from app.ledger.records import AccountStatus
from app.mongo import Document
from app.transactions import service
from tests.people import Bank, Person, new_key


def audit(bank: Bank, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    records: list[dict[str, Any]] = bank.system.get(f"/api/admin/audit-log?{query}").body["records"]
    return records


def a_hold(payer: Person, account: str, payee: str) -> str:
    body = {"fromAccount": account, "toAccount": payee, "amount": 300, "idempotencyKey": new_key()}
    hold: str = payer.post("/api/transactions/hold", body).body["transaction"]["id"]
    return hold


def commands_of(bank: Bank, officer: Person) -> dict[str, Command]:
    """Return what an officer of the bank has asked for a moment ago, and what waits for its turn."""
    asha, ashas = bank.customer(1_000)
    _, ravis = bank.customer()
    holds = [ObjectId(a_hold(asha, ashas, ravis)) for _ in range(2)]
    sent = ObjectId(asha.transfer(ashas, ravis, 100).body["transaction"]["id"])
    user, act = ObjectId(officer.id), Act(ObjectId(officer.id), "because")
    key = {"idempotency_key": new_key()}
    return {
        "capture": service.capture_command(holds[0], key, user_id=user, act=act),
        "void": service.void_command(holds[1], key, user_id=user, act=act),
        "fund": service.fund_command({"to_account": ObjectId(ashas), "amount": 5, **key}, user_id=user, act=act),
        "reverse": service.reverse_command(sent, {**key, "reason": "because"}, user_id=user, act=act),
    }


@pytest.mark.parametrize("name", ["capture", "void", "fund", "reverse"])
def test_whoever_was_demoted_while_waiting_does_nothing_any_more(
    bank: Bank, database: Database[Document], name: str
) -> None:
    officer = bank.administrator("SYSTEM")
    command = commands_of(bank, officer)[name]
    assert bank.system.patch(f"/api/admin/users/{officer.id}/role", {"role": "USER"}).status == 200
    before = list(database.transactions.find())

    assert isinstance(ledger.post([command])[0].error, Forbidden)
    assert isinstance(ledger.rehearse(command)[0].error, Forbidden)

    assert list(database.transactions.find()) == before
    assert audit(bank, actor=officer.id) == []


def test_a_demoted_administrator_freezes_nothing(bank: Bank) -> None:
    officer = bank.administrator()
    _, account = bank.customer()
    bank.system.patch(f"/api/admin/users/{officer.id}/role", {"role": "USER"})

    with pytest.raises(Forbidden):
        accounts.change_status(ObjectId(account), AccountStatus.FROZEN, act=Act(ObjectId(officer.id), "because"))


def test_a_demoted_payee_still_settles_their_own_hold(bank: Bank) -> None:
    payee = bank.administrator("SYSTEM")
    account = payee.open_account()
    asha, ashas = bank.customer(1_000)
    command = service.capture_command(
        ObjectId(a_hold(asha, ashas, account)), {"idempotency_key": new_key()}, user_id=ObjectId(payee.id), act=None
    )
    bank.system.patch(f"/api/admin/users/{payee.id}/role", {"role": "USER"})

    assert ledger.post([command])[0].error is None


@pytest.mark.parametrize("call", ["capture", "void"])
def test_settling_somebody_elses_hold_is_in_the_audit_log(bank: Bank, call: str) -> None:
    asha, ashas = bank.customer(1_000)
    ravi, ravis = bank.customer()
    hold, own = a_hold(asha, ashas, ravis), a_hold(asha, ashas, ravis)
    body = {"idempotencyKey": new_key(), **({"reason": "Out of stock"} if call == "void" else {"amount": 200})}

    assert bank.system.post(f"/api/transactions/{hold}/{call}", body).status == 200
    assert bank.system.post(f"/api/transactions/{hold}/{call}", body).status == 200
    assert ravi.post(f"/api/transactions/{own}/{call}", {**body, "idempotencyKey": new_key()}).status == 200

    (record,) = audit(bank, subject=hold)
    assert record in audit(bank, actor=bank.system.id)
    assert record["action"] == {"capture": "hold_captured", "void": "hold_voided"}[call]
    assert record["before"]["status"] == "PENDING"
    assert record["after"]["status"] == {"capture": "COMPLETED", "void": "VOIDED"}[call]
    assert record["reason"] == (None if call == "capture" else "Out of stock")
    assert audit(bank, subject=own) == []


def test_initial_funds_are_in_the_audit_log(bank: Bank) -> None:
    _, account = bank.customer()
    answer = bank.fund(account, 700, "opening")
    bank.fund(account, 700, "opening")

    (record,) = audit(bank, subject=account)
    assert record in audit(bank, actor=bank.system.id)
    assert (record["action"], record["after"]) == (
        "funds_credited",
        {"amount": "700", "currency": "INR", "transaction": answer.body["transaction"]["id"]},
    )


def test_an_act_of_nobody_with_a_user_needs_no_role(bank: Bank) -> None:
    officer = bank.administrator("SYSTEM")
    command = commands_of(bank, officer)["reverse"]
    by_hand = replace(command, act=Act("cli:root", "because").by_right_of(("SYSTEM",)))  # type: ignore[arg-type]

    assert ledger.post([by_hand])[0].error is None
