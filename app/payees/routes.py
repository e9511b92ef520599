"""Look up whose account a number is; save payees, rename and delete them."""

from http import HTTPStatus
from typing import Any

from bson import ObjectId
from flask import url_for

from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, token_required
from app.errors import LedgerBusy, PayeeNotFound
from app.http.blueprint import Blueprint
from app.http.described import LOCATION
from app.http.parsing import BODY_PROBLEMS
from app.payees import service
from app.payees.schemas import (
    LookupQuerySchema,
    PayeeAnswerSchema,
    PayeeListSchema,
    PayeeLookupSchema,
    RenamePayeeSchema,
    SavePayeeSchema,
)

bp = Blueprint("payees", __name__, url_prefix="/api/payees", description="Whom one pays")


@bp.get("/lookup")
@token_required
@bp.limited("lookup")
@bp.arguments(LookupQuerySchema(), location="query")
@bp.response(200, PayeeLookupSchema())
@bp.refusals(*TOKEN_PROBLEMS, PayeeNotFound)
def look_up_payee(query: dict[str, Any]) -> dict[str, Any]:
    """Look up an account number before paying to it.

    The holder's name is shortened. A user looks up at most 30 numbers a minute, including those that are saved. A
    number that nobody has, or whose account is closed, is not found.
    """
    return service.look_up(query["number"])


@bp.get("")
@token_required
@bp.response(200, PayeeListSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def list_payees() -> dict[str, Any]:
    """List the payees that the user has saved.

    They come oldest first, with the holders' names as they are now.
    """
    return {"payees": service.list_payees(user_id=current_user_id())}


@bp.post("")
@token_required
@bp.limited("lookup")
@bp.arguments(SavePayeeSchema(), example={"number": "FC76 9102 8473 6650", "name": "Landlord"})
@bp.response(201, PayeeAnswerSchema(), headers=LOCATION)
@bp.alt_response(
    200,
    schema=PayeeAnswerSchema(),
    example=PayeeAnswerSchema.example,
    description="The number had been saved under this name before.",
    success=True,
)
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, PayeeNotFound, LedgerBusy)
def save_payee(body: dict[str, Any]) -> Any:
    """Save a payee under a name of one's own.

    A user saves a number once, and at most 500 payees. It counts as a lookup.
    """
    payee, was_saved = service.save_payee(user_id=current_user_id(), number=body["number"], name=body["name"])
    if was_saved:
        return {"payee": payee}, HTTPStatus.OK
    location = url_for("payees.rename_payee", payee_id=payee["_id"])
    return {"payee": payee}, HTTPStatus.CREATED, {"Location": location}


@bp.patch("/<id:payee_id>")
@token_required
@bp.arguments(RenamePayeeSchema(), example={"name": "Landlady"})
@bp.response(200, PayeeAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, PayeeNotFound)
def rename_payee(body: dict[str, Any], payee_id: ObjectId) -> dict[str, Any]:
    """Rename a payee.

    The name is the user's own and need not be unique.
    """
    return {"payee": service.rename_payee(payee_id, user_id=current_user_id(), name=body["name"])}


@bp.delete("/<id:payee_id>")
@token_required
@bp.response(204)
@bp.refusals(*TOKEN_PROBLEMS, PayeeNotFound)
def delete_payee(payee_id: ObjectId) -> Any:
    """Delete a payee.

    Payments to its account stay as they are.
    """
    service.delete_payee(payee_id, user_id=current_user_id())
    return None, HTTPStatus.NO_CONTENT
