"""One person is one user: spellings of addresses and passwords, visible names, and the upgrade of old ones."""

import unicodedata

import bcrypt
import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from app.addresses import normal_email
from app.auth import service
from app.mongo import Document
from app.mongo.migrations.version_2 import keep_spared_sessions, normalise_emails
from tests.clients import Answer
from tests.people import PASSWORD, Bank, Caller
from tests.upgrades import run_again

FORMS = [
    pytest.param("a@faß.de", ["a@xn--fa-hia.de", "A@FAß.de", "A@XN--FA-HIA.DE", " a@faß.de "], id="sharp s"),
    pytest.param("a@βόλος.example", ["a@xn--nxasmm1c.example", "A@ΒΌΛΟς.example"], id="final sigma"),
    pytest.param(
        "a@exämple.example",
        ["a@exa\u0308mple.example", "a@xn--exmple-cua.example", "A@EXÄMPLE.example"],
        id="NFD domain",
    ),
    pytest.param("é@fincore.example", ["e\u0301@fincore.example", "É@Fincore.Example"], id="local part"),
]


def register(bank: Bank, email: str, password: str = PASSWORD, name: str = "Asha Rao") -> Answer:
    return bank.anonymous.post("/api/auth/register", {"name": name, "email": email, "password": password})


@pytest.mark.parametrize(("email", "others"), FORMS)
def test_one_address_in_any_form_is_one_user(bank: Bank, email: str, others: list[str]) -> None:
    user = register(bank, email).body["user"]
    assert user["email"].partition("@")[2].isascii(), "Mail goes by what DNS has."
    for other in others:
        assert register(bank, other).code == "email_taken"
        assert bank.log_in(other).user == user
        found = bank.system.call("GET", f"/api/admin/users?q={quoted(other)}").body["users"]
        assert [one["id"] for one in found] == [user["id"]]


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.strip().encode())


def test_domains_that_only_an_older_standard_takes_for_one_are_two(bank: Bank) -> None:
    assert register(bank, "a@faß.de").status == 201
    assert register(bank, "a@fass.de").status == 201


def test_a_command_finds_a_user_by_any_form_of_the_address(app: Flask, bank: Bank) -> None:
    user = register(bank, "a@faß.de").body["user"]
    for form in ("a@faß.de", "A@XN--FA-HIA.DE", user["id"]):
        found = service.find_user(form)
        assert found is not None
        assert str(found["_id"]) == user["id"]


@pytest.mark.parametrize("local", ["=?utf-8?q??=", "=?utf-8?b?=2c", "=?utf-8?q?ceo=40bank.example=2C_x?="])
@pytest.mark.parametrize("path", ["register", "password/forgot"])
def test_an_encoded_word_is_no_address(bank: Bank, local: str, path: str) -> None:
    body = {"email": f"{local}@evil.example", "name": "Eve", "password": PASSWORD}
    answer = bank.anonymous.post(f"/api/auth/{path}", body if path == "register" else {"email": body["email"]})
    assert answer.code == "validation_failed"
    assert "email" in answer.body["errors"]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.text("abßσςΣéÉİ-.", min_size=1, max_size=8))
def test_the_normal_form_of_a_normal_form_is_itself(local: str, domain: str) -> None:
    email = normal_email(f"{local}@{domain}.example")
    assert email is None or normal_email(email) == email


def test_an_update_brings_addresses_to_the_one_form(bank: Bank, database: Database[Document]) -> None:
    register(bank, "a@faß.de")
    # As version 1 kept it.
    database.users.update_one({"email": "a@xn--fa-hia.de"}, {"$set": {"email": "a@faß.de"}})
    run_again(normalise_emails, database)
    run_again(normalise_emails, database)
    assert bank.log_in("a@faß.de").user["email"] == "a@xn--fa-hia.de"
    assert register(bank, "a@faß.de").code == "email_taken"


def test_an_update_keeps_the_session_that_a_change_of_the_password_spared(
    bank: Bank, database: Database[Document]
) -> None:
    person = bank.register()
    change = {"currentPassword": PASSWORD, "newPassword": "another long enough one"}
    assert person.call("PUT", "/api/auth/password", change).status == 200
    database.users.update_many({}, {"$unset": {"spared_session": ""}})
    run_again(keep_spared_sessions, database)
    assert Caller(bank.client, person.refresh_token).post("/api/auth/refresh").status == 200


@pytest.mark.parametrize(("chosen", "typed"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFKC", "NFKD")])
def test_a_password_is_one_however_a_keyboard_writes_it(bank: Bank, chosen: str, typed: str) -> None:
    password = "pässwörtér of Åsa ﬁ"
    assert register(bank, "a@fincore.example", unicodedata.normalize(chosen, password)).status == 201  # type: ignore[arg-type]
    assert bank.log_in("a@fincore.example", unicodedata.normalize(typed, password))  # type: ignore[arg-type]


def test_the_bytes_of_a_password_are_counted_after_nfkc(bank: Bank) -> None:
    assert register(bank, "a@fincore.example", "e\u0301" * 36).status == 201, "72 bytes, typed as 108."
    assert register(bank, "b@fincore.example", "\ufdfa" * 3).code == "validation_failed", "9 bytes become 99."
    assert register(bank, "c@fincore.example", "e\u0301" * 400).code == "validation_failed"


@pytest.mark.parametrize("password", ["pa\u0308ssword, typed so", "\ufdfa" * 3])
def test_a_hash_of_a_password_as_it_was_typed_still_lets_in(
    bank: Bank, database: Database[Document], password: str
) -> None:
    user = register(bank, "a@fincore.example").body["user"]
    old = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    database.users.update_one({"email": user["email"]}, {"$set": {"password_hash": old}})
    assert bank.log_in("a@fincore.example", password)
    assert bank.log_in("a@fincore.example", password), "Also after the hash was made anew."


def test_a_long_text_in_place_of_a_password_takes_no_long_time(bank: Bank) -> None:
    # Marks that are put in order one by one: quadratic time, were the text normalised.
    body = {"email": "a@fincore.example", "password": "a" + "\u0316\u0301" * 40_000}
    assert bank.anonymous.post("/api/auth/login", body).code == "invalid_credentials"


INVISIBLE = [
    "\u200b",
    "\u00ad",
    "\ufe0f",
    "\u3164",
    "\u2800",
    "\u115f\u1160",
    "\uffa0",
    "\u3000 \u200d",
    "\u0301",
    "\u034f",
]
REORDERING = ["a\u202eb", "a\u202db", "\u202aa\u202c", "\u2066a\u2069", "\u2067a"]


@pytest.mark.parametrize("name", [*INVISIBLE, *REORDERING])
def test_a_name_shows_and_shows_as_it_is_stored(bank: Bank, name: str) -> None:
    assert "name" in register(bank, "a@fincore.example", name=name).body["errors"]
    person = bank.register()
    assert person.patch("/api/auth/me", {"name": name}).code == "validation_failed"
    assert person.post("/api/accounts/create", {"currency": "INR", "name": name}).code == "validation_failed"


@pytest.mark.parametrize("name", ["आशा राव", "عائشة", "אָשָׁה", "李小龍", "👩\u200d🚀", "Zoë\u200b", "\u200fعائشة"])
def test_a_name_of_any_script_is_one(bank: Bank, name: str) -> None:
    assert register(bank, "a@fincore.example", name=name).body["user"]["name"] == name


def test_a_user_changes_the_name(bank: Bank) -> None:
    person = bank.register("Asha Rao")
    answer = person.patch("/api/auth/me", {"name": "Asha Iyer"})
    assert (answer.status, answer.body) == (200, {"user": {**person.user, "name": "Asha Iyer"}})
    assert person.get("/api/auth/me").body == answer.body
    found = bank.system.get("/api/admin/users?q=asha%20iy").body["users"]
    assert person.id in {user["id"] for user in found}
    assert person.patch("/api/auth/me", {}).code == "validation_failed"
    assert person.patch("/api/auth/me", {"name": "A", "role": "ADMIN"}).code == "validation_failed"
    assert bank.anonymous.patch("/api/auth/me", {"name": "A"}).code == "token_missing"
