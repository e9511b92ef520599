"""The shape of the database: collections, validators and indexes.

`migrations.shape` makes all of it with an administrator's rights. The application itself has
only the role `fincore_app`, which can add entries to the ledger but cannot change them: see `privileges`.
"""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

# Raise this by one with the first change below after a release, so that a newer program refuses an older database, and
# add the migrations to it. Additions must not disturb the previous release: `app/mongo/migrations/` says how.
SCHEMA_VERSION = 2
ROLE = "fincore_app"

_ID = {"bsonType": "objectId"}
_STRING = {"bsonType": "string"}
_ID_OR_NAME = {"bsonType": ["objectId", "string"]}
_DATE = {"bsonType": "date"}
_MONEY = {"bsonType": "long"}
_HASH = {"bsonType": "binData"}
_NUMBER = {"bsonType": "string", "pattern": "^FC[0-9]{14}$"}
_COUNT = {"bsonType": ["int", "long"], "minimum": 0}
_POSITION = {"bsonType": "long", "minimum": 1}
_VERSION = {"bsonType": "int", "minimum": 1}

# Sent messages say who paid whom, so they are kept for inquiries only, not for ever.
SENT_MESSAGES_KEPT_S = 30 * 24 * 3600


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"bsonType": "null"}]}


def _one_of(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def _document(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"bsonType": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_KIND = _one_of("CUSTOMER", "TREASURY")
_FAILURE = _document({"code": _STRING, "detail": _STRING}, {"index": {"bsonType": "int"}})

_KEYED = {
    "_id": _ID,
    "user": _ID,
    "idempotency_key": _STRING,
    "fingerprint": {"bsonType": "object"},
    "created_at": _DATE,
}

_TRANSACTION = _document(
    {
        **_KEYED,
        "kind": _one_of("TRANSFER", "FUNDING", "REVERSAL", "HOLD"),
        "from_account": _ID,
        "to_account": _ID,
        "accounts": {"bsonType": "array", "items": _ID, "minItems": 2, "maxItems": 2},
        "amount": _MONEY,
        "currency": _STRING,
        "status": _one_of("PENDING", "COMPLETED", "FAILED", "REVERSED", "VOIDED"),
    },
    {
        # Version 1 wrote no salts.
        "salt": _HASH,
        "held_amount": _MONEY,
        "failure": _FAILURE,
        "description": _STRING,
        # Pairs of a name and a value, so that a client's name is never a field's name. Version 1 stored an object.
        "metadata": {"bsonType": ["array", "object"]},
        "completed_at": _DATE,
        "reverses": _ID,
        "reversed_by": _ID,
        "expires_at": _DATE,
    },
)

_KEY_USE = _document(
    {**_KEYED, "kind": _one_of("CAPTURE", "VOID", "BATCH", "ACCOUNT")},
    {"transaction": _ID, "failure": _FAILURE, "results": {"bsonType": "array"}, "account": _ID},
)

VALIDATORS: dict[str, dict[str, Any]] = {
    "users": _document(
        {
            "_id": _ID,
            "email": _STRING,
            "name": _STRING,
            "password_hash": _STRING,
            "role": _one_of("USER", "ADMIN", "SYSTEM"),
            "created_at": _DATE,
        },
        # `vouched` counts demotions of other SYSTEM users after which this one remained: two that race both write it,
        # so MongoDB lets only one through. `session_generation` counts changes of the password; a session belongs to
        # the generation in which it started. `spared_session` outlived the last change. `letters`: when each kind goes.
        {
            "name_key": _STRING,
            "vouched": {"bsonType": "int"},
            "session_generation": _COUNT,
            "spared_session": _optional(_STRING),
            "language": _STRING,
            "letters": {"bsonType": "object", "additionalProperties": _one_of("each", "daily", "weekly", "off")},
        },
    ),
    "accounts": _document(
        {
            "_id": _ID,
            "kind": _KIND,
            "currency": _STRING,
            "status": _one_of("ACTIVE", "FROZEN", "CLOSED"),
            "created_at": _DATE,
        },
        # `incoming_holds` counts the holds ever placed in the account's favour. Because each hold writes it, a hold and
        # a close that race conflict, and MongoDB lets only one through.
        # The previous release writes no `number`; an upgrade adds it.
        {"user": _ID, "name": _optional(_STRING), "incoming_holds": _MONEY, "number": _NUMBER},
    ),
    "payees": _document(
        {"_id": _ID, "user": _ID, "account": _ID, "number": _NUMBER, "name": _STRING, "created_at": _DATE}
    ),
    # Movements of money and key uses share a collection, because one unique index must cover all keys of a user.
    "transactions": {"oneOf": [_TRANSACTION, _KEY_USE]},
    # `_id` is a transaction that was reversed, `by` its reversal. So each can be reversed once, on whichever shard.
    "reversals": _document({"_id": _ID, "by": _ID}),
    "ledger_entries": _document(
        {
            "_id": _ID,
            "account": _ID,
            "sequence": {"bsonType": "long", "minimum": 0},
            "type": _one_of("DEBIT", "CREDIT", "HOLD", "RELEASE", "STATUS"),
            "amount": {**_MONEY, "minimum": 0},
            "balance": _MONEY,
            "held": {**_MONEY, "minimum": 0},
            "transaction": _optional(_ID),
            "counterparty": _optional(_ID),
            "description": _optional(_STRING),
            "created_at": _DATE,
            "previous_hash": _HASH,
            "hash": _HASH,
        },
        # Entries have these since version 2 of the hash. `identity` is in STATUS entries only.
        {
            "version": {"bsonType": "int", "minimum": 2},
            "record_hash": _HASH,
            "identity": _document({"user": _optional(_ID), "kind": _KIND, "currency": _STRING}, {"number": _NUMBER}),
        },
    ),
    "audit_log": _document(
        {"_id": _ID, "at": _DATE, "actor": _ID_OR_NAME, "action": _STRING, "subject": _ID_OR_NAME},
        {
            "reason": _optional(_STRING),
            "before": _optional({"bsonType": "object"}),
            "after": _optional({"bsonType": "object"}),
            "request_id": _optional(_STRING),
            "address": _optional(_STRING),
        },
    ),
    "leases": _document({"_id": _STRING, "holder": _STRING, "until": _DATE}),
    # A spent refresh token, an ended session, or a user's mark that ends all sessions before a generation.
    "revoked_tokens": _document(
        {"_id": _STRING, "expires_at": _DATE},
        {"generation": _COUNT, "spared": _optional(_STRING), "spent_at": _DATE, "asked_at": _DATE},
    ),
    "password_resets": _document({"_id": _STRING, "token_hash": _STRING, "user": _optional(_ID), "expires_at": _DATE}),
    "login_failures": _document(
        {
            "_id": _STRING,
            "failures": _COUNT,
            "recent": {"bsonType": "array", "items": _DATE},
            "expires_at": _DATE,
        },
        # Version 1 wrote `blocked_until`, and may still run while the database is brought up to date.
        {"last_failure_at": _DATE, "blocked_until": _DATE},
    ),
    # From which network a user came: a hash of both, which reveals neither.
    "known_clients": _document({"_id": _STRING, "expires_at": _DATE}),
    "rate_limits": _document({"_id": _STRING, "count": _COUNT, "expires_at": _DATE}),
    "outbox": _document(
        {
            "_id": _ID,
            "kind": _STRING,
            "state": _one_of("PENDING", "SENT", "DEAD"),
            "attempts": {"bsonType": "int", "minimum": 0},
            "next_attempt_at": _DATE,
        },
        # `news`: ids, of which the messages are worked out; `payload`: a single message. `user`: its only reader, and
        # `account` his side. `told`: the parts of a block that are done. `moment`: the same in messages that were
        # written together. `lost`: how many deliverers died while they held it. `was_due_at`: when it was due, while it
        # is leased. `deferred`, `digest_at`: it waits for a digest. `only`: the identities of its messages.
        {
            "user": _ID,
            "account": _ID,
            "at": _DATE,
            "news": {"bsonType": "array", "items": _document({"event": _STRING, "subjects": {"bsonType": "array"}})},
            "payload": _document({"at": _DATE}, {"amount": _MONEY, "balance": _MONEY, "available": _MONEY}),
            "told": {"bsonType": "array", "items": _STRING},
            "urgent": {"enum": [True]},
            "moment": _ID,
            "lease": _ID,
            "lost": _COUNT,
            "was_due_at": _DATE,
            "deferred": {"enum": [True]},
            "digest_at": _DATE,
            "only": {"bsonType": "array", "items": _STRING},
            "sent_at": _DATE,
            "error": _STRING,
            # The package `outbox`, in `feed`, describes these.
            "readers": {"bsonType": "array", "items": _ID},
            "sides": _HASH,
            "causal": {"bsonType": "timestamp"},
            "unplaced": {"enum": [True]},
            "position": _POSITION,
        },
    ),
    # The package `webhooks`, in `repository`, describes these two.
    "webhooks": _document(
        {
            "_id": _ID,
            "user": _ID,
            "url": _STRING,
            "host": _STRING,
            "types": {"bsonType": "array", "items": _STRING, "minItems": 1},
            "status": _one_of("ACTIVE", "DISABLED"),
            "slot": _COUNT,
            "created_at": _DATE,
            "secrets": {"bsonType": "array", "items": _document({"sealed": _HASH}, {"until": _DATE}), "minItems": 1},
            "place": {"bsonType": "array", "minItems": 3, "maxItems": 3},
        },
        {
            "description": _optional(_STRING),
            "disabled_reason": _STRING,
            "delivered": _COUNT,
            "news": _COUNT,
            "walked": _COUNT,
            "due_at": _DATE,
            "lease": _ID,
            "not_before": _DATE,
            "unanswered": _document({"delivery": _ID, "at": _DATE}),
            "failing_since": _DATE,
            "proven": {"enum": [True]},
            "last_delivery": {"bsonType": "object"},
        },
    ),
    "webhook_deliveries": _document(
        {
            "_id": _ID,
            "webhook": _ID,
            "user": _ID,
            "event": _document({"id": _STRING, "type": _STRING, "created_at": _DATE, "data": {"bsonType": "object"}}),
            "number": _POSITION,
            "status": _one_of("PENDING", "DELIVERED", "FAILED"),
            "attempts": {"bsonType": "array", "items": _document({"at": _DATE}, {"status": {"bsonType": "int"}})},
            "created_at": _DATE,
            "expires_at": _DATE,
        },
        {"next_attempt_at": _DATE, "asked": {"enum": [True]}},
    ),
    # The last position that was given to a document of the outbox, and up to which webhooks were told.
    "feed": _document({"_id": _STRING, "position": _POSITION}),
    "letter_counts": _document({"_id": _STRING, "count": {"bsonType": "int"}, "expires_at": _DATE}),
    # The public halves of the keys that signed receipts. `_id` is the key's id.
    "receipt_keys": _document({"_id": _STRING, "x": _STRING, "first_used_at": _DATE}),
    # The package `migrations` describes these documents. Every one has a version, because version 1 asks for it.
    "schema": _document(
        {"_id": _STRING, "version": _VERSION},
        {
            "oldest": _VERSION,
            "shape": _STRING,
            "expanded_at": _DATE,
            "finished_at": _DATE,
            "number": _VERSION,
            "name": _STRING,
            "phase": _one_of("EXPAND", "CONTRACT"),
            "by": _STRING,
            "begun_at": _DATE,
            "done_at": _DATE,
            "notes": {"bsonType": "array", "items": _STRING},
            "copy": _STRING,
            "done": {"bsonType": "array", "items": _STRING},
        },
    ),
}

_HISTORY = [("accounts", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]
_NOT_DECLINED = ["PENDING", "COMPLETED", "REVERSED", "VOIDED"]

INDEXES: dict[str, list[IndexModel]] = {
    "users": [
        IndexModel("email", unique=True),
        IndexModel([("name_key", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("created_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel("role", partialFilterExpression={"role": "SYSTEM"}),
    ],
    # Each ends with the order of the list, so that a page is one seek, whichever filter is used.
    "accounts": [
        IndexModel("number", unique=True, partialFilterExpression={"number": {"$exists": True}}),
        IndexModel([("created_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("user", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("status", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("currency", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("kind", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
    ],
    # A user saves a number once. It also leads to all that a user has saved.
    "payees": [IndexModel([("user", ASCENDING), ("number", ASCENDING)], unique=True)],
    "transactions": [
        IndexModel([("user", ASCENDING), ("idempotency_key", ASCENDING)], unique=True),
        # Histories: what was not declined, what was, and the latter by initiator. So a page never reads past strangers'
        # declined attempts. A declined transaction stays declined, so none moves from one index to another.
        IndexModel(_HISTORY, name="not_declined", partialFilterExpression={"status": {"$in": _NOT_DECLINED}}),
        IndexModel(_HISTORY, name="declined", partialFilterExpression={"status": "FAILED"}),
        IndexModel([("user", ASCENDING), *_HISTORY], name="own_declined", partialFilterExpression={"status": "FAILED"}),
        IndexModel("expires_at", partialFilterExpression={"status": "PENDING"}),
        # The open holds of an account, as either party or as payer. `expires_at` separates the overdue ones.
        IndexModel([("accounts", ASCENDING), ("expires_at", ASCENDING)], partialFilterExpression={"status": "PENDING"}),
        IndexModel(
            [("from_account", ASCENDING), ("expires_at", ASCENDING)], partialFilterExpression={"status": "PENDING"}
        ),
        # The captures and voids of a hold.
        IndexModel("transaction", partialFilterExpression={"transaction": {"$exists": True}}),
    ],
    "ledger_entries": [
        # Descending, so that the heads of many accounts are one DISTINCT_SCAN.
        IndexModel([("account", ASCENDING), ("sequence", DESCENDING)], unique=True),
        # Finds the place in a journal for a time with one seek: for balances at a time, statements and lists.
        IndexModel([("account", ASCENDING), ("created_at", DESCENDING), ("sequence", DESCENDING)]),
        IndexModel("transaction"),
    ],
    "audit_log": [
        IndexModel([("at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("subject", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("actor", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)]),
    ],
    "revoked_tokens": [IndexModel("expires_at", expireAfterSeconds=0)],
    "password_resets": [IndexModel("expires_at", expireAfterSeconds=0), IndexModel("token_hash", unique=True)],
    "login_failures": [IndexModel("expires_at", expireAfterSeconds=0)],
    "known_clients": [IndexModel("expires_at", expireAfterSeconds=0)],
    "rate_limits": [IndexModel("expires_at", expireAfterSeconds=0)],
    "letter_counts": [IndexModel("expires_at", expireAfterSeconds=0)],
    "webhooks": [
        IndexModel([("user", ASCENDING), ("slot", ASCENDING)], unique=True),
        IndexModel("due_at", partialFilterExpression={"due_at": {"$exists": True}}),
        # Whether anybody has an enabled webhook.
        IndexModel("status", partialFilterExpression={"status": "ACTIVE"}),
    ],
    "webhook_deliveries": [
        IndexModel([("webhook", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
        # The messages to send, in order, and when the next one is due.
        IndexModel(
            [("webhook", ASCENDING), ("number", ASCENDING), ("next_attempt_at", ASCENDING)],
            partialFilterExpression={"status": "PENDING"},
        ),
        IndexModel(
            [("webhook", ASCENDING), ("next_attempt_at", ASCENDING)], partialFilterExpression={"status": "PENDING"}
        ),
        IndexModel("webhook", partialFilterExpression={"status": "PENDING", "asked": True}),
        IndexModel("expires_at", expireAfterSeconds=0),
    ],
    "outbox": [
        IndexModel([("state", ASCENDING), ("next_attempt_at", ASCENDING)]),
        # Whose turn it is: the oldest message of each reader is found with one seek.
        IndexModel(
            [("state", ASCENDING), ("user", ASCENDING), ("next_attempt_at", ASCENDING)],
            partialFilterExpression={"state": "PENDING"},
        ),
        IndexModel("next_attempt_at", partialFilterExpression={"state": "PENDING", "urgent": True}),
        IndexModel(
            "sent_at",
            expireAfterSeconds=SENT_MESSAGES_KEPT_S,
            partialFilterExpression={"sent_at": {"$exists": True}},
        ),
        IndexModel("position", partialFilterExpression={"position": {"$exists": True}}),
        IndexModel([("causal", ASCENDING), ("_id", ASCENDING)], partialFilterExpression={"unplaced": True}),
        # A document without a position is not in it, so that postings do not pay for this index.
        IndexModel(
            [("readers", ASCENDING), ("position", ASCENDING)], partialFilterExpression={"position": {"$exists": True}}
        ),
    ],
}
