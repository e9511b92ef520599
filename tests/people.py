"""The people who use the bank under test, each a caller of the API."""

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.clients import Answer, Client

PASSWORD = "a long enough password"
SYSTEM_EMAIL = "system@fincore.example"

_numbers = itertools.count()


@dataclass
class Caller:
    """Somebody who calls the API: anonymous, or with a token."""

    client: Client
    token: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send `body` as JSON, or `data` as it is."""
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", content_type)
        return self.client.send(method, path, sent, data)

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("POST", path, body, **kwargs)

    def put(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("PUT", path, body, **kwargs)

    def patch(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("PATCH", path, body, **kwargs)


@dataclass
class Person(Caller):
    """A registered user with a session."""

    user: dict[str, Any] = field(default_factory=dict)
    refresh_token: str = ""

    @property
    def id(self) -> str:
        user_id: str = self.user["id"]
        return user_id

    def open_account(self, currency: str = "INR", name: str | None = None) -> str:
        """Open an account and return its id."""
        answer = self.post("/api/accounts/create", {"currency": currency, "name": name})
        assert answer.status == 201, answer.content
        account_id: str = answer.body["account"]["id"]
        return account_id

    def number_of(self, account: str) -> str:
        """Return the number of an account that this person may read."""
        answer = self.get(f"/api/accounts/{account}")
        assert answer.status == 200, answer.content
        number: str = answer.body["account"]["number"]
        return number

    def transfer(self, payer: str, payee: str, amount: int, key: str | None = None, **more: Any) -> Answer:
        body = {"fromAccount": payer, "toAccount": payee, "amount": amount, "idempotencyKey": key or new_key(), **more}
        return self.post("/api/transactions/create", body)

    def balance(self, account: str) -> int:
        answer = self.get(f"/api/accounts/{account}/balance")
        assert answer.status == 200, answer.content
        balance: int = answer.body["balance"]
        return balance


class Bank:
    """The bank under test, with its system user."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.anonymous = Caller(client)
        self.system = self.log_in(SYSTEM_EMAIL)

    def register(self, name: str = "Asha Rao", email: str | None = None) -> Person:
        email = email or f"person-{next(_numbers)}-{new_key()}@fincore.example"
        return self._session("/api/auth/register", {"name": name, "email": email, "password": PASSWORD})

    def log_in(self, email: str, password: str = PASSWORD) -> Person:
        return self._session("/api/auth/login", {"email": email, "password": password})

    def fund(self, account: str, amount: int, key: str | None = None) -> Answer:
        """Credit initial funds, which must succeed."""
        body = {"toAccount": account, "amount": amount, "idempotencyKey": key or new_key()}
        answer = self.system.post("/api/transactions/initial-funds", body)
        assert answer.status in (200, 201), answer.content
        return answer

    def customer(self, amount: int = 0, currency: str = "INR") -> tuple[Person, str]:
        """Return a new user and an account of theirs with this balance."""
        person = self.register()
        account = person.open_account(currency)
        if amount:
            self.fund(account, amount)
        return person, account

    def administrator(self, role: str = "ADMIN") -> Person:
        """Return a new user with this role."""
        person = self.register("Olga Admin")
        answer = self.system.patch(f"/api/admin/users/{person.id}/role", {"role": role})
        assert answer.status == 200, answer.content
        return person

    def _session(self, path: str, body: dict[str, str]) -> Person:
        answer = self.anonymous.post(path, body)
        assert answer.status in (200, 201), answer.content
        session = answer.body
        return Person(self.client, session["token"], session["user"], session["refreshToken"])


def new_key() -> str:
    """Return an idempotency key that nobody has used."""
    return f"key-{threading.get_ident()}-{next(_numbers)}"
