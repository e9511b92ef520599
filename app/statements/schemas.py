"""The requests and answers of the routes for journals and statements."""

from typing import Any

from marshmallow import INCLUDE, fields, post_load, validate

from app.fields import CamelSchema, CurrencyCode, Id, Money, Total, UtcDateTime, exact_number
from app.http.paging import Count, PageSchema
from app.ledger.records import EntryType

# Room for about 8,000 entries. A longer statement can be verified as several shorter ones.
VERIFIED_BYTES_MAX = 4 * 1024**2
HISTORY_POINTS_DEFAULT = 60
HISTORY_POINTS_MAX = 500
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
    """The balance after an entry that can be spent: the balance minus the amounts on hold."""

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        return obj["balance"] - obj["held"]


class EntrySchema(CamelSchema):
    """One entry in an account's journal, with the balances after it."""

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
        required=True, allow_none=True, metadata={"description": "For a STATUS entry: the account's new status."}
    )
    created_at = UtcDateTime(required=True)
    previous_hash = Hash(required=True)
    hash = Hash(required=True)
    # Entries of version 1 lack both members, because old statements that people kept lack them too.
    hash_version = fields.Integer(attribute="version", metadata={"description": "How the hash was made. Left out: 1."})
    record_hash = Hash(
        metadata={"description": "Covered by `hash` too: a hash of the transaction's record or the account's owner."}
    )


class EntryQuerySchema(PageSchema):
    type = fields.String(validate=_ENTRY_TYPE)
    from_time = UtcDateTime(data_key="from", metadata=_FROM)
    to_time = UtcDateTime(data_key="to", metadata=_TO)


class EntryListSchema(CamelSchema):
    entries = fields.List(fields.Nested(EntrySchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PeriodQuerySchema(CamelSchema):
    from_time = UtcDateTime(data_key="from", metadata={"description": "Inclusive. Default: the start of the month."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Exclusive, at most 366 days later. Default: now."})


class StatementQuerySchema(PeriodQuerySchema):
    format = fields.String(
        validate=validate.OneOf(["json", "csv", "pdf"]),
        metadata={"description": "Overrides the header `Accept`. Without either: `json`."},
    )


class HistoryQuerySchema(CamelSchema):
    from_time = UtcDateTime(data_key="from", metadata={"description": "Default: 30 days before `to`."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Default and latest: now."})
    points = Count(2, HISTORY_POINTS_MAX, default=HISTORY_POINTS_DEFAULT)


class PointSchema(CamelSchema):
    """A balance as it stood at a moment, with all entries of that millisecond."""

    at = UtcDateTime(required=True)
    balance = Money(required=True)
    final = fields.Boolean(
        required=True,
        metadata={
            "description": "Whether it can no longer change. In the last 60 seconds, entries may still be added."
        },
    )


class BalanceHistorySchema(CamelSchema):
    """How a balance changed, for charts: at the start and the end of a period, and evenly spread in between."""

    account_id = Id(required=True)
    currency = CurrencyCode(required=True)
    points = fields.List(
        fields.Nested(PointSchema),
        required=True,
        metadata={"description": "Oldest first, at most `points` of the query. 0 before the account opened."},
    )


class StatementHeadSchema(CamelSchema):
    """A statement without its entries."""

    account_id = Id(attribute="account._id", required=True)
    name = fields.String(attribute="account.name", required=True, allow_none=True)
    currency = CurrencyCode(attribute="account.currency", required=True)
    from_time = UtcDateTime(data_key="from", required=True)
    to_time = UtcDateTime(data_key="to", required=True, metadata={"description": "Exclusive; never in the future."})
    opening_balance = Money(required=True)
    total_credits = Total(required=True)
    total_debits = Total(required=True)
    closing_balance = Money(required=True)
    first_sequence = fields.Integer(required=True, allow_none=True, metadata={"description": "None without entries."})
    last_sequence = fields.Integer(required=True, allow_none=True)
    last_hash = Hash(
        required=True,
        allow_none=True,
        metadata={"description": "The hash of the newest entry before `to`. It covers all of the journal until then."},
    )


class StatementSchema(StatementHeadSchema):
    """The entries of an account in a period, oldest first, with sums and balances."""

    entries = fields.List(fields.Nested(EntrySchema), required=True)


class ClaimedStatementSchema(CamelSchema):
    """A statement as `GET /api/accounts/{id}/statement` answered it. Its values are compared, not validated."""

    class Meta:
        unknown = INCLUDE

    body_bytes_max = VERIFIED_BYTES_MAX
    # `5.0` equals 5, but a number that a double would round to 5 does not.
    exact_numbers = True

    account_id = Id(required=True)
    from_time = UtcDateTime(data_key="from", required=True)
    to_time = UtcDateTime(data_key="to", required=True)
    entries = fields.List(fields.Dict(keys=fields.String()), required=True)

    @post_load(pass_original=True)
    def keep_claim(self, loaded: dict[str, Any], original: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**loaded, "claimed": original}


class Said(fields.Raw):
    """Any JSON value."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return exact_number(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DifferenceSchema(CamelSchema):
    """The first difference between a statement and the ledger."""

    sequence = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Of the entry that differs; null if the difference is outside the entries."},
    )
    field = fields.String(
        required=True,
        metadata={"description": "The member that differs; `sequence` if an entry is missing or should not be there."},
    )
    expected = Said(required=True, allow_none=True, metadata={"description": "What the ledger says."})
    found = Said(required=True, allow_none=True, metadata={"description": "What the statement says."})


class VerdictSchema(CamelSchema):
    """Whether a statement is what the ledger says."""

    genuine = fields.Boolean(
        required=True, metadata={"description": "Everything in it is right, except what is `unchecked`."}
    )
    complete = fields.Boolean(
        required=True,
        metadata={"description": "No entry of its period is missing. Only then is its closing balance the period's."},
    )
    joined_later = fields.Integer(
        required=True,
        metadata={
            "format": "int64",
            "description": "How many entries the ledger has between the statement's last entry and the period's end. "
            "They were added later, or were left out. `fault` names the first one, unless something earlier differs.",
        },
    )
    unchecked = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The members that were not compared: the account's name, because it can change."},
    )
    fault = fields.Nested(DifferenceSchema, required=True, allow_none=True)
