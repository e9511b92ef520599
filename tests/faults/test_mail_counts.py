"""The outcomes of letters are counted, for monitoring."""

from flask import Flask
from pymongo.database import Database

from app.mail.desk import ATTEMPTS_MAX
from app.mongo import Document
from tests.api.test_metrics import value
from tests.mail import SmtpServer, fill, use
from tests.people import Bank


def test_each_letter_is_counted_by_what_became_of_it(
    bank: Bank, mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    taken, refused, given_up = fill(database, 3)
    server.on_recipient = {refused: "451 not now", given_up: "451 not now"}.get
    user = database.users.find_one({"email": given_up})
    assert user is not None
    database.outbox.update_one({"user": user["_id"]}, {"$set": {"attempts": ATTEMPTS_MAX - 1}})
    before = bank.anonymous.get("/metrics")

    use(mail_app, server.port).deliver_due()

    after = bank.anonymous.get("/metrics")
    for outcome in ("sent", "failed", "dead"):
        labels = {"outcome": outcome}
        assert value(after, "fincore_letters_total", **labels) == value(before, "fincore_letters_total", **labels) + 1
    assert [received.recipient for received in server.received] == [taken]
