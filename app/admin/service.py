"""Changes of roles, and the filters for finding users, accounts and audit records."""

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import audit, clock, ledger, mongo
from app.account_numbers import AccountNumber, WrongCheckDigits
from app.acts import Act
from app.addresses import email_beginning
from app.admin import repository
from app.auth.roles import MAY_CHANGE_ROLES, Role
from app.auth.service import find_user, name_key
from app.errors import Forbidden, UserNotFound, ValidationFailed
from app.fields import read_account, read_id
from app.mongo import Document


def change_role(user_id: ObjectId, role: Role, *, act: Act) -> Document:
    """Give a user another role and return the user.

    Raises UserNotFound. Raises Forbidden for the actor's own role, for the role of the last SYSTEM
    user, and if the actor is no longer a SYSTEM user. If the user already has the role, nothing
    changes and no record is written.
    """
    if act.actor == user_id:
        raise Forbidden("Nobody changes their own role.")

    def block(session: ClientSession) -> Document:
        user = repository.find_user(user_id, session)
        if user is None:
            raise UserNotFound
        _check_may_change_roles(act, session)
        before = Role(user["role"])
        if before is role:
            return user
        if before is Role.SYSTEM and not repository.vouch_for_demotion(user_id, before, session):
            raise Forbidden("This is the last user with the role SYSTEM.")
        changed = repository.set_role(user_id, role.value, session)
        assert changed is not None
        record = audit.audit_record(
            act,
            "role_changed",
            user_id,
            at=clock.now(),
            before={"role": before.value},
            after={"role": role.value},
        )
        audit.insert_audit_records([record], session)
        return changed

    return mongo.atomically(block)


def _check_may_change_roles(act: Act, session: ClientSession) -> None:
    # The actor's role was checked when the request came in, but the actor may have been demoted since.
    if isinstance(act.actor, ObjectId):
        actor = repository.find_user(act.actor, session)
        if actor is None or actor["role"] not in MAY_CHANGE_ROLES:
            raise Forbidden(f"This needs the role {' or '.join(MAY_CHANGE_ROLES)}.")


def search_for(text: str) -> repository.Search:
    """Return a search for users by a text, ignoring case."""
    return repository.Search(read_id(text), name_key(text), email_beginning(text))


def account_filters(filters: Document) -> Document:
    """Return the filters of a list of accounts, with the id of a user who is given by id or e-mail address."""
    if "user" not in filters:
        return filters
    user = find_user(filters["user"])
    # For an unknown user, a new id matches no account.
    return {**filters, "user": user["_id"] if user else ObjectId()}


def audit_filters(filters: Document) -> Document:
    """Return the filters of the audit log with ids as ObjectIds, also of accounts that are named by their numbers.

    Other texts are names and stay as they are. Raises ValidationFailed for a number with wrong check digits.
    """
    return {name: _named(name, text) for name, text in filters.items()}


def _named(field: str, text: str) -> ObjectId | str:
    try:
        found = read_account(text)
    except WrongCheckDigits as error:
        raise ValidationFailed(f"Invalid: {field}.", errors={field: [str(error)]}) from None
    if isinstance(found, AccountNumber):
        return ledger.ids_of([found])[found]
    return read_id(text) or text
