"""The OpenAPI document: valid, complete, and in agreement with the bank's answers."""

import json
import re
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from openapi_spec_validator import validate
from pymongo.database import Database

from app.errors import PROBLEMS
from app.http.contract import contract_of
from app.mongo import Document
from tests.clients import Answer
from tests.description import SCHEMAS, as_described, assert_conforms, operations, references, resolved
from tests.people import PASSWORD, Bank, new_key

# The documentation does not describe itself, nor what is for people to look at.
UNDESCRIBED = {
    "web.asset",
    "web.home",
    "web.page",
    "web.page_within",
    "web.ask_about_letters",
    "web.turn_letters_off",
    "operations.openapi",
    "operations.docs",
    "operations.docs_file",
    "operations.problem",
    "operations.static",
}


@pytest.fixture
def document(bank: Bank) -> dict[str, Any]:
    answer = bank.anonymous.get("/api/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = answer.body
    return document


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_call_of_the_api_is_in_the_document(app: Flask, document: dict[str, Any]) -> None:
    served = {
        f"{method} {as_described(rule.rule)}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in UNDESCRIBED
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {name for name, _ in operations(document)} == served


def test_every_call_says_in_a_sentence_what_it_does(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert re.fullmatch(r"[A-Z].+\.", operation.get("summary", "")), name


def test_every_guarded_call_names_the_token_and_its_refusals(app: Flask, document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    guarded = {
        as_described(rule.rule)
        for rule in app.url_map.iter_rules()
        # The page's own session has no token in a header, and without one it is no error.
        if contract_of(app.view_functions[rule.endpoint]).access not in (None, "session cookie")
    }
    assert guarded

    for name, operation in operations(document):
        if name.split()[1] in guarded:
            assert operation["security"] == [{"bearer": []}], name
            assert "token_expired" in operation["responses"]["401"]["description"], name
        else:
            assert operation["security"] == [], name


def test_every_request_body_has_an_example_that_conforms(document: dict[str, Any]) -> None:
    bodies = {name: op["requestBody"]["content"] for name, op in operations(document) if "requestBody" in op}
    assert bodies

    for name, content in bodies.items():
        assert set(content) == {"application/json"}, name
        assert_conforms(document, content["application/json"]["example"], content["application/json"]["schema"])


def test_every_call_with_a_body_names_what_can_be_wrong_with_it(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name


def test_every_refusal_is_a_problem_document_that_this_bank_knows(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            assert set(response["content"]) == {"application/problem+json"}, name
            codes = re.findall(r"`([a-z_]+)`", response["description"])
            assert codes, name
            assert {PROBLEMS[code].status for code in codes} == {int(status)}, name
            content = response["content"]["application/problem+json"]
            assert list(content["examples"]) == codes, name
            for example in content["examples"].values():
                assert_conforms(document, resolved(document, example)["value"], content["schema"])


def test_calls_with_a_key_take_it_as_a_header_and_mark_repeats(document: dict[str, Any]) -> None:
    for path in ("/api/transactions/create", "/api/transactions/initial-funds"):
        operation = document["paths"][path]["post"]
        (header,) = [parameter for parameter in operation["parameters"] if parameter["in"] == "header"]
        assert (header["name"], header["required"]) == ("Idempotency-Key", False)
        assert "Idempotency-Replayed" in operation["responses"]["200"]["headers"]


def test_no_schema_is_there_for_nothing(document: dict[str, Any]) -> None:
    named = {f"{SCHEMAS}{name}" for name in document["components"]["schemas"]}

    assert named == {reference for reference in references(document) if reference.startswith(SCHEMAS)}


def test_a_user_never_has_a_password_in_the_document(document: dict[str, Any]) -> None:
    assert set(document["components"]["schemas"]["User"]["properties"]) == {"id", "name", "email", "role", "createdAt"}


def test_what_the_bank_answers_conforms(bank: Bank, document: dict[str, Any], database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    registration = {"name": "Ravi Iyer", "email": "ravi@fincore.example", "password": PASSWORD}
    credentials = {name: registration[name] for name in ("email", "password")}
    transfer = {"fromAccount": from_account, "toAccount": to_account, "amount": 400, "idempotencyKey": "rent-1"}
    too_much = {**transfer, "amount": 9_999, "idempotencyKey": "rent-2", "metadata": {"invoice": "7"}}
    funds = {"toAccount": to_account, "amount": 5, "idempotencyKey": new_key()}
    account, transaction = "/api/accounts/{accountId}", "/api/transactions/{transactionId}"
    create = "/api/transactions/create"

    def check(path: str, answer: Answer, status: int, method: str = "get") -> Answer:
        assert answer.status == status, answer.content
        content = document["paths"][path][method]["responses"][str(status)]["content"]
        assert_conforms(document, answer.body, content[answer.headers["content-type"]]["schema"])
        return answer

    check("/api/auth/register", bank.anonymous.post("/api/auth/register", registration), 201, "post")
    check("/api/auth/register", bank.anonymous.post("/api/auth/register", registration), 409, "post")
    check("/api/auth/register", bank.anonymous.post("/api/auth/register", {}), 422, "post")
    check("/api/auth/login", bank.anonymous.post("/api/auth/login", credentials), 200, "post")
    check("/api/auth/me", payer.get("/api/auth/me"), 200)
    check("/api/auth/me", bank.anonymous.get("/api/auth/me"), 401)
    check("/api/accounts/create", payer.post("/api/accounts/create", {}), 201, "post")
    check("/api/accounts", payer.get("/api/accounts"), 200)
    check(account, payer.get(f"/api/accounts/{from_account}"), 200)
    check(account, payer.get(f"/api/accounts/{ObjectId()}"), 404)
    check(account, payer.call("PATCH", f"/api/accounts/{from_account}", {"name": "x"}), 200, "patch")
    check(f"{account}/balance", payer.get(f"/api/accounts/{from_account}/balance"), 200)
    posted = check(create, payer.post(create, transfer), 201, "post")
    check(create, payer.post(create, transfer), 200, "post")
    check(create, payer.post(create, {**transfer, "amount": 1}), 422, "post")
    declined = check(create, payer.post(create, too_much), 422, "post")
    check(transaction, payer.get(f"/api/transactions/{posted.body['transaction']['id']}"), 200)
    check(transaction, payer.get(f"/api/transactions/{declined.body['transactionId']}"), 200)
    check("/api/transactions/initial-funds", bank.system.post("/api/transactions/initial-funds", funds), 201, "post")
    check("/api/transactions/initial-funds", payer.post("/api/transactions/initial-funds", funds), 403, "post")
    receipt = check(
        f"{transaction}/receipt", payer.get(f"/api/transactions/{posted.body['transaction']['id']}/receipt"), 200
    )
    said = document["components"]["schemas"]["SignedReceipt"]["properties"]["receipt"]["contentSchema"]["prefixItems"]
    for schema, encoded in zip(said, receipt.body["receipt"].split("."), strict=False):
        assert_conforms(document, json.loads(urlsafe_b64decode(encoded + "==")), schema)
    for path in ("/healthz", "/readyz", "/.well-known/jwks.json"):
        check(path, bank.anonymous.get(path), 200)
    check("/api/auth/logout", payer.post("/api/auth/logout"), 200, "post")
