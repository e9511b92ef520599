"""Rules for the API's description, so that generated clients read well and do not lose digits."""

import json
import keyword
import re
from collections import Counter
from typing import Any

import pytest

from app.errors import PROBLEMS
from clients.document import DOCUMENT
from tests.description import JSON, assert_conforms, of_requests, operations, parameters, parts, resolved
from tests.people import Bank

# What a class or a module cannot be called in one of the languages that clients are generated for, besides Python.
_RESERVED = """
abstract as async await base bool box break byte case catch chan char class const continue crate decimal default defer
delegate do double dyn else enum event explicit export extends extern fallthrough final finally fixed float fn for
foreach func function go goto if impl implements import in int interface internal is lock long loop map match mod move
mut namespace native new null object operator option out override package params private protected pub public range
readonly ref result return sbyte sealed select self short static string struct super switch this throw throws trait
transient try type typeof uint ulong unsafe use using var vec virtual void volatile where while yield
"""
RESERVED = {*keyword.kwlist, *re.findall(r"\w+", _RESERVED)}
NULL = {"type": "null"}
# Verified whatever it has: it may be from a later version.
OPEN_REQUESTS = {"ClaimedStatement"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    # What is committed is what is served; another test sees to that.
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return document


def test_what_is_committed_is_what_is_served(bank: Bank, document: dict[str, Any]) -> None:
    assert bank.anonymous.get("/api/openapi.json").body == document, "Run `make openapi`."


def test_the_whole_says_who_where_and_under_which_licence(document: dict[str, Any]) -> None:
    info = document["info"]

    assert all(info[member] for member in ("title", "version", "summary", "description", "contact", "license"))
    assert [server["url"] for server in document["servers"]] == ["/", "http://127.0.0.1:5000"]
    assert all(word in info["description"] for word in ("not_found", "method_not_allowed", "/problems/"))
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for _, operation in operations(document) for tag in operation["tags"]} == described


def test_each_call_has_a_name_of_its_own_in_the_words_of_the_api(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]

    assert len(names) == len(set(names))
    assert {"createTransfer", "fundAccount", "createHold", "captureHold", "voidHold", "getStatementPdf"} <= set(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name), name
        assert not re.search(r"api|post_|get_", name, re.IGNORECASE), name


def test_each_call_says_in_a_sentence_and_in_more_what_it_does(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert re.fullmatch(r"[A-Z].+\.", operation["summary"]), name
        assert re.fullmatch(r"[A-Z].+\.", operation["description"], re.DOTALL), name
        assert isinstance(operation["security"], list), name


def test_each_integer_says_how_wide_it_is(document: dict[str, Any]) -> None:
    for where, part in parts(document):
        types = part.get("type", ())
        if "integer" in ([types] if isinstance(types, str) else types):
            assert part.get("format") in ("int32", "int64"), where


def test_sums_and_counts_have_64_bits(document: dict[str, Any]) -> None:
    wide = {"amount", "balance", "sequence", "totalDebits", "totalCredits", "joinedLater", "accounts", "heldAmount"}

    for where, part in parts(document):
        for name, described in part.get("properties", {}).items():
            if name in wide and "integer" in str(described.get("type")):
                assert described["format"] == "int64", (where, name)


def test_requests_are_closed_and_answers_are_open(document: dict[str, Any]) -> None:
    requests = of_requests(document)

    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            wanted = None if name not in requests else name in OPEN_REQUESTS
            assert schema.get("additionalProperties") is wanted, name


def test_no_schema_is_called_like_a_property_of_its_own_or_a_reserved_word(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert name.lower() not in {member.lower() for member in schema.get("properties", {})}, name
        assert name.lower() not in RESERVED, name
        assert schema["description"], name


def test_no_schema_is_called_like_what_a_generator_makes_of_another(document: dict[str, Any]) -> None:
    names = document["components"]["schemas"].keys()

    # Go's functions NewX make an X, and its NullableX may be null.
    assert {f"{made}{name}" for made in ("New", "Nullable") for name in names} & names == set()


def test_no_query_and_no_header_can_be_null(document: dict[str, Any]) -> None:
    for name, _ in operations(document):
        for parameter in parameters(document, name):
            for where, part in parts(parameter):
                assert "null" not in part.get("type", ()), (name, where)
                assert None not in part.get("enum", ()), (name, where)


def test_names_that_occur_in_several_places_have_a_schema_of_their_own(document: dict[str, Any]) -> None:
    lists = Counter(tuple(part["enum"]) for _, part in parts(document) if len(part.get("enum", ())) > 1)
    of_an_entry = ("DEBIT", "CREDIT", "HOLD", "RELEASE", "STATUS")

    assert {names for names, times in lists.items() if times > 1} == {of_an_entry}
    named = {name for name, schema in document["components"]["schemas"].items() if "enum" in schema}
    assert named == {
        "AccountKind", "AccountStatus", "Currency", "DeliveredEventType", "DeliveryStatus", "EventType",
        "Language", "LetterFrequency", "MessageState", "SecurityLetterFrequency", "TransactionKind",
        "TransactionStatus", "UserRole", "WantedEventType", "WebhookStatus",
    }  # fmt: skip


def test_a_reference_that_may_be_null_says_so_beside_it(document: dict[str, Any]) -> None:
    for where, part in parts(document):
        if "anyOf" in part:
            references = [choice for choice in part["anyOf"] if "$ref" in choice]
            assert part["anyOf"] == [*references, NULL], where
            assert len(references) == 1, where


def test_a_currency_in_an_answer_may_be_one_that_is_no_longer_opened(document: dict[str, Any]) -> None:
    requests = of_requests(document)

    for name, schema in document["components"]["schemas"].items():
        currency = schema.get("properties", {}).get("currency")
        if currency is not None:
            assert ("CurrencyCode" in str(currency)) is (name not in requests), name
    assert "enum" not in document["components"]["schemas"]["CurrencyCode"]


def test_limits_are_on_what_they_limit(document: dict[str, Any]) -> None:
    for where, part in parts(document):
        types = str(part.get("type"))
        assert "string" in types or not part.keys() & {"maxLength", "minLength", "pattern"} or "type" not in part, where
        assert "object" not in types or not part.keys() & {"maxLength", "minLength"}, where


def test_a_required_password_is_required(document: dict[str, Any]) -> None:
    assert not [where for where, part in parts(document) if "writeOnly" in part or "readOnly" in part]
    assert document["components"]["schemas"]["Login"]["required"] == ["email", "password"]


def test_successes_come_before_refusals(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        statuses = list(operation["responses"])
        assert statuses == sorted(statuses), name
        assert statuses[0].startswith("2"), name


def test_every_posting_has_an_id(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    transaction = schemas["Posted"]["properties"]["transaction"]

    assert transaction == {"$ref": "#/components/schemas/Transaction"}
    assert schemas["Transaction"]["properties"]["id"]["type"] == "string"


def test_each_answer_declares_its_headers(document: dict[str, Any]) -> None:
    expected = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After", "201": "Location"}

    for name, operation in operations(document):
        is_keyed = any(parameter["name"] == "Idempotency-Key" for parameter in parameters(document, name))
        for status, response in operation["responses"].items():
            headers = {header: resolved(document, described) for header, described in response["headers"].items()}
            assert all(header["description"] and header["schema"] for header in headers.values()), name
            assert "X-Request-ID" in headers, name
            # A batch makes many things, and each has its own address.
            if status in expected and not (status == "201" and operation["operationId"] == "createBatch"):
                assert expected[status] in headers, (name, status)
            assert ("Idempotency-Replayed" in headers) is (is_keyed and status in ("200", "422")), (name, status)
    for kind in ("csv", "pdf"):
        file = document["paths"][f"/api/accounts/{{accountId}}/statement.{kind}"]["get"]["responses"]["200"]
        assert "Content-Disposition" in file["headers"]
        assert [content["schema"]["format"] for content in file["content"].values()] == ["binary"]


def test_each_answer_has_an_example_that_conforms(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status < "400" and JSON in response.get("content", {}):
                content = response["content"][JSON]
                assert_conforms(document, content["example"], content["schema"])
            else:
                assert status >= "204" or name.endswith((".csv", ".pdf", "/metrics")), name


def test_a_statement_is_json_and_its_files_have_calls_of_their_own(document: dict[str, Any]) -> None:
    statement = "GET /api/accounts/{accountId}/statement"
    answer = document["paths"][statement.split()[1]]["get"]["responses"]["200"]

    assert set(answer["content"]) == {JSON}
    assert "format" not in {parameter["name"] for parameter in parameters(document, statement)}


def test_a_statement_to_verify_names_each_member_of_a_statement(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    # Not every generated client sends what is not named, and a statement that lacks something is not genuine.
    assert schemas["ClaimedStatement"]["properties"].keys() == schemas["Statement"]["properties"].keys()


def test_a_body_that_may_be_left_out_may_be_null(document: dict[str, Any]) -> None:
    optional = {
        operation["operationId"]: operation["requestBody"]["content"][JSON]["schema"]
        for _, operation in operations(document)
        if "requestBody" in operation and not operation["requestBody"]["required"]
    }

    assert set(optional) == {"logout", "closeAccount"}
    assert all(NULL in schema["anyOf"] for schema in optional.values())


def test_a_problem_has_an_open_list_of_codes_and_a_batchs_index(document: dict[str, Any]) -> None:
    problem = document["components"]["schemas"]["Problem"]["properties"]

    assert problem["code"]["x-extensible-enum"] == sorted(PROBLEMS)
    assert "enum" not in problem["code"]
    assert problem["index"]["format"] == "int32"


def test_a_receipt_says_what_is_in_it(document: dict[str, Any]) -> None:
    receipt = document["components"]["schemas"]["SignedReceipt"]["properties"]["receipt"]
    header, payload = (resolved(document, part) for part in receipt["contentSchema"]["prefixItems"])

    assert {"alg", "kid", "typ"} == header["properties"].keys()
    assert {"iss", "sub", "iat", "transaction", "entries"} == payload["properties"].keys()
    assert "/.well-known/jwks.json" in document["paths"]


def test_an_example_of_invalid_fields_names_one_that_the_call_has_or_one_that_no_call_has(
    document: dict[str, Any],
) -> None:
    for name, operation in operations(document):
        example = operation["responses"]["422"]["content"]["application/problem+json"]["examples"]["validation_failed"]
        (field,) = example["value"]["errors"]
        own = {parameter["name"] for parameter in parameters(document, name)}
        if "requestBody" in operation:
            own |= set(resolved(document, _alone(operation["requestBody"]["content"][JSON]["schema"]))["properties"])
        assert field in own or field == "colour", name


def _alone(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the null beside it."""
    alone: dict[str, Any] = schema["anyOf"][0] if "anyOf" in schema else schema
    return alone
