"""What the steps of the journey are made of.

Each step is a call of the API's description with what it sends, what has to be answered, and what later steps need of
it. `{{name}}` stands for a variable of the environment, and `{{#name}}` for one that is a number or JSON.
"""

from dataclasses import dataclass, field
from typing import Any

ID = "000000000000000000000000"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the journey.

    `token` names the variable with the bearer token; None: the call is open. `keeps` maps variables to where their
    values are in the answer, as JavaScript. `checks` are further conditions in JavaScript; `body` is the answer there.
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
    # Whether a new key is made before the request. A repeat has the key of the request before.
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
