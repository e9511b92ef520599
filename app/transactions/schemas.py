"""The requests and answers of the transaction routes."""

from typing import Any

from marshmallow import fields, validate

from app.fields import (
    Amount,
    CamelSchema,
    CurrencyCode,
    Id,
    IdempotencyKey,
    Line,
    Metadata,
    Money,
    StrictBoolean,
    UtcDateTime,
)
from app.http.paging import PageSchema
from app.ledger.records import TransactionKind, TransactionStatus, chosen_key

DESCRIPTION_LENGTH_MAX = 200
REASON_LENGTH_MAX = 200
BATCH_TRANSFERS_MAX = 500
# Room for 500 transfers with all members at their longest, in ASCII. Other scripts need more bytes, so then fewer fit.
BATCH_BYTES_MAX = 4 * 1024**2
_DAY_S = 24 * 60 * 60
HOLD_LIFETIME_DEFAULT_S = 7 * _DAY_S
HOLD_LIFETIME_MAX_S = 30 * _DAY_S


class ChosenKey(fields.String):
    """An idempotency key as the client chose it."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else chosen_key(value)


class FailureSchema(CamelSchema):
    """Why a transaction was declined."""

    code = fields.String(required=True)
    detail = fields.String(required=True)


class TransactionSchema(CamelSchema):
    """The bank's record of a movement of money, completed or declined."""

    id = Id(required=True)
    kind = fields.String(required=True, validate=validate.OneOf([kind.value for kind in TransactionKind]))
    status = fields.String(required=True, validate=validate.OneOf([status.value for status in TransactionStatus]))
    from_account = Id(required=True)
    to_account = Id(required=True)
    amount = Money(required=True)
    held_amount = Money(required=True, allow_none=True, metadata={"description": "The amount that the hold set aside."})
    currency = CurrencyCode(required=True)
    description = fields.String(required=True, allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True, allow_none=True)
    idempotency_key = ChosenKey(
        required=True, allow_none=True, metadata={"description": "Shown to the transaction's initiator only."}
    )
    failure = fields.Nested(FailureSchema, required=True, allow_none=True)
    created_at = UtcDateTime(required=True)
    completed_at = UtcDateTime(required=True, allow_none=True)
    reverses = Id(required=True, allow_none=True)
    reversed_by = Id(required=True, allow_none=True)
    expires_at = UtcDateTime(required=True, allow_none=True)


class TransactionAnswerSchema(CamelSchema):
    transaction = fields.Nested(TransactionSchema, required=True)


class ReceiptSchema(CamelSchema):
    """A signed receipt: a JSON Web Signature. The keys to check it are at /.well-known/jwks.json."""

    receipt = fields.String(required=True)


class HistoryQuerySchema(PageSchema):
    account = Id(metadata={"description": "Only transactions of this account."})
    direction = fields.String(
        validate=validate.OneOf(["in", "out"]),
        metadata={"description": "Seen from `account`, or without it from the user."},
    )
    status = fields.String(validate=validate.OneOf([status.value for status in TransactionStatus]))
    kind = fields.String(validate=validate.OneOf([kind.value for kind in TransactionKind]))
    from_time = UtcDateTime(data_key="from", metadata={"description": "Of `createdAt`, inclusive."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Of `createdAt`, exclusive."})


class TransactionListSchema(CamelSchema):
    transactions = fields.List(fields.Nested(TransactionSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PostedTransactionSchema(TransactionSchema):
    """A transaction in the answer to the call that made it, or to a dry run of that call."""

    id = Id(required=True, allow_none=True, metadata={"description": "null in a dry run."})


class OwnBalanceSchema(CamelSchema):
    """One of the user's accounts, as the call of a dry run would leave it."""

    account_id = Id(attribute="id", required=True)
    currency = CurrencyCode(required=True)
    balance = Money(required=True)
    available_balance = Money(attribute="available", required=True)


class _RehearsableSchema(CamelSchema):
    dry_run = fields.Boolean(metadata={"description": "true in a dry run, which writes nothing; otherwise absent."})
    balances = fields.List(
        fields.Nested(OwnBalanceSchema),
        metadata={"description": "In a dry run: the user's own accounts, as the call would leave them."},
    )


class PostedSchema(_RehearsableSchema):
    """A movement of money that took effect, or would in a dry run."""

    message = fields.String(required=True)
    transaction = fields.Nested(PostedTransactionSchema, required=True)


class ItemProblemSchema(CamelSchema):
    """Why a transfer of a batch was refused. It has no request id, so that the answer to a repeat is the same."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True)
    transaction_id = fields.String(
        data_key="transactionId",
        attribute="transactionId",
        metadata={"description": "For a declined transfer: its record."},
    )


class BatchResultSchema(CamelSchema):
    """The result of one transfer of a batch: a transaction or a problem."""

    index = fields.Integer(required=True)
    transaction = fields.Nested(PostedTransactionSchema)
    problem = fields.Nested(ItemProblemSchema)


class BatchAnswerSchema(_RehearsableSchema):
    results = fields.List(fields.Nested(BatchResultSchema), required=True)


class DryRunSchema(CamelSchema):
    dry_run = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        load_default=False,
        metadata={"description": "true: answer what would happen, and write nothing, not even the key."},
    )


class _KeyedSchema(CamelSchema):
    idempotency_key = IdempotencyKey(metadata={"description": "Here, or in the header Idempotency-Key."})


class FundSchema(_KeyedSchema):
    to_account = Id(required=True)
    amount = Amount(required=True)
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)


class BatchItemSchema(CamelSchema):
    """One transfer of a batch."""

    from_account = Id(required=True)
    to_account = Id(required=True)
    amount = Amount(required=True)
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)
    metadata = Metadata()


class ReverseSchema(_KeyedSchema):
    reason = Line(
        length_min=1,
        length_max=REASON_LENGTH_MAX,
        required=True,
        metadata={"description": "Kept in the audit log and in the reversal's metadata."},
    )


class TransferSchema(BatchItemSchema, _KeyedSchema):
    pass


class HoldSchema(TransferSchema):
    expires_in = fields.Integer(
        strict=True,
        load_default=HOLD_LIFETIME_DEFAULT_S,
        validate=validate.Range(1, HOLD_LIFETIME_MAX_S),
        metadata={"description": "Seconds until the hold expires and is released."},
    )


class CaptureSchema(_KeyedSchema):
    amount = Amount(metadata={"description": "How much to pay out of the hold; all of it if left out."})


class VoidSchema(_KeyedSchema):
    reason = Line(length_max=REASON_LENGTH_MAX)


class BatchSchema(_KeyedSchema):
    body_bytes_max = BATCH_BYTES_MAX

    atomic = StrictBoolean(load_default=True, metadata={"description": "true: all or none. false: each on its own."})
    transfers = fields.List(
        fields.Nested(BatchItemSchema), required=True, validate=validate.Length(1, BATCH_TRANSFERS_MAX)
    )
