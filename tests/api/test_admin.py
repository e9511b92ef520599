"""What administrators can read and change through the API, and nobody else can."""

from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from pymongo.database import Database

from app.http.contract import contract_of
from app.mongo import Document
from tests.clients import Answer
from tests.people import SYSTEM_EMAIL, Bank, Caller, Person


def all_pages(who: Caller, path: str, name: str, limit: int = 2, **query: Any) -> list[dict[str, Any]]:
    """Follow the cursors to the end."""
    seen: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = who.get(f"{path}?{urlencode({**query, 'limit': limit, **cursor})}")
        assert answer.status == 200, answer.content
        assert len(answer.body[name]) <= limit
        seen += answer.body[name]
        if answer.body["nextCursor"] is None:
            return seen
        cursor = {"cursor": answer.body["nextCursor"]}


def found_names(bank: Bank, q: str, limit: int = 50) -> list[str]:
    return [user["name"] for user in all_pages(bank.system, "/api/admin/users", "users", limit=limit, q=q)]


def set_role(who: Person, user: Person, role: str, **more: Any) -> Answer:
    return who.patch(f"/api/admin/users/{user.id}/role", {"role": role, **more})


ADMIN_CALLS = [
    ("GET", "/api/admin/users", None),
    ("GET", "/api/admin/accounts", None),
    ("GET", "/api/admin/audit-log", None),
    ("GET", "/api/admin/trial-balance", None),
    ("GET", "/api/admin/outbox", None),
    ("GET", "/api/admin/status", None),
    ("POST", f"/api/admin/outbox/{'a' * 24}/retry", None),
    ("PATCH", f"/api/admin/accounts/{'a' * 24}/status", {"status": "FROZEN", "reason": "x"}),
    ("PATCH", f"/api/admin/users/{'a' * 24}/role", {"role": "ADMIN"}),
    ("POST", f"/api/transactions/{'a' * 24}/reverse", {"idempotencyKey": "k", "reason": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_CALLS)
def test_users_are_kept_out_and_leave_no_record(
    bank: Bank, database: Database[Document], method: str, path: str, body: Any
) -> None:
    answer = bank.register().call(method, path, body)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert bank.anonymous.call(method, path, body).code == "token_missing"
    assert database.audit_log.count_documents({}) == 0


def test_every_route_of_the_admin_api_declares_its_roles(app: Flask) -> None:
    declared = {
        (method, rule.rule): contract_of(app.view_functions[rule.endpoint]).access
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/admin")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    }

    assert len(declared) == 9
    assert declared.pop(("PATCH", "/api/admin/users/<id:user_id>/role")) == "role SYSTEM"
    assert set(declared.values()) == {"role ADMIN or SYSTEM"}


def test_a_demoted_administrators_token_stops_working_as_one_at_once(bank: Bank) -> None:
    staff = bank.administrator()
    _, account = bank.customer()
    assert staff.get("/api/admin/users").status == 200
    assert staff.get(f"/api/accounts/{account}").status == 200

    set_role(bank.system, staff, "USER")

    assert [staff.call(*call).code for call in ADMIN_CALLS] == ["forbidden"] * len(ADMIN_CALLS)
    assert staff.get(f"/api/accounts/{account}").code == "account_not_found"
    assert staff.get("/api/auth/me").body["user"]["role"] == "USER"


def test_a_role_change_is_answered_and_recorded(bank: Bank, database: Database[Document]) -> None:
    user = bank.register()

    answer = set_role(bank.system, user, "ADMIN", reason="Joined operations")

    assert answer.status == 200
    assert answer.body["user"] == {**user.user, "role": "ADMIN"}
    (record,) = bank.system.get(f"/api/admin/audit-log?subject={user.id}").body["records"]
    assert (record["actor"], record["action"], record["reason"]) == (
        bank.system.id,
        "role_changed",
        "Joined operations",
    )
    assert (record["before"], record["after"]) == ({"role": "USER"}, {"role": "ADMIN"})
    assert (record["address"], len(record["requestId"])) == ("127.0.0.1", 32)


def test_a_role_that_the_user_has_already_is_no_change(bank: Bank, database: Database[Document]) -> None:
    assert set_role(bank.system, bank.register(), "USER").status == 200
    assert database.audit_log.count_documents({}) == 0


def test_role_changes_that_are_refused(bank: Bank, database: Database[Document]) -> None:
    staff, user = bank.administrator(), bank.register()
    records = database.audit_log.count_documents({})

    assert set_role(staff, user, "ADMIN").code == "forbidden"
    assert set_role(bank.system, bank.system, "USER").code == "forbidden"
    assert set_role(bank.system, bank.system, "SYSTEM").code == "forbidden"
    assert bank.system.patch(f"/api/admin/users/{'0' * 24}/role", {"role": "ADMIN"}).code == "user_not_found"
    assert bank.system.patch("/api/admin/users/nonsense/role", {"role": "ADMIN"}).code == "user_not_found"
    for body in ({}, {"role": "BOSS"}, {"role": {"$ne": "USER"}}, {"role": "ADMIN", "name": "x"}):
        assert bank.system.patch(f"/api/admin/users/{user.id}/role", body).code == "validation_failed"
    assert database.audit_log.count_documents({}) == records


def test_users_are_listed_newest_first_without_their_secrets(bank: Bank) -> None:
    people = [bank.register(f"Person {n}") for n in range(5)]

    listed = all_pages(bank.system, "/api/admin/users", "users")

    assert [user["id"] for user in listed] == [person.id for person in reversed(people)] + [bank.system.id]
    assert set(listed[0]) == {"id", "name", "email", "role", "createdAt"}


def test_a_search_finds_the_beginning_of_names_and_addresses_in_any_case(bank: Bank) -> None:
    for name in ("Asha Rao", "ASHOK Mehta", "Natasha Iyer", "Ünal Öz", "50% (off) [a-z]", "Straße", "a.b", "axb"):
        bank.register(name)

    assert found_names(bank, "ash") == ["Asha Rao", "ASHOK Mehta"]
    assert found_names(bank, "ÜNAL ö") == ["Ünal Öz"]
    assert found_names(bank, "50% (OFF) [a") == ["50% (off) [a-z]"]
    assert found_names(bank, "STRASSE") == ["Straße"]
    assert found_names(bank, "a.b") == ["a.b"]
    assert found_names(bank, SYSTEM_EMAIL.upper()[:10]) == ["Fincore"]
    for nothing in (".*", "^a", "a|n", "$ne", "sha", "[a-z]", "\\w", '{"$gt":""}', "x" * 320):
        assert found_names(bank, nothing) == []


def test_a_search_finds_an_id(bank: Bank) -> None:
    person = bank.register("Asha Rao")
    bank.register(person.id)

    assert found_names(bank, person.id.upper()) == ["Asha Rao", person.id]
    assert found_names(bank, person.id, limit=1) == ["Asha Rao", person.id]
    assert found_names(bank, person.id[:23]) == [person.id]


def test_a_search_shows_everybody_once_however_it_is_paged(bank: Bank) -> None:
    people = {bank.register(name).id for name in ["Person"] * 5 + ["Persona", "PERSON", "Other", "Perso", "Person x"]}
    bank.register("Zed")

    for limit in (1, 2, 3, 50):
        ids = [user["id"] for user in all_pages(bank.system, "/api/admin/users", "users", limit=limit, q="perso")]
        # Everybody's e-mail address begins with "person-", Zed's and Other's too.
        assert len(ids) == len(set(ids)) == len(people) + 1
        assert people <= set(ids)


@pytest.mark.parametrize("query", ["q=", "q=%00", "limit=0", "limit=201", "limit=x", "page=1", "q[$ne]=x"])
def test_a_bad_query_is_refused(bank: Bank, query: str) -> None:
    assert bank.system.get(f"/api/admin/users?{query}").code == "validation_failed"


@pytest.mark.parametrize("name", ["users", "accounts", "audit-log"])
def test_a_cursor_of_another_list_is_refused(bank: Bank, name: str) -> None:
    for _ in range(3):
        bank.customer()
    bank.administrator()
    bank.administrator()
    cursors = {
        other: bank.system.get(f"/api/admin/{other}?limit=1").body["nextCursor"]
        for other in ("users", "accounts", "audit-log")
        if other != name
    }

    for cursor in (*cursors.values(), "nonsense"):
        answer = bank.system.get(f"/api/admin/{name}?cursor={cursor}")
        assert (answer.status, answer.code) == (400, "invalid_cursor")


def test_accounts_are_listed_with_their_owners_and_their_money(bank: Bank) -> None:
    owner, account = bank.customer(500)
    bank.customer(70, "EUR")

    listed = all_pages(bank.administrator(), "/api/admin/accounts", "accounts")

    assert len(listed) == 4
    of_owner = next(item for item in listed if item["id"] == account)
    assert (of_owner["userId"], of_owner["kind"], of_owner["status"]) == (owner.id, "CUSTOMER", "ACTIVE")
    assert (of_owner["balance"], of_owner["availableBalance"]) == (500, 500)
    treasuries = {item["currency"]: item for item in listed if item["kind"] == "TREASURY"}
    assert {currency: item["balance"] for currency, item in treasuries.items()} == {"INR": -500, "EUR": -70}
    assert all(item["userId"] is None for item in treasuries.values())


def test_accounts_are_filtered_by_owner_status_currency_and_kind(bank: Bank) -> None:
    owner, inr = bank.customer()
    eur = owner.open_account("EUR")
    _, other = bank.customer()
    bank.system.patch(f"/api/admin/accounts/{inr}/status", {"status": "FROZEN", "reason": "x"})

    def ids(**query: Any) -> list[str]:
        return [item["id"] for item in all_pages(bank.system, "/api/admin/accounts", "accounts", **query)]

    assert ids(user=owner.id) == ids(user=owner.user["email"].upper()) == [eur, inr]
    assert ids(user=owner.id, status="ACTIVE") == [eur]
    assert ids(status="FROZEN") == [inr]
    assert ids(currency="INR", kind="CUSTOMER") == [other, inr]
    assert len(ids(kind="TREASURY")) == 2
    assert ids(user="nobody@fincore.example") == ids(user="0" * 24) == []
    for bad in ("status=frozen", "currency=XXX", "kind=x", "user=", "user[$ne]=x", "q=x"):
        assert bank.system.get(f"/api/admin/accounts?{bad}").code == "validation_failed"


def test_administrators_read_any_account_and_transaction_through_the_ordinary_routes(bank: Bank) -> None:
    payer, account = bank.customer(500)
    _, payee_account = bank.customer()
    transaction = payer.transfer(account, payee_account, 1, "secret key").body["transaction"]["id"]
    staff, stranger = bank.administrator(), bank.register()

    seen = staff.get(f"/api/accounts/{account}").body["account"]
    assert (seen["userId"], seen["kind"]) == (payer.id, "CUSTOMER")
    assert staff.get(f"/api/accounts/{account}/balance").body["balance"] == 499
    assert staff.get(f"/api/transactions/{transaction}").body["transaction"]["idempotencyKey"] is None
    assert stranger.get(f"/api/accounts/{account}").code == "account_not_found"
    assert stranger.get(f"/api/accounts/{account}/balance").code == "account_not_found"
    assert stranger.get(f"/api/transactions/{transaction}").code == "transaction_not_found"
    mine = payer.get(f"/api/accounts/{account}").body["account"]
    assert set(mine) == {"id", "number", "name", "currency", "status", "createdAt"}


@pytest.mark.parametrize("role", ["ADMIN", "SYSTEM"])
def test_administrators_see_of_their_own_accounts_what_they_see_of_others(bank: Bank, role: str) -> None:
    staff = bank.administrator(role)
    created = staff.post("/api/accounts/create", {})
    path = f"/api/accounts/{created.body['account']['id']}"
    answers = [created, staff.get(path), staff.patch(path, {"name": "Mine"}), staff.post(f"{path}/close")]

    shown = [answer.body["account"] for answer in answers] + staff.get("/api/accounts").body["accounts"]

    assert [(account["userId"], account["kind"]) for account in shown] == [(staff.id, "CUSTOMER")] * 5


def test_a_customer_does_not_see_what_is_for_administrators(bank: Bank) -> None:
    person = bank.register()
    created = person.post("/api/accounts/create", {})
    path = f"/api/accounts/{created.body['account']['id']}"
    answers = [created, person.get(path), person.patch(path, {"name": "Mine"}), person.post(f"{path}/close")]

    shown = [answer.body["account"] for answer in answers] + person.get("/api/accounts").body["accounts"]

    assert all(not {"userId", "kind"} & account.keys() for account in shown)


def test_a_demoted_administrator_sees_what_a_customer_sees(bank: Bank) -> None:
    staff = bank.administrator()
    account = staff.open_account()
    bank.system.patch(f"/api/admin/users/{staff.id}/role", {"role": "USER"})

    assert "kind" not in staff.get(f"/api/accounts/{account}").body["account"]


def test_administrators_neither_spend_from_nor_rename_nor_close_what_is_not_theirs(bank: Bank) -> None:
    payer, account = bank.customer(500)
    for staff in (bank.administrator(), bank.system):
        mine = staff.open_account()

        assert staff.transfer(account, mine, 1).code == "account_not_found"
        assert staff.patch(f"/api/accounts/{account}", {"name": "Mine"}).code == "account_not_found"
        assert staff.post(f"/api/accounts/{account}/close").code == "account_not_found"
        assert account not in {item["id"] for item in staff.get("/api/accounts").body["accounts"]}
    assert payer.balance(account) == 500


def test_the_audit_log_is_listed_newest_first_and_filtered(bank: Bank) -> None:
    staff = bank.administrator()
    _, account = bank.customer()
    for status in ("FROZEN", "ACTIVE", "CLOSED"):
        staff.patch(f"/api/admin/accounts/{account}/status", {"status": status, "reason": status})

    def actions(**query: Any) -> list[str]:
        return [item["action"] for item in all_pages(staff, "/api/admin/audit-log", "records", **query)]

    of_account = ["account_closed", "account_unfrozen", "account_frozen"]
    assert actions() == [*of_account, "role_changed"]
    assert actions(subject=account) == actions(actor=staff.id) == of_account
    assert actions(actor=bank.system.id) == actions(actor=bank.system.id.upper()) == ["role_changed"]
    assert actions(subject=account, actor=bank.system.id) == actions(actor="cli:root") == actions(subject="$ne") == []
    for bad in ("subject=", "actor[$gt]=", "action=x"):
        assert staff.get(f"/api/admin/audit-log?{bad}").code == "validation_failed"


def test_every_act_leaves_exactly_one_record_and_reading_none(bank: Bank, database: Database[Document]) -> None:
    owner, account = bank.customer(10)
    transaction = owner.transfer(account, bank.customer()[1], 5).body["transaction"]["id"]
    closing = owner.open_account()
    acts = [
        (bank.system, "PATCH", f"/api/admin/accounts/{account}/status", {"status": "FROZEN", "reason": "x"}),
        (bank.system, "PATCH", f"/api/admin/accounts/{account}/status", {"status": "ACTIVE", "reason": "x"}),
        (bank.system, "PATCH", f"/api/admin/users/{owner.id}/role", {"role": "ADMIN"}),
        (bank.system, "POST", f"/api/transactions/{transaction}/reverse", {"idempotencyKey": "k", "reason": "x"}),
        (owner, "POST", f"/api/accounts/{closing}/close", None),
    ]
    # The owner's initial funds.
    funded = 1
    for n, (who, method, path, body) in enumerate(acts, funded):
        assert database.audit_log.count_documents({}) == n
        assert who.call(method, path, body).status in (200, 201)
    assert database.audit_log.count_documents({}) == funded + len(acts)

    for path in ("users", "accounts", "audit-log", "trial-balance"):
        assert bank.system.get(f"/api/admin/{path}").status == 200
    bank.system.get(f"/api/accounts/{account}")
    assert database.audit_log.count_documents({}) == funded + len(acts)
