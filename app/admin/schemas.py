"""The requests and answers of the admin routes."""

from typing import Any

from marshmallow import fields

from app.accounts.schemas import (
    EXAMPLE_ACCOUNT,
    EXAMPLE_BALANCES,
    EXAMPLE_OWNER,
    REASON_LENGTH_MAX,
    AccountKindName,
    AccountStatusName,
    AccountWithBalanceSchema,
)
from app.auth.schemas import EXAMPLE_USER, RoleName, UserSchema
from app.fields import CamelSchema, Currency, CurrencyCode, Id, Line, Total, UtcDateTime
from app.http.paging import EXAMPLE_CURSOR, PageSchema

SEARCH_LENGTH_MAX = 320
_CURSOR = {"description": "For the next page, or null at the end."}


class IdOrName(Id):
    """An id, or a name if there is no id, such as `cli:root`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"pattern": ".+", **kwargs.pop("metadata", {})}, **kwargs)


class UserQuerySchema(PageSchema):
    q = Line(
        length_min=1,
        length_max=SEARCH_LENGTH_MAX,
        metadata={"description": "An id, or the start of a name or an e-mail address, in upper or lower case."},
    )


class UserPageSchema(CamelSchema):
    """A page of users."""

    example = {"users": [EXAMPLE_USER], "nextCursor": EXAMPLE_CURSOR}

    users = fields.List(fields.Nested(UserSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class AccountQuerySchema(PageSchema):
    status = AccountStatusName()
    user = Line(
        length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The owner's id or e-mail address."}
    )
    currency = Currency()
    kind = AccountKindName()


class AccountPageSchema(CamelSchema):
    """A page of accounts with their owners and balances."""

    example = {"accounts": [{**EXAMPLE_ACCOUNT, **EXAMPLE_BALANCES, **EXAMPLE_OWNER}], "nextCursor": None}

    accounts = fields.List(fields.Nested(AccountWithBalanceSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class ChangeStatusSchema(CamelSchema):
    """The new status of an account, and why it changes."""

    status = AccountStatusName(required=True)
    reason = Line(
        length_min=1, length_max=REASON_LENGTH_MAX, required=True, metadata={"description": "For the audit log."}
    )


class ChangeRoleSchema(CamelSchema):
    """The new role of a user, and why it changes."""

    role = RoleName(required=True)
    reason = Line(length_min=1, length_max=REASON_LENGTH_MAX, metadata={"description": "For the audit log."})


class AuditQuerySchema(PageSchema):
    subject = Line(
        length_min=1,
        length_max=SEARCH_LENGTH_MAX,
        metadata={"description": "What was acted on: its id or name, or the number of an account."},
    )
    actor = Line(length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The id or name of who acted."})


class AuditRecordSchema(CamelSchema):
    """A record of the audit log: who did what to what, when, why and from where."""

    id = Id(attribute="_id", required=True)
    at = UtcDateTime(required=True)
    actor = IdOrName(required=True)
    action = fields.String(required=True)
    subject = IdOrName(required=True)
    reason = fields.String(required=True, allow_none=True)
    before = fields.Dict(required=True, allow_none=True, metadata={"description": "The changed values before."})
    after = fields.Dict(required=True, allow_none=True, metadata={"description": "The changed values after."})
    request_id = fields.String(required=True, allow_none=True)
    address = fields.String(required=True, allow_none=True)


class AuditPageSchema(CamelSchema):
    """A page of the audit log."""

    example = {
        "records": [
            {
                "id": "6560a1b2c3d4e5f601236001",
                "at": "2026-11-22T16:00:00.123Z",
                "actor": "6560a1b2c3d4e5f601230009",
                "action": "account_frozen",
                "subject": EXAMPLE_ACCOUNT["id"],
                "reason": "Reported stolen",
                "before": {"status": "ACTIVE"},
                "after": {"status": "FROZEN"},
                "requestId": "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4",
                "address": "203.0.113.7",
            }
        ],
        "nextCursor": None,
    }

    records = fields.List(fields.Nested(AuditRecordSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class CurrencySumsSchema(CamelSchema):
    """The sums of the ledger in one currency, in minor units."""

    currency = CurrencyCode(required=True)
    total_debits = Total(required=True, metadata={"description": "The sum of all DEBIT entries."})
    total_credits = Total(required=True, metadata={"description": "The sum of all CREDIT entries."})
    treasury_balance = Total(required=True, metadata={"description": "Minus the money that the bank has issued."})
    customer_balance = Total(required=True, metadata={"description": "The balances of all customers together."})
    accounts = fields.Integer(required=True, metadata={"description": "The number of accounts, with the treasury."})


class TrialBalanceSchema(CamelSchema):
    """The sums of the whole ledger, as of one moment."""

    example = {
        "currencies": [
            {
                "currency": "INR",
                "totalDebits": 1_250_000,
                "totalCredits": 1_250_000,
                "treasuryBalance": -1_000_000,
                "customerBalance": 1_000_000,
                "accounts": 3,
            }
        ],
        "balanced": True,
    }

    currencies = fields.List(fields.Nested(CurrencySumsSchema), required=True)
    balanced = fields.Boolean(
        required=True,
        metadata={"description": "Whether, in each currency, debits equal credits and all balances add up to zero."},
    )
