"""The requests and answers of the admin routes."""

from typing import Any

from marshmallow import fields

from app.accounts.schemas import (
    EXAMPLE_ACCOUNT,
    EXAMPLE_BALANCES,
    EXAMPLE_OWNER,
    REASON_LENGTH_MAX,
    AccountKindName,
    AccountStatusName,
    AccountWithBalanceSchema,
)
from app.auth.schemas import EXAMPLE_USER, RoleName, UserSchema
from app.fields import CamelSchema, Choice, Currency, CurrencyCode, Id, Line, Total, UtcDateTime
from app.http.paging import EXAMPLE_CURSOR, PageSchema
from app.outbox.messages import MessageState

SEARCH_LENGTH_MAX = 320
_CURSOR = {"description": "For the next page, or null at the end."}


class IdOrName(Id):
    """An id, or a name if there is no id, such as `cli:root`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"pattern": ".+", **kwargs.pop("metadata", {})}, **kwargs)


class UserQuerySchema(PageSchema):
    q = Line(
        length_min=1,
        length_max=SEARCH_LENGTH_MAX,
        metadata={"description": "An id, or the start of a name or an e-mail address, in upper or lower case."},
    )


class UserPageSchema(CamelSchema):
    """A page of users."""

    example = {"users": [EXAMPLE_USER], "nextCursor": EXAMPLE_CURSOR}

    users = fields.List(fields.Nested(UserSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class AccountQuerySchema(PageSchema):
    status = AccountStatusName()
    user = Line(
        length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The owner's id or e-mail address."}
    )
    currency = Currency()
    kind = AccountKindName()


class AccountPageSchema(CamelSchema):
    """A page of accounts with their owners and balances."""

    example = {"accounts": [{**EXAMPLE_ACCOUNT, **EXAMPLE_BALANCES, **EXAMPLE_OWNER}], "nextCursor": None}

    accounts = fields.List(fields.Nested(AccountWithBalanceSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class ChangeStatusSchema(CamelSchema):
    """The new status of an account, and why it changes."""

    status = AccountStatusName(required=True)
    reason = Line(
        length_min=1, length_max=REASON_LENGTH_MAX, required=True, metadata={"description": "For the audit log."}
    )


class ChangeRoleSchema(CamelSchema):
    """The new role of a user, and why it changes."""

    role = RoleName(required=True)
    reason = Line(length_min=1, length_max=REASON_LENGTH_MAX, metadata={"description": "For the audit log."})


class AuditQuerySchema(PageSchema):
    subject = Line(
        length_min=1,
        length_max=SEARCH_LENGTH_MAX,
        metadata={"description": "The thing acted on: its id or name, or the number of an account."},
    )
    actor = Line(length_min=1, length_max=SEARCH_LENGTH_MAX, metadata={"description": "The id or name of who acted."})


class AuditRecordSchema(CamelSchema):
    """A record of the audit log: who did what to what, when, why and from where."""

    id = Id(attribute="_id", required=True)
    at = UtcDateTime(required=True)
    actor = IdOrName(required=True)
    action = fields.String(required=True)
    subject = IdOrName(required=True)
    reason = fields.String(required=True, allow_none=True)
    before = fields.Dict(required=True, allow_none=True, metadata={"description": "The changed values before."})
    after = fields.Dict(required=True, allow_none=True, metadata={"description": "The changed values after."})
    request_id = fields.String(required=True, allow_none=True)
    address = fields.String(required=True, allow_none=True)


class AuditPageSchema(CamelSchema):
    """A page of the audit log."""

    example = {
        "records": [
            {
                "id": "6560a1b2c3d4e5f601236001",
                "at": "2026-11-22T16:00:00.123Z",
                "actor": "6560a1b2c3d4e5f601230009",
                "action": "account_frozen",
                "subject": EXAMPLE_ACCOUNT["id"],
                "reason": "Reported stolen",
                "before": {"status": "ACTIVE"},
                "after": {"status": "FROZEN"},
                "requestId": "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4",
                "address": "203.0.113.7",
            }
        ],
        "nextCursor": None,
    }

    records = fields.List(fields.Nested(AuditRecordSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class CurrencySumsSchema(CamelSchema):
    """The sums of the ledger in one currency, in minor units."""

    currency = CurrencyCode(required=True)
    total_debits = Total(required=True, metadata={"description": "The sum of all DEBIT entries."})
    total_credits = Total(required=True, metadata={"description": "The sum of all CREDIT entries."})
    treasury_balance = Total(required=True, metadata={"description": "Minus the money that the bank has issued."})
    customer_balance = Total(required=True, metadata={"description": "The balances of all customers together."})
    accounts = fields.Integer(required=True, metadata={"description": "The number of accounts, with the treasury."})


class TrialBalanceSchema(CamelSchema):
    """The sums of the whole ledger, as of one moment."""

    example = {
        "currencies": [
            {
                "currency": "INR",
                "totalDebits": 1_250_000,
                "totalCredits": 1_250_000,
                "treasuryBalance": -1_000_000,
                "customerBalance": 1_000_000,
                "accounts": 3,
            }
        ],
        "balanced": True,
    }

    currencies = fields.List(fields.Nested(CurrencySumsSchema), required=True)
    balanced = fields.Boolean(
        required=True,
        metadata={"description": "Whether, in each currency, debits equal credits and all balances add up to zero."},
    )


class MessageStateName(Choice):
    """The state of a message."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MessageState, named="MessageState", **kwargs)


class OutboxQuerySchema(PageSchema):
    state = MessageStateName()


class MessageSchema(CamelSchema):
    """A message that waits for delivery by mail or was sent: its state, but never its text."""

    id = Id(attribute="_id", required=True)
    kind = fields.String(
        required=True,
        metadata={
            "description": "What it is about, such as `money_sent`. `block`: all messages of a block of postings; "
            "`digest`: several things for one reader."
        },
    )
    user_id = Id(
        attribute="user",
        required=True,
        allow_none=True,
        dump_default=None,
        metadata={"description": "Its only reader; null for a `block`, which may have many."},
    )
    news = fields.Integer(required=True, metadata={"format": "int32", "description": "How many things it reports."})
    state = MessageStateName(required=True)
    attempts = fields.Integer(required=True, metadata={"format": "int32"})
    next_attempt_at = UtcDateTime(required=True, metadata={"description": "Without meaning once it is SENT or DEAD."})
    error = fields.String(
        required=True, allow_none=True, dump_default=None, metadata={"description": "Why the last attempt failed."}
    )
    created_at = UtcDateTime(required=True, metadata={"description": "In whole seconds."})


EXAMPLE_MESSAGE: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f601238001",
    "kind": "money_received",
    "userId": EXAMPLE_USER["id"],
    "news": 1,
    "state": "DEAD",
    "attempts": 12,
    "nextAttemptAt": "2026-11-22T16:00:00.123Z",
    "error": "550 mailbox unavailable",
    "createdAt": "2026-11-21T16:00:00.000Z",
}


class OutboxPageSchema(CamelSchema):
    """A page of the outbox."""

    example = {"messages": [EXAMPLE_MESSAGE], "nextCursor": None}

    messages = fields.List(fields.Nested(MessageSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True, metadata=_CURSOR)


class MessageAnswerSchema(CamelSchema):
    """A message of the outbox."""

    example = {"message": {**EXAMPLE_MESSAGE, "state": "PENDING", "attempts": 0}}

    message = fields.Nested(MessageSchema, required=True)


class PostingsSchema(CamelSchema):
    """The outcomes of the postings of a minute."""

    at = UtcDateTime(required=True, metadata={"description": "When the minute started."})
    posted = fields.Integer(required=True)
    declined = fields.Integer(required=True, metadata={"description": "For a business reason, with a record."})


class DeclinesSchema(CamelSchema):
    """How many of these postings were declined for one reason."""

    code = fields.String(required=True)
    count = fields.Integer(required=True)


class OutboxStateSchema(CamelSchema):
    """How much mail waits."""

    waiting = fields.Integer(required=True)
    dead = fields.Integer(required=True, metadata={"description": "Given up until somebody retries it."})
    oldest_age_seconds = fields.Integer(
        required=True, metadata={"description": "How long the oldest waiting message has waited; 0 if none waits."}
    )


class HoldCountsSchema(CamelSchema):
    """How many holds are pending, 100,000 at most."""

    open = fields.Integer(required=True)
    overdue = fields.Integer(required=True, metadata={"description": "Expired, and about to be released."})


class DatabaseStateSchema(CamelSchema):
    """The database."""

    version = fields.String(required=True, metadata={"description": "The version of MongoDB."})
    schema_version = fields.Integer(required=True, metadata={"format": "int32"})
    upgrade_finished = fields.Boolean(required=True, metadata={"description": "false: `flask db finish` is due."})


class StatusSchema(CamelSchema):
    """The state of the bank, for an operator's page."""

    example = {
        "at": "2026-11-22T16:00:12.345Z",
        "version": "0.1.0",
        "uptimeSeconds": 86_400,
        "postings": [
            {"at": "2026-11-22T15:59:00.000Z", "posted": 812, "declined": 3},
            {"at": "2026-11-22T16:00:00.000Z", "posted": 170, "declined": 0},
        ],
        "declines": [{"code": "insufficient_funds", "count": 3}],
        "outbox": {"waiting": 2, "dead": 1, "oldestAgeSeconds": 4},
        "holds": {"open": 12, "overdue": 0},
        "users": 1_204,
        "accounts": 2_310,
        "database": {"version": "6.0.5", "schemaVersion": 2, "upgradeFinished": True},
    }

    at = UtcDateTime(required=True)
    version = fields.String(required=True, metadata={"description": "The version of Fincore."})
    uptime_seconds = fields.Integer(required=True, metadata={"description": "Of the process that answers."})
    postings = fields.List(
        fields.Nested(PostingsSchema),
        required=True,
        metadata={
            "description": "Of the last 15 minutes and the present one, oldest first. Under very high load fewer "
            "minutes: 50,000 records are looked at."
        },
    )
    declines = fields.List(
        fields.Nested(DeclinesSchema), required=True, metadata={"description": "The most frequent reason first."}
    )
    outbox = fields.Nested(OutboxStateSchema, required=True)
    holds = fields.Nested(HoldCountsSchema, required=True)
    users = fields.Integer(required=True)
    accounts = fields.Integer(required=True, metadata={"description": "Including the bank's own."})
    database = fields.Nested(DatabaseStateSchema, required=True)
