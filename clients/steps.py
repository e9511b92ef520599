"""The steps of the journey.

Each step is a call from the API's description, with what it sends, the answer that it must get, and what later steps
need from that. `{{name}}` stands for a variable of the environment, and `{{#name}}` for one that is a number or JSON.
"""

from dataclasses import dataclass, field
from typing import Any

ID = "000000000000000000000000"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the journey.

    `token` names the variable with the bearer token, or is None for an open call. `keeps` maps variables to JavaScript
    that finds their values in the answer. `checks` are further conditions in JavaScript, where `body` is the answer.
    """

    name: str
    operation: str
    status: int
    body: Any = None
    token: str | None = "token"
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    keeps: dict[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    # Whether a new key is made before the request. A repeat uses the key of the previous request.
    new_key: bool = True


CURRENT, SAVINGS = {"accountId": "{{currentAccount}}"}, {"accountId": "{{savingsAccount}}"}
TRANSFER = {
    "fromAccount": "{{currentAccount}}",
    "toAccount": "{{benAccount}}",
    "amount": 500,
    "idempotencyKey": "{{key}}",
}
ITEM = {"fromAccount": "{{currentAccount}}", "toAccount": "{{savingsAccount}}", "amount": 1_000}
PAYEE = {"payeeId": "{{payeeId}}"}
TRANSACTION, HOLD = {"transactionId": "{{transferId}}"}, {"holdId": "{{holdId}}"}
SESSION = {"token": "body.token", "refreshToken": "body.refreshToken"}
TRANSACTION_ID = "body.transaction.id"


def says(member: str, value: str) -> str:
    return f'body.{member} === "{value}"'


def refused(code: str) -> tuple[str, ...]:
    return (says("code", code),)
