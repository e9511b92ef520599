"""The requests and answers of the routes for journals and statements."""

from typing import Any

from marshmallow import INCLUDE, fields, post_load, validate

from app.accounts.schemas import EXAMPLE_ACCOUNT, Number
from app.fields import AccountId, CamelSchema, Choice, CurrencyCode, Id, Money, Total, UtcDateTime, exact_number
from app.http.paging import EXAMPLE_CURSOR, Count, PageSchema
from app.ledger.records import EntryType

# Room for about 8,000 entries. A longer statement can be verified as several shorter ones.
VERIFIED_BYTES_MAX = 4 * 1024**2
HISTORY_POINTS_DEFAULT = 60
HISTORY_POINTS_MAX = 500
_FROM = {"description": "Inclusive."}
_TO = {"description": "Exclusive."}

EXAMPLE_ENTRY: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f601235002",
    "accountId": EXAMPLE_ACCOUNT["id"],
    "sequence": 2,
    "type": "DEBIT",
    "amount": 500,
    "balanceAfter": 9_500,
    "availableAfter": 9_500,
    "transactionId": "6560a1b2c3d4e5f601234890",
    "counterparty": "6560a1b2c3d4e5f601234568",
    "description": "Rent for November",
    "createdAt": "2026-11-22T16:00:00.123Z",
    "previousHash": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
    "hash": "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
    "hashVersion": 2,
    "recordHash": "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d",
}
EXAMPLE_STATEMENT: dict[str, Any] = {
    "accountId": EXAMPLE_ACCOUNT["id"],
    "number": EXAMPLE_ACCOUNT["number"],
    "name": EXAMPLE_ACCOUNT["name"],
    "currency": "INR",
    "from": "2026-11-01T00:00:00.000Z",
    "to": "2026-12-01T00:00:00.000Z",
    "openingBalance": 10_000,
    "totalCredits": 0,
    "totalDebits": 500,
    "closingBalance": 9_500,
    "firstSequence": 2,
    "lastSequence": 2,
    "lastHash": EXAMPLE_ENTRY["hash"],
    "entries": [EXAMPLE_ENTRY],
}


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
    type = Choice(EntryType, required=True)
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
    hash_version = fields.Integer(
        attribute="version", metadata={"format": "int32", "description": "How the hash was made. Left out: 1."}
    )
    record_hash = Hash(
        metadata={"description": "Covered by `hash` too: a hash of the transaction's record or the account's owner."}
    )


class EntryQuerySchema(PageSchema):
    type = Choice(EntryType)
    from_time = UtcDateTime(data_key="from", metadata=_FROM)
    to_time = UtcDateTime(data_key="to", metadata=_TO)


class EntryPageSchema(CamelSchema):
    """A page of a journal."""

    example = {"entries": [EXAMPLE_ENTRY], "nextCursor": EXAMPLE_CURSOR}

    entries = fields.List(fields.Nested(EntrySchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PeriodQuerySchema(CamelSchema):
    from_time = UtcDateTime(data_key="from", metadata={"description": "Inclusive. Default: the start of the month."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Exclusive, at most 366 days later. Default: now."})


class StatementQuerySchema(PeriodQuerySchema):
    # Undescribed, because generated clients cannot tell three kinds of answers of one call apart. CSV and PDF have
    # calls of their own.
    format = fields.String(validate=validate.OneOf(["json", "csv", "pdf"]), metadata={"x-undescribed": True})


class HistoryQuerySchema(CamelSchema):
    from_time = UtcDateTime(data_key="from", metadata={"description": "Default: 30 days before `to`."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Default and latest: now."})
    points = Count(2, HISTORY_POINTS_MAX, default=HISTORY_POINTS_DEFAULT)


class BalancePointSchema(CamelSchema):
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

    example = {
        "accountId": EXAMPLE_ACCOUNT["id"],
        "currency": "INR",
        "points": [
            {"at": "2026-11-01T00:00:00.000Z", "balance": 10_000, "final": True},
            {"at": "2026-12-01T00:00:00.000Z", "balance": 9_500, "final": False},
        ],
    }

    account_id = Id(required=True)
    currency = CurrencyCode(required=True)
    points = fields.List(
        fields.Nested(BalancePointSchema),
        required=True,
        metadata={"description": "Oldest first, at most `points` of the query. 0 before the account opened."},
    )


class StatementHeadSchema(CamelSchema):
    """A statement without its entries."""

    account_id = Id(attribute="account._id", required=True)
    number = Number(attribute="account.number")
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

    example = EXAMPLE_STATEMENT

    entries = fields.List(fields.Nested(EntrySchema), required=True)


class Said(fields.Raw):
    """Any JSON value."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return exact_number(value) if isinstance(value, int) and not isinstance(value, bool) else value


class ClaimedStatementSchema(CamelSchema):
    """A statement as `GET /api/accounts/{id}/statement` answered it. Its values are compared, not validated."""

    class Meta:
        unknown = INCLUDE

    body_bytes_max = VERIFIED_BYTES_MAX
    # `5.0` equals 5, but a number that a double would round to 5 does not.
    exact_numbers = True

    account_id = AccountId(required=True)
    from_time = UtcDateTime(data_key="from", required=True)
    to_time = UtcDateTime(data_key="to", required=True)
    # Names are strings in any JSON. Checking each would take most of the time of a long statement.
    entries = fields.List(fields.Dict(), required=True)
    # Compared too. They are named because some generated clients leave out what is not.
    number = Said(allow_none=True)
    name = Said(allow_none=True)
    currency = Said(allow_none=True)
    opening_balance = Said(allow_none=True)
    total_credits = Said(allow_none=True)
    total_debits = Said(allow_none=True)
    closing_balance = Said(allow_none=True)
    first_sequence = Said(allow_none=True)
    last_sequence = Said(allow_none=True)
    last_hash = Said(allow_none=True)

    @post_load(pass_original=True)
    def keep_claim(self, loaded: dict[str, Any], original: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**loaded, "claimed": original}


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

    example = {"genuine": True, "complete": True, "joinedLater": 0, "unchecked": ["name"], "fault": None}

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
