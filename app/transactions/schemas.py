"""The requests and answers of the transaction routes."""

from typing import Any

from marshmallow import fields, validate

from app.accounts.schemas import EXAMPLE_ACCOUNT
from app.fields import (
    MALFORMED_ID,
    AccountId,
    Amount,
    CamelSchema,
    Choice,
    CurrencyCode,
    Id,
    IdempotencyKey,
    JsonWebSignature,
    Line,
    Metadata,
    Money,
    StrictBoolean,
    UtcDateTime,
)
from app.http.paging import EXAMPLE_CURSOR, PageSchema
from app.ledger.records import TransactionKind, TransactionStatus, chosen_key
from app.statements.schemas import EXAMPLE_ENTRY, EntrySchema

DESCRIPTION_LENGTH_MAX = 200
REASON_LENGTH_MAX = 200
BATCH_TRANSFERS_MAX = 500
# Room for 500 transfers with all members at their longest, in ASCII. Other scripts need more bytes, so then fewer fit.
BATCH_BYTES_MAX = 4 * 1024**2
_DAY_S = 24 * 60 * 60
HOLD_LIFETIME_DEFAULT_S = 7 * _DAY_S
HOLD_LIFETIME_MAX_S = 30 * _DAY_S

EXAMPLE_TRANSACTION: dict[str, Any] = {
    "id": EXAMPLE_ENTRY["transactionId"],
    "kind": "TRANSFER",
    "status": "COMPLETED",
    "fromAccount": EXAMPLE_ACCOUNT["id"],
    "toAccount": EXAMPLE_ENTRY["counterparty"],
    "amount": 500,
    "heldAmount": None,
    "currency": "INR",
    "description": "Rent for November",
    "metadata": {"invoice": "2026-117"},
    "idempotencyKey": "rent-2026-11",
    "failure": None,
    "createdAt": "2026-11-22T16:00:00.123Z",
    "completedAt": "2026-11-22T16:00:00.123Z",
    "reverses": None,
    "reversedBy": None,
    "expiresAt": None,
}


class KindName(Choice):
    """The kind of a transaction."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TransactionKind, named="TransactionKind", **kwargs)


class StatusName(Choice):
    """The status of a transaction."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TransactionStatus, named="TransactionStatus", **kwargs)


class ChosenKey(fields.String):
    """An idempotency key as the client chose it."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else chosen_key(value)


class FailureSchema(CamelSchema):
    """Why a transaction was declined."""

    code = fields.String(required=True)
    detail = fields.String(required=True)


# A document lacks what is null in its transaction.
_NULLABLE: dict[str, Any] = {"required": True, "allow_none": True, "dump_default": None}


class TransactionSchema(CamelSchema):
    """The bank's record of a movement of money, completed or declined."""

    id = Id(required=True, metadata={"description": f"In a dry run, which records nothing: {MALFORMED_ID}."})
    kind = KindName(required=True)
    status = StatusName(required=True)
    from_account = Id(required=True)
    to_account = Id(required=True)
    amount = Money(required=True)
    held_amount = Money(**_NULLABLE, metadata={"description": "The amount that the hold set aside."})
    currency = CurrencyCode(required=True)
    description = fields.String(**_NULLABLE)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), **_NULLABLE)
    idempotency_key = ChosenKey(**_NULLABLE, metadata={"description": "Shown to the transaction's initiator only."})
    failure = fields.Nested(FailureSchema, **_NULLABLE)
    created_at = UtcDateTime(required=True)
    completed_at = UtcDateTime(**_NULLABLE)
    reverses = Id(**_NULLABLE)
    reversed_by = Id(**_NULLABLE)
    expires_at = UtcDateTime(**_NULLABLE)


class TransactionAnswerSchema(CamelSchema):
    """A transaction."""

    example = {"transaction": EXAMPLE_TRANSACTION}

    transaction = fields.Nested(TransactionSchema, required=True)


class ReceiptHeaderSchema(CamelSchema):
    """The header of a signed receipt: which key signed it."""

    typ = fields.String(required=True, metadata={"description": "`receipt+jwt`."})
    alg = fields.String(required=True, metadata={"description": "`EdDSA`."})
    kid = fields.String(required=True, metadata={"description": "The id of the key, as in /.well-known/jwks.json."})


class ReceiptPayloadSchema(CamelSchema):
    """The contents of a receipt: a transaction, and its entries on the accounts of the user who asked."""

    iss = fields.String(required=True, metadata={"description": "`fincore`."})
    sub = Id(required=True, metadata={"description": "The transaction's id."})
    iat = fields.Integer(required=True, metadata={"description": "When it was signed, in seconds since 1970."})
    transaction = fields.Nested(TransactionSchema, required=True)
    entries = fields.List(fields.Nested(EntrySchema), required=True)


class SignedReceiptSchema(CamelSchema):
    """A signed receipt: a JSON Web Signature (RFC 7515) with EdDSA. The keys to check it are at
    /.well-known/jwks.json."""

    example = {"receipt": "eyJhbGciOiJFZERTQSI… (shortened)"}

    receipt = JsonWebSignature(header=ReceiptHeaderSchema(), payload=ReceiptPayloadSchema(), required=True)


class HistoryQuerySchema(PageSchema):
    account = AccountId(metadata={"description": "Only transactions of this account, by its id or number."})
    direction = fields.String(
        validate=validate.OneOf(["in", "out"]),
        metadata={"description": "Seen from `account`, or without it from the user."},
    )
    status = StatusName()
    kind = KindName()
    from_time = UtcDateTime(data_key="from", metadata={"description": "Of `createdAt`, inclusive."})
    to_time = UtcDateTime(data_key="to", metadata={"description": "Of `createdAt`, exclusive."})


class TransactionPageSchema(CamelSchema):
    """A page of transactions."""

    example = {"transactions": [EXAMPLE_TRANSACTION], "nextCursor": EXAMPLE_CURSOR}

    transactions = fields.List(fields.Nested(TransactionSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


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

    example = {"message": "Transfer completed.", "transaction": EXAMPLE_TRANSACTION}

    message = fields.String(required=True)
    transaction = fields.Nested(TransactionSchema, required=True)


class ItemProblemSchema(CamelSchema):
    """Why a transfer of a batch was refused. It has no request id, so that the answer to a repeat is the same."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True, metadata={"format": "int32"})
    detail = fields.String(required=True)
    code = fields.String(required=True)
    transaction_id = fields.String(
        data_key="transactionId",
        attribute="transactionId",
        metadata={"description": "For a declined transfer: its record."},
    )


class BatchResultSchema(CamelSchema):
    """The result of one transfer of a batch: a transaction or a problem."""

    index = fields.Integer(required=True, metadata={"format": "int32", "description": "Which transfer, from 0."})
    transaction = fields.Nested(TransactionSchema)
    problem = fields.Nested(ItemProblemSchema)


class BatchAnswerSchema(_RehearsableSchema):
    """The results of a batch, in the order of its transfers."""

    example = {
        "results": [
            {"index": 0, "transaction": {**EXAMPLE_TRANSACTION, "idempotencyKey": None}},
            {
                "index": 1,
                "problem": {
                    "type": "/problems/account_not_found",
                    "title": "No such account",
                    "status": 404,
                    "detail": "toAccount does not exist.",
                    "code": "account_not_found",
                },
            },
        ]
    }

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


class FundAccountSchema(_KeyedSchema):
    """Money from the treasury for an account."""

    to_account = AccountId(required=True)
    amount = Amount(required=True)
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)


class BatchItemSchema(CamelSchema):
    """One transfer of a batch."""

    from_account = AccountId(required=True)
    to_account = AccountId(required=True)
    amount = Amount(required=True)
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)
    metadata = Metadata()


class ReverseTransactionSchema(_KeyedSchema):
    """Why a transaction is reversed."""

    reason = Line(
        length_min=1,
        length_max=REASON_LENGTH_MAX,
        required=True,
        metadata={"description": "Kept in the audit log and in the reversal's metadata."},
    )


class CreateTransferSchema(BatchItemSchema, _KeyedSchema):
    """Money to move from one account to another."""


class CreateHoldSchema(CreateTransferSchema):
    """Money to set aside for a payee."""

    expires_in = fields.Integer(
        strict=True,
        load_default=HOLD_LIFETIME_DEFAULT_S,
        validate=validate.Range(1, HOLD_LIFETIME_MAX_S),
        metadata={"format": "int32", "description": "Seconds until the hold expires and is released."},
    )


class CaptureHoldSchema(_KeyedSchema):
    """How much of a hold is paid."""

    amount = Amount(metadata={"description": "How much to pay out of the hold; all of it if left out."})


class VoidHoldSchema(_KeyedSchema):
    """Why a hold is released."""

    reason = Line(length_max=REASON_LENGTH_MAX)


class CreateBatchSchema(_KeyedSchema):
    """Transfers to make in order."""

    body_bytes_max = BATCH_BYTES_MAX

    atomic = StrictBoolean(load_default=True, metadata={"description": "true: all or none. false: each on its own."})
    transfers = fields.List(
        fields.Nested(BatchItemSchema), required=True, validate=validate.Length(1, BATCH_TRANSFERS_MAX)
    )
