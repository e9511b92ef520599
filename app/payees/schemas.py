"""The requests and answers of the payee routes."""

from typing import Any

from marshmallow import fields

from app.accounts.schemas import NAME_LENGTH_MAX
from app.fields import AccountNumberField, CamelSchema, CurrencyCode, Id, Line, UtcDateTime

EXAMPLE_LOOKUP: dict[str, Any] = {"number": "FC76910284736650", "currency": "INR", "holder": "Ben C."}
EXAMPLE_PAYEE: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f601237001",
    "accountId": "6560a1b2c3d4e5f601234568",
    **EXAMPLE_LOOKUP,
    "name": "Landlord",
    "closed": False,
    "createdAt": "2026-11-22T16:00:00.123Z",
}


class PayeeNumber(AccountNumberField):
    """The number of an account to be paid to."""

    def __init__(self) -> None:
        described = "FC and 14 digits. Blanks and small letters are forgiven."
        super().__init__(required=True, metadata={"description": described})


class LookupQuerySchema(CamelSchema):
    number = PayeeNumber()


class PayeeLookupSchema(CamelSchema):
    """The holder of an account number, as far as a payer may know."""

    example = EXAMPLE_LOOKUP

    number = fields.String(required=True)
    currency = CurrencyCode(required=True)
    holder = fields.String(
        required=True, metadata={"description": "The name of the account's owner, shortened: `Asha R.` for Asha Rao."}
    )


class PayeeSchema(PayeeLookupSchema):
    """A payee that the user has saved."""

    id = Id(attribute="_id", required=True)
    account_id = Id(attribute="account", required=True)
    name = fields.String(required=True, metadata={"description": "What the user calls the payee."})
    closed = fields.Boolean(required=True, metadata={"description": "Whether the account is closed by now."})
    created_at = UtcDateTime(required=True)


class PayeeAnswerSchema(CamelSchema):
    """A payee."""

    example = {"payee": EXAMPLE_PAYEE}

    payee = fields.Nested(PayeeSchema, required=True)


class PayeeListSchema(CamelSchema):
    """All payees that a user has saved."""

    example = {"payees": [EXAMPLE_PAYEE]}

    payees = fields.List(fields.Nested(PayeeSchema), required=True)


class SavePayeeSchema(CamelSchema):
    """A payee to save."""

    number = PayeeNumber()
    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)


class RenamePayeeSchema(CamelSchema):
    """The new name of a payee."""

    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)
