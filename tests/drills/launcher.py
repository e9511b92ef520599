"""The application with one thing broken, or on a host whose clock is wrong: `gunicorn tests.drills.launcher:app`.

The program itself has no switch for this. Functions are replaced here, before the application is made.
"""

import os
import smtplib
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.write_concern import WriteConcern

from app import clock, create_app, mongo
from app.ledger import repository
from app.ledger.records import Account, Entry
from app.mongo import blocks
from app.outbox import repository as outbox
from local.processes import LOOPBACK

# The reader of letters that are sent before the commit.
TOO_EARLY = "too-early@fincore.example"
# Long enough for a fault to happen in between.
UNTIL_COMMIT_S = 0.2


def no_majority() -> None:
    """Blocks are acknowledged before a majority has them."""
    setattr(blocks, "WriteConcern", lambda **_: WriteConcern(w=1))  # noqa: B010 - to mypy it is not there


def witness_outside() -> None:
    """Messages are written outside the block that they tell of."""
    tell = outbox.tell

    def tell_at_once(decided: Any, session: Any) -> list[mongo.Insert]:
        for collection, documents in tell(decided, session):
            mongo.database()[collection].insert_many(documents)
        time.sleep(UNTIL_COMMIT_S)
        return []

    outbox.tell = tell_at_once


def mail_before_commit() -> None:
    """Letters leave from inside the block."""
    tell = outbox.tell

    def send_and_tell(decided: Any, session: Any) -> list[mongo.Insert]:
        with smtplib.SMTP(LOOPBACK, int(os.environ["MAIL_PORT"])) as smtp:
            for decision in decided.decisions:
                if decision.inserted is not None:
                    smtp.send_message(_letter(decision.inserted.id))
        time.sleep(UNTIL_COMMIT_S)
        return tell(decided, session)

    outbox.tell = send_and_tell


def head_outside() -> None:
    """Blocks read the newest entries as they are now, not as of their snapshot."""
    find = repository.find

    def find_now(accounts: Collection[ObjectId], session: ClientSession | None = None, **more: Any) -> repository.Found:
        found = find(accounts, session, **more)
        heads, _ = repository.find_heads_and_time(accounts)
        return replace(found, accounts=[_with_head(account, heads.get(account.id)) for account in found.accounts])

    repository.find = find_now


def _with_head(account: Account, head: Entry | None) -> Account:
    if head is None:
        return account
    return replace(
        account, at=head.created_at, sequence=head.sequence, balance=head.balance, held=head.held, hash=head.hash
    )


def no_key_index() -> None:
    """No index keeps a key from being spent twice. The house has dropped it."""


def retry_without_key() -> None:
    """Clients ask again under a new key. The load does so."""


def _letter(transaction: Any) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"] = "bank@fincore.example", TOO_EARLY
    letter["Message-ID"] = f"<{transaction}@fincore.example>"
    letter.set_content(f"Transaction: {transaction}")
    return letter


BREAKAGES = {
    each.__name__: each
    for each in (no_majority, no_key_index, mail_before_commit, witness_outside, head_outside, retry_without_key)
}


def shift_clock(by: timedelta) -> None:
    """Let this process's host be off: what the application dates, and what its libraries do."""
    import flask_jwt_extended.tokens
    import jwt.api_jwt

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Shifted":
            return super().now(tz) + by

    now, seconds = clock.now, time.time
    clock.now = lambda: now() + by
    time.time = lambda: seconds() + by.total_seconds()
    flask_jwt_extended.tokens.datetime = Shifted  # type: ignore[attr-defined]
    jwt.api_jwt.datetime = Shifted  # type: ignore[attr-defined]


for name in filter(None, os.environ.get("DRILL_BREAKAGES", "").split(",")):
    BREAKAGES[name]()
if off := os.environ.get("DRILL_CLOCK_OFF_S"):
    shift_clock(timedelta(seconds=int(off)))

app = create_app()
