"""The application with one thing broken, or on a host whose clock is wrong: `gunicorn tests.drills.launcher:app`.

The program itself has no switch for this. Functions are replaced here, before the application is made.
"""

import os
import smtplib
import time
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

from pymongo.write_concern import WriteConcern

from app import clock, create_app
from app.mongo import blocks
from app.outbox import repository as outbox
from local.processes import LOOPBACK

# Long enough for a fault to come between.
UNTIL_COMMIT_S = 0.2


def no_majority() -> None:
    """Blocks are acknowledged before a majority has them."""
    setattr(blocks, "WriteConcern", lambda **_: WriteConcern(w=1))  # noqa: B010 - to mypy it is not there


def witness_outside() -> None:
    """Messages are written outside the block that they tell of."""
    tell = outbox.tell

    def tell_at_once(decided: Any, session: Any) -> None:
        tell(decided, None)  # type: ignore[arg-type]
        time.sleep(UNTIL_COMMIT_S)

    outbox.tell = tell_at_once


def mail_before_commit() -> None:
    """Letters leave from inside the block."""
    tell = outbox.tell

    def send_and_tell(decided: Any, session: Any) -> None:
        tell(decided, session)
        with smtplib.SMTP(LOOPBACK, int(os.environ["MAIL_PORT"])) as smtp:
            for decision in decided.decisions:
                if decision.inserted is not None:
                    smtp.send_message(_letter(decision.inserted.id))
        time.sleep(UNTIL_COMMIT_S)

    outbox.tell = send_and_tell


def _letter(transaction: Any) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"] = "bank@fincore.example", "somebody@fincore.example"
    letter["Message-ID"] = f"<{transaction}@fincore.example>"
    letter.set_content(f"Transaction: {transaction}")
    return letter


BREAKAGES = {each.__name__: each for each in (no_majority, witness_outside, mail_before_commit)}


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
