"""The requests and answers of the account routes."""

from marshmallow import fields, validate

from app.fields import CamelSchema, CurrencyCode, Id, IdempotencyKey, Line, Money, UtcDateTime
from app.ledger.records import AccountKind, AccountStatus

NAME_LENGTH_MAX = 100
REASON_LENGTH_MAX = 200


class AccountSchema(CamelSchema):
    """An account, without its money."""

    id = Id(attribute="_id", required=True)
    name = fields.String(required=True, allow_none=True)
    currency = CurrencyCode(required=True)
    status = fields.String(required=True, validate=validate.OneOf([status.value for status in AccountStatus]))
    created_at = UtcDateTime(required=True)
    user_id = Id(attribute="user", metadata={"description": "The owner; null: the bank. Shown to administrators only."})
    kind = fields.String(
        validate=validate.OneOf([kind.value for kind in AccountKind]),
        metadata={"description": "Shown to administrators only."},
    )


class AccountWithBalanceSchema(AccountSchema):
    """An account with its money, in minor units."""

    balance = Money(required=True)
    available_balance = Money(required=True, metadata={"description": "The balance minus the amounts on hold."})


class AccountAnswerSchema(CamelSchema):
    account = fields.Nested(AccountSchema, required=True)


class AccountListSchema(CamelSchema):
    accounts = fields.List(fields.Nested(AccountWithBalanceSchema), required=True)


class BalanceSchema(CamelSchema):
    """A balance, and the entry from which it was read."""

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
    currency = CurrencyCode()
    name = Line(length_min=1, length_max=NAME_LENGTH_MAX)
    idempotency_key = IdempotencyKey(metadata={"description": "A repeat with the same key gets the same account."})


class RenameAccountSchema(CamelSchema):
    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)


class CloseAccountSchema(CamelSchema):
    may_be_absent = True

    reason = Line(length_min=1, length_max=REASON_LENGTH_MAX)
