"""Read by schemathesis: who it is, which ids exist, and where our contract says more than JSON Schema can."""

import itertools
import os
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from stdnum.iso7064 import mod_97_10

from app.account_numbers import PATTERN, PREFIX
from app.fields import is_visible
from tests.clients import Answer, OverHttp
from tests.people import PASSWORD, Caller

Case = schemathesis.Case[Any]
_ID = re.compile(r"[0-9a-fA-F]{24}")
_NUMBER = re.compile(PATTERN)
_client = OverHttp(int(os.environ["ATTACKER_PORT"]))
_numbers = itertools.count()
_PAYER, _PAYEE, _TRANSACTION, _USER = os.environ["ATTACKER_IDS"].split(",")
_IDS_BY_PATH = {"/accounts/": [_PAYER, _PAYEE], "/transactions/": [_TRANSACTION], "/users/": [_USER]}
_IDS_BY_FIELD = {"fromAccount": [_PAYER], "toAccount": [_PAYEE, _PAYER]}

# Rules that no schema can express: a key that comes here or there, limits that count bytes, a list of 30,000, times
# that depend on one another or on when an account was opened, and cursors that only the API itself can make.
_BEYOND_SCHEMA = {"idempotencyKey", "password", "newPassword", "at", "from", "to"}
_NEW_PASSWORDS = {"password", "newPassword"}

schemathesis.openapi.format("email", st.from_regex(r"[a-z]{1,12}\.[0-9]{1,6}@fincore\.example", fullmatch=True))


def _session(path: str, body: dict[str, str]) -> dict[str, Any]:
    answer: Answer = Caller(_client).post(path, body)
    assert answer.status in (200, 201), answer.content
    session: dict[str, Any] = answer.body
    return session


def _somebody() -> dict[str, Any]:
    email = f"bystander-{os.getpid()}-{next(_numbers)}@fincore.example"
    return _session("/api/auth/register", {"name": "By Stander", "email": email, "password": PASSWORD})


_attacker = _session("/api/auth/login", {"email": os.environ["ATTACKER_EMAIL"], "password": PASSWORD})


@schemathesis.auth(refresh_interval=None)
class Session:
    """The attacker's access token, and a throw-away one for the calls that end or continue a session."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        path = context.operation.path
        if path.endswith("/refresh"):
            return str(_somebody()["refreshToken"])
        session = _somebody() if path.endswith(("/logout", "/auth/password")) else _attacker
        return str(session["token"])

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let every second well-formed id in a path be one that exists."""
    for part, ids in _IDS_BY_PATH.items():
        if path_parameters and part in context.operation.path:
            return {name: _existing(value, ids) for name, value in path_parameters.items()}
    return path_parameters


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _mapped(body)


def _mapped(body: Any) -> Any:
    """Let every second well-formed id be one that exists. To JSON Schema 5.0 is an integer, to us it is none."""
    if isinstance(body, list):
        return [_mapped(member) for member in body]
    if not isinstance(body, dict):
        return int(body) if isinstance(body, float) and body.is_integer() else body
    if isinstance(body.get("currentPassword"), str) and len(body["currentPassword"]) % 2:
        body = {**body, "currentPassword": PASSWORD}
    return {
        _shown(name): _existing(_shown(_mapped(value)), _IDS_BY_FIELD.get(name, [])) for name, value in body.items()
    }


@schemathesis.hook
def before_call(context: Any, case: Case, kwargs: dict[str, Any]) -> None:
    """Let most valid requests keep the rules that their schema cannot tell them, too."""
    if not _is_valid(case):
        return
    for part in ("query", "body"):
        given = getattr(case, part)
        # Schemathesis judges a case again when a part is assigned, so only changed parts are assigned.
        if (checked := _with_check_digits(given)) != given:
            setattr(case, part, checked)
    if not isinstance(case.body, dict):
        return
    number = next(_numbers)
    for name in _NEW_PASSWORDS & case.body.keys():
        case.body[name] = f"long enough, the {number}th"
    if "amount" in case.body or "transfers" in case.body:
        case.headers.pop("Idempotency-Key", None)
        case.body["idempotencyKey"] = f"attack-{os.getpid()}-{number - number % 4}"


def _with_check_digits(value: Any) -> Any:
    """Let all that looks like an account number, however it is written, have its check digits: no pattern has them."""
    if isinstance(value, list):
        return [_with_check_digits(member) for member in value]
    if isinstance(value, dict):
        return {name: _with_check_digits(member) for name, member in value.items()}
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    digits = re.sub(r"[^0-9]", "", value)[2:]
    right = iter(mod_97_10.calc_check_digits(digits + PREFIX) + digits)
    return re.sub(r"[0-9]", lambda _: next(right), value)


def _shown(value: Any) -> Any:
    """Let a text that shows nothing, such as one of joiners alone, show something: no pattern lists all of those."""
    return f"{value}x" if isinstance(value, str) and value.strip() and not any(map(is_visible, value)) else value


def _is_valid(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _existing(value: Any, ids: list[str]) -> Any:
    if not ids or not isinstance(value, str) or not _ID.fullmatch(value) or int(value[-1], 16) % 2:
        return value
    return ids[int(value[-2], 16) % len(ids)]


@schemathesis.check
def valid_data_is_understood(ctx: Any, response: schemathesis.Response, case: Case) -> None:
    """In place of positive_data_acceptance, which knows statuses only.

    A 422 for a business reason is an answer to a valid request, a 422 for its form is not.
    """
    if not _is_valid(case):
        return
    if response.status_code not in (400, 415, 422):
        return
    problem = response.json()
    if problem["code"] in ("malformed_json", "unsupported_media_type") or (
        problem["code"] == "validation_failed" and not _BEYOND_SCHEMA.issuperset(problem["errors"])
    ):
        raise AssertionError(f"A valid request was refused for its form: {response.text}")
