"""What the transaction routes take and answer."""

from marshmallow import fields, validate

from app.fields import Amount, CamelSchema, CurrencyCode, Id, IdempotencyKey, Line, Metadata, Money, UtcDateTime
from app.ledger.records import TransactionKind, TransactionStatus
from app.paging import PageSchema

DESCRIPTION_LENGTH_MAX = 200


class FailureSchema(CamelSchema):
    """Why money did not move."""

    code = fields.String(required=True)
    detail = fields.String(required=True)


class TransactionSchema(CamelSchema):
    """The bank's record of a movement of money, made or refused."""

    id = Id(required=True)
    kind = fields.String(required=True, validate=validate.OneOf([kind.value for kind in TransactionKind]))
    status = fields.String(required=True, validate=validate.OneOf([status.value for status in TransactionStatus]))
    from_account = Id(required=True)
    to_account = Id(required=True)
    amount = Money(required=True)
    held_amount = Money(required=True, allow_none=True, metadata={"description": "What a hold set aside."})
    currency = CurrencyCode(required=True)
    description = fields.String(required=True, allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True, allow_none=True)
    idempotency_key = fields.String(
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


class HistoryQuerySchema(PageSchema):
    account = Id(metadata={"description": "Only what went in or out of this account."})
    direction = fields.String(
        validate=validate.OneOf(["in", "out"]), metadata={"description": "Seen from `account`, or else from the user."}
    )
    status = fields.String(validate=validate.OneOf([status.value for status in TransactionStatus]))
    kind = fields.String(validate=validate.OneOf([kind.value for kind in TransactionKind]))
    from_time = UtcDateTime(data_key="from", metadata={"description": "Of `createdAt`, inclusive."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Of `createdAt`, exclusive."})


class TransactionListSchema(CamelSchema):
    transactions = fields.List(fields.Nested(TransactionSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PostedSchema(TransactionAnswerSchema):
    """A movement of money that took effect."""

    message = fields.String(required=True)


class FundSchema(CamelSchema):
    to_account = Id(required=True)
    amount = Amount(required=True)
    idempotency_key = IdempotencyKey(metadata={"description": "Here, or as the header Idempotency-Key."})
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)


class TransferSchema(FundSchema):
    from_account = Id(required=True)
    metadata = Metadata()
