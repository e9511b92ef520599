"""What the routes of journals and statements take and answer."""

from typing import Any

from marshmallow import fields, validate

from app.fields import CamelSchema, CurrencyCode, Id, Money, UtcDateTime
from app.ledger.records import EntryType
from app.paging import PageSchema

_ENTRY_TYPE = validate.OneOf([entry_type.value for entry_type in EntryType])
_FROM = {"description": "Inclusive."}
_TO = {"description": "Exclusive."}


class Hash(fields.Field[bytes]):
    """SHA-256, in 64 hexadecimal digits."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"type": "string", "pattern": "^[0-9a-f]{64}$", **kwargs.pop("metadata", {})}
        super().__init__(metadata=metadata, **kwargs)

    def _serialize(self, value: bytes | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else value.hex()


class Available(Money):
    """What an entry leaves to spend: the balance less what holds set aside."""

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        return obj["balance"] - obj["held"]


class EntrySchema(CamelSchema):
    """One leg in an account's journal, with the balances after it."""

    id = Id(attribute="_id", required=True)
    account_id = Id(attribute="account", required=True)
    sequence = fields.Integer(required=True, metadata={"description": "From 0, without gaps."})
    type = fields.String(required=True, validate=_ENTRY_TYPE)
    amount = Money(required=True)
    balance_after = Money(attribute="balance", required=True)
    available_after = Available(required=True)
    transaction_id = Id(attribute="transaction", required=True, allow_none=True)
    counterparty = Id(required=True, allow_none=True, metadata={"description": "The other account."})
    description = fields.String(
        required=True, allow_none=True, metadata={"description": "Of a STATUS entry: the account's new status."}
    )
    created_at = UtcDateTime(required=True)
    previous_hash = Hash(required=True)
    hash = Hash(required=True)


class EntryQuerySchema(PageSchema):
    type = fields.String(validate=_ENTRY_TYPE)
    from_time = UtcDateTime(data_key="from", metadata=_FROM)
    to_time = UtcDateTime(data_key="to", metadata=_TO)


class EntryListSchema(CamelSchema):
    entries = fields.List(fields.Nested(EntrySchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class StatementQuerySchema(CamelSchema):
    format = fields.String(
        validate=validate.OneOf(["json", "csv", "pdf"]),
        metadata={"description": "Before the header `Accept`; `json` if neither asks for anything."},
    )
    from_time = UtcDateTime(data_key="from", metadata={"description": "Inclusive. Default: the begin of the month."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Exclusive, at most 366 days later. Default: now."})


class StatementHeadSchema(CamelSchema):
    """A statement but for its entries."""

    account_id = Id(attribute="account._id", required=True)
    name = fields.String(attribute="account.name", required=True, allow_none=True)
    currency = CurrencyCode(attribute="account.currency", required=True)
    from_time = UtcDateTime(data_key="from", required=True)
    to_time = UtcDateTime(data_key="to", required=True, metadata={"description": "Exclusive; never in the future."})
    opening_balance = Money(required=True)
    total_credits = Money(required=True)
    total_debits = Money(required=True)
    closing_balance = Money(required=True)
    first_sequence = fields.Integer(required=True, allow_none=True, metadata={"description": "None without entries."})
    last_sequence = fields.Integer(required=True, allow_none=True)
    last_hash = Hash(
        required=True,
        allow_none=True,
        metadata={
            "description": "Of the newest entry before `to`: it stands for all that the journal says until then."
        },
    )


class StatementSchema(StatementHeadSchema):
    """What happened on an account in a period, oldest first."""

    entries = fields.List(fields.Nested(EntrySchema), required=True)
