"""The requests and answers of the admin routes."""

from typing import Any

from marshmallow import fields, validate

from app.accounts.schemas import REASON_LENGTH_MAX, AccountWithBalanceSchema
from app.auth.roles import Role
from app.auth.schemas import UserSchema
from app.fields import CamelSchema, CurrencyCode, Id, Line, Total, UtcDateTime
from app.http.paging import PageSchema
from app.ledger.records import AccountKind, AccountStatus

SEARCH_LENGTH_MAX = 320
_CURSOR = {"description": "For the next page, or null at the end."}
_STATUS = validate.OneOf([status.value for status in AccountStatus])
_ROLE = validate.OneOf([role.value for role in Role])


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
    users = fields.List(fields.Nested(UserSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class AccountQuerySchema(PageSchema):
    status = fields.String(validate=_STATUS)
    user = Line(
        length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The owner's id or e-mail address."}
    )
    currency = CurrencyCode()
    kind = fields.String(validate=validate.OneOf([kind.value for kind in AccountKind]))


class AccountPageSchema(CamelSchema):
    accounts = fields.List(fields.Nested(AccountWithBalanceSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class StatusSchema(CamelSchema):
    status = fields.String(required=True, validate=_STATUS)
    reason = Line(
        length_min=1, length_max=REASON_LENGTH_MAX, required=True, metadata={"description": "For the audit log."}
    )


class RoleSchema(CamelSchema):
    role = fields.String(required=True, validate=_ROLE)
    reason = Line(length_min=1, length_max=REASON_LENGTH_MAX, metadata={"description": "For the audit log."})


class AuditQuerySchema(PageSchema):
    subject = Line(
        length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The id or name of what was acted on."}
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
    currencies = fields.List(fields.Nested(CurrencySumsSchema), required=True)
    balanced = fields.Boolean(
        required=True,
        metadata={"description": "Whether, in each currency, debits equal credits and all balances add up to zero."},
    )
