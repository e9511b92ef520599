"""Changes of roles, retries of mail, the state of the bank, and the filters for finding things."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import audit, clock, ledger, mongo
from app.account_numbers import AccountNumber, WrongCheckDigits
from app.acts import Act
from app.addresses import email_beginning
from app.admin import repository
from app.auth.roles import MAY_ADMINISTER, MAY_CHANGE_ROLES, Role
from app.auth.service import find_user, name_key
from app.errors import Forbidden, NotFound, UserNotFound, ValidationFailed
from app.fields import read_account, read_id
from app.mongo import Document
from app.mongo.migrations import record
from app.outbox import overview
from app.outbox import repository as outbox
from app.outbox.messages import MessageState

# How far back the operator's page looks.
POSTINGS_MINUTES = 15
_STARTED = time.monotonic()


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
        _check_role(act, MAY_CHANGE_ROLES, session)
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


def _check_role(act: Act, roles: Sequence[Role], session: ClientSession) -> None:
    # The actor's role was checked when the request came in, but the actor may have been demoted since.
    if isinstance(act.actor, ObjectId):
        actor = repository.find_user(act.actor, session)
        if actor is None or actor["role"] not in roles:
            raise Forbidden(f"This needs the role {' or '.join(roles)}.")


def retry_message(message_id: ObjectId, *, act: Act) -> Document:
    """Make a waiting or dead message due at once, with its attempts counted from zero; return it as it is then.

    A message that was sent or is just being sent stays as it is, so two operators may do this at once. Raises
    NotFound, and Forbidden if the actor is no longer an administrator.
    """

    def block(session: ClientSession) -> None:
        before = outbox.find_message(message_id, session)
        if before is None:
            raise NotFound("There is no such message in the outbox. What was sent is kept for 30 days.")
        _check_role(act, MAY_ADMINISTER, session)
        now = clock.now()
        if not outbox.revive({"_id": message_id}, now=now, session=session):
            return
        record = audit.audit_record(
            act,
            "mail_retried",
            message_id,
            at=now,
            before={"state": before["state"], "attempts": str(before["attempts"])},
            after={"state": MessageState.PENDING.value, "attempts": "0"},
        )
        audit.insert_audit_records([record], session)

    mongo.atomically(block)
    found = overview.find_message(message_id)
    if found is None:
        # It was sent 30 days ago and has just been removed.
        raise NotFound("There is no such message in the outbox any more.")
    return found


def status() -> Document:
    """Return the state of the bank, as an operator's page shows it."""
    now = clock.now()
    waiting = outbox.find_oldest(MessageState.PENDING, 1)
    oldest_age = (now - waiting[0]["_id"].generation_time).total_seconds() if waiting else 0
    version = record.find_version(mongo.database()) or {}
    return {
        "at": now,
        "uptime_seconds": int(time.monotonic() - _STARTED),
        **_postings(now),
        "outbox": {
            "waiting": outbox.count(MessageState.PENDING),
            "dead": outbox.count(MessageState.DEAD),
            "oldest_age_seconds": max(0, int(oldest_age)),
        },
        "holds": ledger.count_holds(now),
        "users": repository.count_users(),
        "accounts": repository.count_accounts(),
        "database": {
            "version": mongo.database().client.server_info()["version"],
            "schema_version": version.get("version"),
            "upgrade_finished": record.is_finished(mongo.database()),
        },
    }


def _postings(now: datetime) -> Document:
    """Return the number of postings in each of the last minutes, and the reasons of the declines.

    A minute is left out if not all of its records were looked at.
    """
    this_minute = now.replace(second=0, microsecond=0)
    minutes = [this_minute - timedelta(minutes=n) for n in range(POSTINGS_MINUTES, -1, -1)]
    found, cut_at = repository.find_postings(minutes[0])
    whole = [minute for minute in minutes if cut_at is None or minute > cut_at]
    counted = {minute: Document(at=minute, posted=0, declined=0) for minute in whole}
    declines: Counter[str] = Counter()
    for each in found:
        # The database's clock may be a little ahead.
        minute, code = min(each["_id"]["minute"], this_minute), each["_id"]["code"]
        if minute not in counted:
            continue
        counted[minute]["posted" if code is None else "declined"] += each["count"]
        if code is not None:
            declines[code] += each["count"]
    reasons = [{"code": code, "count": count} for code, count in declines.most_common()]
    return {"postings": list(counted.values()), "declines": reasons}


def search_for(text: str) -> repository.Search:
    """Return a search for users by a text, ignoring case."""
    return repository.Search(read_id(text), name_key(text), email_beginning(text))


def account_filters(filters: Document) -> Document:
    """Return the filters of a list of accounts. The user may be given by id or e-mail address."""
    if "user" not in filters:
        return filters
    user = find_user(filters["user"])
    # For an unknown user, a new id matches no account.
    return {**filters, "user": user["_id"] if user else ObjectId()}


def audit_filters(filters: Document) -> Document:
    """Return the filters of the audit log with ids as ObjectIds, also for accounts named by their numbers.

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
