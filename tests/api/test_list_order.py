"""Lists come newest first by time, whatever ids the processes that made the items gave them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import ledger
from app.auth.roles import roles_of
from app.clock import SETTLING
from app.fields import rfc3339
from app.ledger.posting import post_block
from app.mongo import Document
from tests.api.conftest import WAIT_S, UnderWay
from tests.clients import InProcess
from tests.commands import WITNESSES, transfer
from tests.people import Bank, Person

AT = datetime(2026, 11, 1, tzinfo=UTC)
ITEMS = 7


def pages(reader: Person, path: str, name: str, limit: int = 2, after: str | None = None) -> list[dict[str, Any]]:
    """Return a whole list, or what comes after a cursor, read page by page."""
    found: list[dict[str, Any]] = []
    cursor = "" if after is None else f"&cursor={after}"
    while True:
        page = reader.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}").body
        found += page[name]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def falling_ids(count: int) -> list[ObjectId]:
    """Return ids as of several processes within one second: each lower than the one before."""
    return [ObjectId(f"65000000{255 - number:02x}{'0' * 14}") for number in range(count)]


def newest_first(items: list[dict[str, Any]]) -> bool:
    order = [(item.get("createdAt") or item["at"], item["id"]) for item in items]
    return order == sorted(order, reverse=True)


def test_transactions(bank: Bank) -> None:
    asha, ashas = bank.customer(1_000)
    _, ravis = bank.customer()
    ids = falling_ids(ITEMS)
    user, payer, payee = ObjectId(asha.id), ObjectId(ashas), ObjectId(ravis)
    for id_ in ids:
        command = transfer(user, payer, payee, 1)
        ledger.post([type(command)(**{**_members(command), "id": id_})])[0].unwrap()
        newest = asha.get("/api/transactions?limit=1").body["transactions"][0]
        assert newest["createdAt"] >= asha.get(f"/api/transactions/{id_}").body["transaction"]["createdAt"]

    for query in ("", f"?account={ashas}", "?direction=out"):
        listed = pages(asha, f"/api/transactions{query}", "transactions")
        assert newest_first(listed)
        assert {str(id_) for id_ in ids} <= {item["id"] for item in listed}
        assert len({item["id"] for item in listed}) == len(listed)


def _members(command: Any) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__dataclass_fields__}


def spread(
    database: Database[Document], name: str, template: Document, time: str, of: Callable[[int], Document] = lambda _: {}
) -> None:
    """Insert items of rising times, two of each time, with falling ids."""
    database[name].insert_many(
        {
            **template,
            "_id": id_,
            time: AT + timedelta(milliseconds=number // 2),
            **of(number),
        }
        for number, id_ in enumerate(falling_ids(ITEMS))
    )


def test_a_walk_shows_each_item_once_though_a_block_commits_late(app: Flask, bank: Bank, under_way: UnderWay) -> None:
    asha, ashas = bank.customer(1_000)
    spare = asha.open_account()
    bank.fund(spare, 10)
    (_, ravis), (_, others) = bank.customer(), bank.customer()
    elsewhere = Person(InProcess(app), asha.token, asha.user)
    late: list[str] = []

    def pay_late() -> Any:
        answer = elsewhere.transfer(spare, others, 7)
        late.append(answer.body["transaction"]["id"])
        return answer

    with under_way(pay_late):
        # These begin later and are there sooner.
        command = [transfer(ObjectId(asha.id), ObjectId(ashas), ObjectId(ravis), 1) for _ in range(4)]
        sooner = [str(post_block([each], WAIT_S, WITNESSES, roles_of)[0].unwrap().id) for each in command]
        first = asha.get("/api/transactions?limit=2").body
        whole = [item["id"] for item in pages(asha, "/api/transactions", "transactions")]
    rest = pages(asha, "/api/transactions", "transactions", after=first["nextCursor"])

    walked = [item["id"] for item in [*first["transactions"], *rest]]
    assert [item for item in walked if item not in late] == whole
    assert walked.count(late[0]) == 1, "it began before what had been shown, and so comes behind it"
    since = rfc3339(datetime.fromisoformat(first["transactions"][0]["createdAt"]) - SETTLING)
    again = pages(asha, f"/api/transactions?from={since}", "transactions")
    assert {late[0], *sooner} <= {item["id"] for item in again}


def test_users_and_accounts(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer()
    user = database.users.find_one({"_id": ObjectId(asha.id)})
    opened = database.accounts.find_one({"_id": ObjectId(account)})
    entry = database.ledger_entries.find_one({"account": ObjectId(account)})
    assert user is not None
    assert opened is not None
    assert entry is not None
    del entry["_id"]
    spread(database, "users", user, "created_at", lambda number: {"email": f"{number}@fincore.example"})
    spread(database, "accounts", opened, "created_at", lambda number: {"number": f"FC{number:014}"})
    database.ledger_entries.insert_many([{**entry, "account": id_} for id_ in falling_ids(ITEMS)])

    for path, name in (
        ("/api/admin/users", "users"),
        ("/api/admin/accounts", "accounts"),
        ("/api/admin/accounts?status=ACTIVE", "accounts"),
        (f"/api/admin/accounts?user={asha.id}", "accounts"),
        ("/api/admin/accounts?kind=CUSTOMER", "accounts"),
        ("/api/admin/accounts?currency=INR", "accounts"),
    ):
        listed = pages(bank.system, path, name)
        assert newest_first(listed), path
        assert {str(id_) for id_ in falling_ids(ITEMS)} <= {item["id"] for item in listed}
    assert newest_first(asha.get("/api/accounts").body["accounts"][::-1])


def test_the_audit_log(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer()
    bank.system.patch(f"/api/admin/accounts/{account}/status", {"status": "FROZEN", "reason": "x"})
    record = database.audit_log.find_one()
    assert record is not None
    spread(database, "audit_log", record, "at")

    for query in ("", f"?actor={bank.system.id}", f"?subject={account}"):
        listed = pages(bank.system, f"/api/admin/audit-log{query}", "records")
        assert newest_first(listed)
        assert {str(id_) for id_ in falling_ids(ITEMS)} <= {item["id"] for item in listed}
