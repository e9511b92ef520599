"""Bad input: it is refused with the right code, and nothing changes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from tests.background import settle
from tests.clients import Answer, InProcess
from tests.conftest import only_the_system_user
from tests.people import PASSWORD, Bank, Caller, new_key

BACKSLASH_U = "\\u"


class Scene:
    """Everybody and everything that the calls below need, and a look at whether anything changed."""

    def __init__(self, bank: Bank, database: Database[Document]) -> None:
        self.database = database
        self.anonymous = bank.anonymous
        self.system = bank.system
        self.person, self.account = bank.customer(1_000_000)
        _, self.other = bank.customer()

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        settle()
        before = self._contents()
        yield
        assert self._contents() == before

    def _contents(self) -> dict[str, str]:
        """Return a hash of each collection."""
        hashes: dict[str, str] = self.database.command("dbHash")["collections"]
        return hashes

    def call(self, name: str) -> tuple[Caller, str, str, dict[str, Any]]:
        """Return who calls, how, and a body that would be accepted."""
        email = self.person.user["email"]
        transfer = {
            "fromAccount": self.account,
            "toAccount": self.other,
            "amount": 100,
            "idempotencyKey": new_key(),
            "description": "Rent",
            "metadata": {"invoice": "7"},
        }
        funds = {name: transfer[name] for name in ("toAccount", "amount", "idempotencyKey", "description")}
        registration = {"name": "Ravi Iyer", "email": f"{new_key()}@fincore.example", "password": PASSWORD}
        calls: dict[str, tuple[Caller, str, str, dict[str, Any]]] = {
            "register": (self.anonymous, "POST", "/api/auth/register", registration),
            "login": (self.anonymous, "POST", "/api/auth/login", {"email": email, "password": PASSWORD}),
            "open": (self.person, "POST", "/api/accounts/create", {"currency": "INR", "name": "Savings"}),
            "rename": (self.person, "PATCH", f"/api/accounts/{self.account}", {"name": "Savings"}),
            "transfer": (self.person, "POST", "/api/transactions/create", transfer),
            "fund": (self.system, "POST", "/api/transactions/initial-funds", funds),
        }
        return calls[name]

    def send(self, call: str, /, headers: dict[str, str] | None = None, **changes: Any) -> Answer:
        """Make the call with fields added or replaced; a field changed to ... is left out."""
        caller, method, path, body = self.call(call)
        changed = {field: value for field, value in {**body, **changes}.items() if value is not ...}
        return caller.call(method, path, changed, headers=headers)

    def send_raw(self, call: str, data: bytes, content_type: str = "application/json") -> Answer:
        caller, method, path, _ = self.call(call)
        return caller.call(method, path, data=data, content_type=content_type)

    def refuses(self, call: str, /, *fields: str, **changes: Any) -> None:
        """Insist that the changed call is refused for these fields, by default those changed."""
        with self.nothing_changes():
            answer = self.send(call, **changes)
        assert (answer.status, answer.code) == (422, "validation_failed"), answer.content
        assert set(answer.body["errors"]) == set(fields or changes.keys() - {"headers"}), answer.content

    def accepts(self, call: str, /, headers: dict[str, str] | None = None, **changes: Any) -> None:
        answer = self.send(call, headers, **changes)
        assert answer.status in (200, 201), answer.content


@pytest.fixture(scope="module")
def scene(app: Flask, admin_database: Database[Document]) -> Iterator[Scene]:
    """One scene for hundreds of calls, as hardly one of them changes anything."""
    with only_the_system_user(admin_database) as database:
        yield Scene(Bank(InProcess(app)), database)


CALLS = ["register", "login", "open", "rename", "transfer", "fund"]
STRINGS = [
    ("register", "name"), ("register", "email"), ("register", "password"), ("login", "email"), ("login", "password"),
    ("open", "currency"), ("open", "name"), ("rename", "name"), ("transfer", "fromAccount"), ("transfer", "toAccount"),
    ("transfer", "idempotencyKey"), ("transfer", "description"), ("fund", "toAccount"), ("fund", "idempotencyKey"),
    ("fund", "description"),
]  # fmt: skip
REQUIRED = [
    ("register", "name"), ("register", "email"), ("register", "password"), ("login", "email"), ("login", "password"),
    ("rename", "name"), ("transfer", "fromAccount"), ("transfer", "toAccount"), ("transfer", "amount"),
    ("transfer", "idempotencyKey"), ("fund", "toAccount"), ("fund", "amount"), ("fund", "idempotencyKey"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_the_calls_of_this_module_are_accepted_as_they_are(scene: Scene, call: str) -> None:
    scene.accepts(call)


@pytest.mark.parametrize("value", [{"$ne": 1}, {"$gt": ""}, {"$regex": ".*"}, ["x"], 5, True], ids=str)
@pytest.mark.parametrize(("call", "field"), STRINGS)
def test_what_is_no_string_is_refused(scene: Scene, call: str, field: str, value: Any) -> None:
    scene.refuses(call, **{field: value})


@pytest.mark.parametrize(("call", "field"), REQUIRED)
def test_what_is_missing_is_refused(scene: Scene, call: str, field: str) -> None:
    scene.refuses(call, **{field: ...})
    scene.refuses(call, **{field: None})


@pytest.mark.parametrize("field", ["ammount", "role", "user", "balance", "status", "$where", "_id", "__proto__"])
@pytest.mark.parametrize("call", CALLS)
def test_unknown_fields_are_refused(scene: Scene, call: str, field: str) -> None:
    scene.refuses(call, **{field: "ADMIN"})


AMOUNTS_NO_AMOUNT = [
    "0", "-0", "-1", "-500", str(2**53), str(2**63), str(2**64), str(10**30), "-" + str(10**30), "5.0", "500.5", "0.0",
    "1e3", "1E3", "1e-3", "1.0e3", '"500"', '""', "true", "false", "null", "[500]", "{}", '{"$gt":0}',
]  # fmt: skip
AMOUNTS_NO_JSON = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "9" * 5_000, "05", "+5", ".5", "5.", "0x10", "1_000",
    "5,0", "", "'5'",
]  # fmt: skip


def with_raw_amount(scene: Scene, call: str, amount: str) -> Answer:
    _, _, _, body = scene.call(call)
    return scene.send_raw(call, json.dumps({**body, "amount": "@"}).replace('"@"', amount).encode())


@pytest.mark.parametrize("amount", AMOUNTS_NO_AMOUNT)
@pytest.mark.parametrize("call", ["transfer", "fund"])
def test_an_amount_is_a_whole_number_of_minor_units(scene: Scene, call: str, amount: str) -> None:
    with scene.nothing_changes():
        answer = with_raw_amount(scene, call, amount)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert set(answer.body["errors"]) == {"amount"}


@pytest.mark.parametrize("amount", AMOUNTS_NO_JSON, ids=lambda amount: amount[:12] or "nothing")
def test_an_amount_that_no_json_reader_takes_is_malformed(scene: Scene, amount: str) -> None:
    with scene.nothing_changes():
        answer = with_raw_amount(scene, "transfer", amount)

    assert (answer.status, answer.code) == (400, "malformed_json")


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "half an object": b'{"name": "a"',
    "two documents": b'{"name":"a"}{"name":"b"}',
    "something after it": b'{"name":"a"} x',
    "single quotes": b"{'name':'a'}",
    "a trailing comma": b'{"name":"a",}',
    "a comment": b'{"name":"a" /* b */}',
    "a name twice": b'{"name":"a","name":"b"}',
    "a name twice, once escaped": b'{"name":"a","n' + BACKSLASH_U.encode() + b'0061me":"b"}',
    "a name twice further in": b'{"name":{"x":1,"x":2}}',
    "a line break in a string": b'{"name":"a\nb"}',
    "invalid UTF-8": b'{"name":"\xff\xfe"}',
    "an overlong NUL": b'{"name":"\xc0\x80"}',
    "a surrogate in UTF-8": b'{"name":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"name":"' + BACKSLASH_U.encode() + b'd800"}',
    "surrogates the wrong way round": b'{"name":"' + BACKSLASH_U.encode() + b"dc00" + BACKSLASH_U.encode() + b'd800"}',
    "UTF-16": '{"name":"a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name":"a"}',
    "nested 990 deep": b'{"name":' + b"[" * 990 + b"]" * 990 + b"}",
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 50,000 deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a form": b"name=a",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("call", ["register", "rename"])
def test_a_body_that_is_not_one_json_document_is_malformed(scene: Scene, call: str, body: bytes) -> None:
    with scene.nothing_changes():
        answer = scene.send_raw(call, body)

    assert (answer.status, answer.code) == (400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b'[{"name":"a"}]', b'"name"', b"5", b"null", b"true"])
@pytest.mark.parametrize("call", CALLS)
def test_a_body_that_is_no_object_is_refused(scene: Scene, call: str, body: bytes) -> None:
    with scene.nothing_changes():
        answer = scene.send_raw(call, body)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert set(answer.body["errors"]) == {"body"}


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_body_of_another_type_is_unsupported(scene: Scene, call: str, content_type: str) -> None:
    _, _, _, body = scene.call(call)

    with scene.nothing_changes():
        answer = scene.send_raw(call, json.dumps(body).encode(), content_type)

    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data"])
@pytest.mark.parametrize("call", CALLS)
def test_a_body_of_a_megabyte_is_too_large(scene: Scene, call: str, content_type: str) -> None:
    with scene.nothing_changes():
        answer = scene.send_raw(call, b'{"name":"' + b"x" * 2**20 + b'"}', content_type)

    assert (answer.status, answer.code) == (413, "body_too_large")


METADATA: dict[str, Any] = {
    "21 members": {str(number): "x" for number in range(21)},
    "a key of 41": {"k" * 41: "x"},
    "an empty key": {"": "x"},
    "a blank key": {" ": "x"},
    "a value of 201": {"k": "x" * 201},
    "an object within": {"k": {"$ne": "1"}},
    "a list within": {"k": ["x"]},
    "a number": {"k": 5},
    "a boolean": {"k": True},
    "null": {"k": None},
    "a NUL in a key": {"k\0": "x"},
    "a NUL in a value": {"k": "\0"},
    "a line break": {"k": "a\nb"},
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA.keys())
def test_metadata_is_a_flat_object_of_few_short_strings(scene: Scene, metadata: dict[str, Any]) -> None:
    with scene.nothing_changes():
        answer = scene.send("transfer", metadata=metadata)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert all(field.split(".")[0] == "metadata" for field in answer.body["errors"])


@pytest.mark.parametrize("metadata", ["x", 5, True, [], [["k", "x"]]], ids=str)
def test_metadata_is_an_object(scene: Scene, metadata: Any) -> None:
    scene.refuses("transfer", metadata=metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {f"{number:040}": "x" * 200 for number in range(20)},
        {"k": "", "$ne": "1", "$where": "2", "a.b": "3", "_id": "4", "₹": "東京 🙂"},
    ],
    ids=["none", "the most", "any characters"],
)
def test_metadata_within_its_limits_is_kept_as_it_is(scene: Scene, metadata: dict[str, str]) -> None:
    transaction = scene.send("transfer", metadata=metadata).body["transaction"]

    assert transaction["metadata"] == metadata
    assert scene.person.get(f"/api/transactions/{transaction['id']}").body["transaction"]["metadata"] == metadata


LINES: list[tuple[str, str]] = [
    ("register", "name"), ("open", "name"), ("rename", "name"), ("transfer", "description"), ("fund", "description")
]  # fmt: skip
CONTROLS = ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize(("call", "field"), LINES)
def test_a_line_of_text_has_no_control_characters(scene: Scene, call: str, field: str, control: str) -> None:
    scene.refuses(call, **{field: f"a{control}b"})


@pytest.mark.parametrize("call", ["transfer", "fund"])
def test_a_description_has_at_most_200_characters(scene: Scene, call: str) -> None:
    scene.refuses(call, description="x" * 201)
    scene.accepts(call, description="₹" * 200)


@pytest.mark.parametrize("call", ["register", "open", "rename"])
def test_a_name_has_1_to_100_characters_and_not_only_blanks(scene: Scene, call: str) -> None:
    for name in ("", " ", "\u3000", "x" * 101):
        scene.refuses(call, name=name)


@pytest.mark.parametrize("name", ["x", "₹" * 100, "Ann-Sofie O'Neill", "<b>Łódź & 東京</b> 🙂", "$where"], ids=len)
@pytest.mark.parametrize("call", ["register", "open", "rename"])
def test_a_name_within_its_limits_is_kept_as_it_is(scene: Scene, call: str, name: str) -> None:
    body = scene.send(call, name=name).body

    assert (body.get("account") or body.get("user"))["name"] == name


@pytest.mark.parametrize(
    "password",
    ["", "x" * 7, "₹" * 2, "x" * 73, "₹" * 24 + "x", "🙂" * 19, "secret\0 8", "\0" * 8],
    ids=["0", "7", "6 in 2", "73", "73 in 25", "76 in 19", "a NUL", "only NULs"],
)
def test_a_password_has_8_to_72_bytes_and_no_nul(scene: Scene, password: str) -> None:
    scene.refuses("register", password=password)


@pytest.mark.parametrize(
    "password",
    ["x" * 8, "₹₹xx", "x" * 72, "₹" * 24, "🙂" * 18, " blank ", "tab\tand\nline"],
    ids=["8", "8 in 4", "72", "72 in 24", "72 in 18", "blanks around it", "control characters"],
)
def test_a_password_within_its_limits_logs_in(scene: Scene, password: str) -> None:
    password = password if len(password.encode()) >= 8 else password * 2
    email = scene.send("register", password=password).body["user"]["email"]

    scene.accepts("login", email=email, password=password)


@pytest.mark.parametrize(
    "email",
    [
        "", " ", "asha", "@fincore.example", "asha@", "a b@fincore.example", "asha@fincore", "asha@@fincore.example",
        "asha@fincore.example\0", "a\nb@fincore.example", "asha@-fincore.example",
        "asha@" + "x" * 250 + ".example", "Asha <asha@fincore.example>", "asha@fincore.example, b@fincore.example",
    ],
)  # fmt: skip
def test_what_is_no_email_cannot_be_registered(scene: Scene, email: str) -> None:
    scene.refuses("register", email=email)


@pytest.mark.parametrize("domain", ["bank.test", "corp.local", "host.localhost", "bücher.example", "a.b.c.example.com"])
def test_an_email_of_any_domain_can_be_registered(scene: Scene, domain: str) -> None:
    email = f"{new_key()}@{domain}"

    scene.accepts("register", email=email)
    scene.accepts("login", email=f" {email.upper()} ")


UNPRINTABLE = ["a\nb", "a\tb", "a\0b", "a\x7fb", "a\u2028b", "a\u200bb", "a\u00a0b"]


@pytest.mark.parametrize("key", ["", "x" * 256, *UNPRINTABLE], ids=lambda key: ascii(key)[:12])
@pytest.mark.parametrize("call", ["transfer", "fund"])
def test_a_key_in_the_body_has_1_to_255_printable_characters(scene: Scene, call: str, key: str) -> None:
    scene.refuses(call, idempotencyKey=key)


@pytest.mark.parametrize(
    "header", ["", "x" * 256, "a\tb", "a\x7fb", "ÿ", "a\u00a0b", "€".encode().decode("latin-1") * 256],
    ids=["nothing", "256", "a tab", "a delete", "no UTF-8", "a Latin-1 blank", "256 in UTF-8"],
)  # fmt: skip
@pytest.mark.parametrize("call", ["transfer", "fund"])
def test_a_key_in_the_header_has_1_to_255_printable_characters(scene: Scene, call: str, header: str) -> None:
    scene.refuses(call, "Idempotency-Key", headers={"Idempotency-Key": header}, idempotencyKey=...)


@pytest.mark.parametrize("key", ["x", "x" * 255, "₹" * 255, "with blanks", '{"$ne": 1}'])
def test_a_key_within_its_limits_is_accepted(scene: Scene, key: str) -> None:
    scene.accepts("transfer", idempotencyKey=key)


@pytest.mark.parametrize("account", ["", "0" * 23, "0" * 25, "g" * 24, " " + "0" * 23, "0" * 24 + "\n", "０" * 24])
@pytest.mark.parametrize(
    ("call", "field"), [("transfer", "fromAccount"), ("transfer", "toAccount"), ("fund", "toAccount")]
)
def test_an_id_has_24_hexadecimal_digits(scene: Scene, call: str, field: str, account: str) -> None:
    scene.refuses(call, **{field: account})


@pytest.mark.parametrize("currency", ["", "inr", "IN", "INRR", "RUPEE", "XAU", "XXX", "XTS", "₹", " INR", "INR\0"])
def test_a_currency_is_an_iso_4217_code_with_a_minor_unit(scene: Scene, currency: str) -> None:
    scene.refuses("open", currency=currency)


def test_every_wrong_field_is_named_at_once(scene: Scene) -> None:
    scene.refuses("transfer", amount=0, toAccount="x", description="x" * 201, unknown=1)


@pytest.mark.parametrize("query", ["?account[$ne]=1", "?%00=%ff", "?a=1&a=2", "?a", "?=", "?%ed%a0%80=1"])
def test_queries_that_nobody_asked_for_are_refused(scene: Scene, query: str) -> None:
    with scene.nothing_changes():
        answer = scene.person.get(f"/api/accounts/{scene.account}{query}")

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert len(answer.body["errors"]) == 1
