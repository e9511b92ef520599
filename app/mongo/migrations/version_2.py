"""The migrations to version 2.

Version 1 goes on writing while they run, until `flask db finish`, which therefore converts once more.
"""

from datetime import UTC, datetime, timedelta

from bson import ObjectId
from pymongo import IndexModel, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from app.account_numbers import new_number
from app.addresses import normal_email
from app.mongo import Document
from app.mongo.blocks import DUPLICATE_KEY_CODE
from app.mongo.migrations.steps import WALKED_AT_ONCE, Migration, Phase, Refused, Step

_INDEX_NOT_FOUND = 27
# The indexes that others have replaced. Version 1 needs them, so they go last.
_SUPERSEDED_INDEXES = (
    ("accounts", "user_1__id_1"),
    ("accounts", "status_1__id_1"),
    ("accounts", "currency_1__id_1"),
    ("accounts", "kind_1__id_1"),
    ("transactions", "accounts_1"),
    ("transactions", "accounts_1__id_1"),
    ("transactions", "accounts_1_created_at_1__id_1"),
    ("audit_log", "subject_1__id_1"),
    ("audit_log", "actor_1__id_1"),
)
# Version 1 has no `reversals`, so this keeps its processes from reversing twice.
_REVERSED_ONCE = IndexModel(
    "reverses", unique=True, partialFilterExpression={"reverses": {"$exists": True}, "status": "COMPLETED"}
)
# The migration after which `reversals` has all reversals.
REVERSALS_KEPT = 11
# The kinds of security mail of version 1.
_URGENT_KINDS = ("welcome", "password_changed", "password_reset")
# If version 1 wrote an entry within this time, one of its processes probably still runs.
QUIET = timedelta(seconds=30)


def normalise_emails(step: Step) -> None:
    """Rewrite users' addresses into their normal form. Version 1 kept domains in Unicode.

    If another user has the normal form already, the address stays as it is. An operator must decide whose it is.
    """
    for users in step.walk("users", ["email"]):
        for user in users:
            if not user["email"].isascii():
                _normalise_email(step, user)


def _normalise_email(step: Step, user: Document) -> None:
    email, database = normal_email(user["email"]), step.database
    if email is None or email == user["email"]:
        return
    try:
        database["users"].update_one({"_id": user["_id"], "email": user["email"]}, {"$set": {"email": email}})
    except DuplicateKeyError:
        holder = database["users"].find_one({"email": email}, projection=["_id"])
        if holder is None:
            raise
        step.note(
            f"The users {holder['_id']} and {user['_id']} have one and the same address. The first keeps it. The "
            f"address of {user['_id']} was left as it is, and they cannot log in with it: decide whose it is."
        )
        return
    # Reset tokens are stored under the old address, where nothing would revoke them.
    database["password_resets"].delete_many({"user": user["_id"]})


def mark_urgent_mail(step: Step) -> None:
    """Mark security mail that has not been sent, so that it goes first. Version 1 did not mark it."""
    step.database["outbox"].update_many(
        {"state": {"$in": ["PENDING", "DEAD"]}, "kind": {"$in": list(_URGENT_KINDS)}, "urgent": {"$exists": False}},
        {"$set": {"urgent": True}, "$unset": {"moment": ""}},
    )


def keep_spared_sessions(step: Step) -> None:
    """Write the session that outlived a user's last change of password to the user.

    Version 1 kept it only on the blocklist, and only until that entry expired. Version 2 always writes both.
    """
    for users in step.walk("users", ["session_generation", "spared_session"]):
        changed = [user for user in users if user.get("session_generation", 0) > 0]
        ids = [f"user:{user['_id']}" for user in changed]
        cut_offs = {row["_id"]: row for row in step.database["revoked_tokens"].find({"_id": {"$in": ids}})}
        for user in changed:
            _keep_spared_session(step.database, user, cut_offs.get(f"user:{user['_id']}"))


def _keep_spared_session(database: Database[Document], user: Document, cut_off: Document | None) -> None:
    is_of_this = cut_off is not None and cut_off.get("generation") == user["session_generation"]
    spared = cut_off["spared"] if cut_off is not None and is_of_this else user.get("spared_session")
    if "spared_session" in user and user["spared_session"] == spared:
        return
    unchanged = {"_id": user["_id"], "session_generation": user["session_generation"]}
    database["users"].update_one(unchanged, {"$set": {"spared_session": spared}})


def number_accounts(step: Step) -> None:
    """Give each account without a number one. Version 1 opens accounts without."""
    for accounts in step.walk("accounts", ["number"]):
        waiting = [account["_id"] for account in accounts if "number" not in account]
        while waiting:
            waiting = _number(step.database, waiting)


def _number(database: Database[Document], accounts: list[ObjectId]) -> list[ObjectId]:
    """Give these accounts numbers; return those that drew a number that is taken. They draw again."""
    updates = [
        UpdateOne({"_id": account, "number": {"$exists": False}}, {"$set": {"number": new_number()}})
        for account in accounts
    ]
    try:
        database["accounts"].bulk_write(updates, ordered=False)
    except BulkWriteError as error:
        failed = error.details["writeErrors"]
        if any(each["code"] != DUPLICATE_KEY_CODE for each in failed):
            raise
        return [accounts[each["index"]] for each in failed]
    return []


def refuse_while_version_1_posts(database: Database[Document]) -> None:
    """Raise Refused if version 1 has just written an entry. Its entries do not have the number of a version."""
    since = ObjectId.from_datetime(datetime.now(UTC) - QUIET)
    found = database["ledger_entries"].find_one({"_id": {"$gte": since}, "version": {"$exists": False}})
    if found is not None:
        raise Refused(
            f"A process of the old release posted at {found['created_at']:%H:%M:%S} UTC. Stop all of them, and "
            f"run this again {QUIET.seconds} s after the last one has ended."
        )


def drop_superseded_indexes(step: Step) -> None:
    """Drop the indexes that only version 1 uses."""
    for collection, index in _SUPERSEDED_INDEXES:
        _drop_index(step.database, collection, index)


def _drop_index(database: Database[Document], collection: str, index: str) -> None:
    try:
        database[collection].drop_index(index)
    except OperationFailure as error:
        if error.code != _INDEX_NOT_FOUND:
            raise


def guard_reversals(step: Step) -> None:
    """Make sure of the index by which version 1 reverses only once. A bank restored from a copy may lack it.

    A block of either version writes the reversed transaction itself too, so two that race conflict in any case.
    """
    step.database["transactions"].create_indexes([_REVERSED_ONCE])
    keep_reversals(step)


def keep_reversals(step: Step) -> None:
    """Write who reversed what to `reversals`, where version 1 writes nothing."""
    while True:
        after = {} if step.position is None else {"$gt": step.position}
        query = {"reverses": {"$exists": True, **after}, "status": "COMPLETED"}
        found = step.database["transactions"].find(query, projection=["reverses"]).sort("reverses", 1)
        batch = list(found.limit(WALKED_AT_ONCE))
        if not batch:
            return
        step.database["reversals"].bulk_write(
            [UpdateOne({"_id": each["reverses"]}, {"$setOnInsert": {"by": each["_id"]}}, upsert=True) for each in batch]
        )
        step.position = batch[-1]["reverses"]
        step.keep(step.position)
        step.advanced(len(batch))


def drop_reversals_index(step: Step) -> None:
    """Drop the index that only version 1 needs: a collection with it cannot be sharded."""
    _drop_index(step.database, "transactions", _REVERSED_ONCE.document["name"])


MIGRATIONS = (
    Migration(1, 2, Phase.EXPAND, "normalise addresses", normalise_emails, size="users"),
    Migration(2, 2, Phase.EXPAND, "keep the sessions that changed a password", keep_spared_sessions, size="users"),
    Migration(3, 2, Phase.EXPAND, "put security mail first", mark_urgent_mail),
    Migration(4, 2, Phase.CONTRACT, "normalise newer addresses", normalise_emails, size="users"),
    Migration(5, 2, Phase.CONTRACT, "keep the newer sessions", keep_spared_sessions, size="users"),
    Migration(6, 2, Phase.CONTRACT, "put newer security mail first", mark_urgent_mail),
    Migration(7, 2, Phase.CONTRACT, "drop the indexes of version 1", drop_superseded_indexes),
    Migration(8, 2, Phase.EXPAND, "give accounts numbers", number_accounts, size="accounts"),
    Migration(9, 2, Phase.CONTRACT, "give newer accounts numbers", number_accounts, size="accounts"),
    Migration(10, 2, Phase.EXPAND, "keep who reversed what", guard_reversals),
    Migration(REVERSALS_KEPT, 2, Phase.CONTRACT, "keep who reversed what since", keep_reversals),
    Migration(12, 2, Phase.CONTRACT, "drop the index of reversals", drop_reversals_index),
)
