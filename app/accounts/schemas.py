"""The requests and answers of the account routes."""

from typing import Any

from marshmallow import fields

from app.fields import CamelSchema, Choice, Currency, CurrencyCode, Id, IdempotencyKey, Line, Money, UtcDateTime
from app.ledger.records import AccountKind, AccountStatus

NAME_LENGTH_MAX = 100
REASON_LENGTH_MAX = 200

EXAMPLE_NUMBER = "FC13483920175634"
EXAMPLE_ACCOUNT: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f601234567",
    "number": EXAMPLE_NUMBER,
    "name": "Savings",
    "currency": "INR",
    "status": "ACTIVE",
    "createdAt": "2026-11-02T09:30:00.000Z",
}
EXAMPLE_BALANCES = {"balance": 95_000, "availableBalance": 80_000}
# What an administrator sees in addition.
EXAMPLE_OWNER = {"userId": "6560a1b2c3d4e5f601230001", "kind": "CUSTOMER"}


class AccountStatusName(Choice):
    """The status of an account."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(AccountStatus, named="AccountStatus", **kwargs)


class AccountKindName(Choice):
    """The kind of an account."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(AccountKind, named="AccountKind", **kwargs)


class Number(fields.String):
    """The number of an account, which people pay to."""

    def __init__(self, **kwargs: Any) -> None:
        # The previous release opens accounts without a number, until it is gone and `flask db finish` has run.
        metadata = {
            "description": "FC and 14 digits, the first two of which check the others. Null only while an upgrade from "
            "a release without numbers is under way."
        }
        super().__init__(required=True, allow_none=True, dump_default=None, metadata=metadata, **kwargs)


class AccountSchema(CamelSchema):
    """An account, without its money."""

    id = Id(attribute="_id", required=True)
    number = Number()
    name = fields.String(required=True, allow_none=True)
    currency = CurrencyCode(required=True)
    status = AccountStatusName(required=True)
    created_at = UtcDateTime(required=True)
    user_id = Id(attribute="user", metadata={"description": "The owner; null: the bank. Shown to administrators only."})
    kind = AccountKindName(metadata={"description": "Shown to administrators only."})


class AccountWithBalanceSchema(AccountSchema):
    """An account with its money, in minor units."""

    balance = Money(required=True)
    available_balance = Money(required=True, metadata={"description": "The balance minus the amounts on hold."})


class AccountAnswerSchema(CamelSchema):
    """An account."""

    example = {"account": EXAMPLE_ACCOUNT}

    account = fields.Nested(AccountSchema, required=True)


class AccountListSchema(CamelSchema):
    """All accounts of a user."""

    example = {"accounts": [{**EXAMPLE_ACCOUNT, **EXAMPLE_BALANCES}]}

    accounts = fields.List(fields.Nested(AccountWithBalanceSchema), required=True)


class AccountBalanceSchema(CamelSchema):
    """A balance, and the entry from which it was read."""

    example = {
        "accountId": EXAMPLE_ACCOUNT["id"],
        "currency": "INR",
        **EXAMPLE_BALANCES,
        "sequence": 3,
        "asOf": "2026-11-22T16:00:00.123Z",
    }

    account_id = Id(required=True)
    currency = CurrencyCode(required=True)
    balance = Money(required=True)
    available_balance = Money(required=True)
    sequence = fields.Integer(required=True, metadata={"description": "Of the entry with this balance."})
    as_of = UtcDateTime(required=True)
    final = fields.Boolean(
        metadata={
            "description": "For a balance at a given time: whether it can no longer change. In the last 60 seconds, "
            "entries may still be added."
        }
    )


class BalanceQuerySchema(CamelSchema):
    at = UtcDateTime(
        metadata={
            "description": "The balance at this time, after all entries of its millisecond; at most 10 s in the future."
        }
    )


class CreateAccountSchema(CamelSchema):
    """An account to open. Without a currency, it has the bank's own."""

    currency = Currency()
    name = Line(length_min=1, length_max=NAME_LENGTH_MAX)
    idempotency_key = IdempotencyKey(metadata={"description": "A repeat with the same key gets the same account."})


class RenameAccountSchema(CamelSchema):
    """The new name of an account."""

    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)


class CloseAccountSchema(CamelSchema):
    """Why an account is closed."""

    may_be_absent = True

    reason = Line(length_min=1, length_max=REASON_LENGTH_MAX)
