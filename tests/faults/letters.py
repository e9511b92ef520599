"""Mail that is waiting in the outbox, and a deliverer for it."""

from datetime import UTC, datetime

from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import mongo
from app.extensions import mail
from app.mongo import Document
from app.notifications import messages, outbox
from app.notifications.delivery import Deliverer
from app.processes import LOOPBACK
from config import MailConfig

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


def use(app: Flask, port: int) -> Deliverer:
    mail.configure(app, MailConfig(server=LOOPBACK, port=port, sender="Fincore <bank@fincore.example>"))
    return Deliverer(app)


def fill(database: Database[Document], count: int) -> list[str]:
    """Put a welcome to each of so many users into the outbox, in order, and return their addresses."""
    users = [
        {
            "_id": ObjectId(),
            "name": f"User {number}",
            "email": f"user-{number}@fincore.example",
            "password_hash": "none",
            "role": "USER",
            "created_at": NOW,
        }
        for number in range(count)
    ]
    database.users.insert_many(users)
    mongo.atomically(lambda session: outbox.insert([messages.welcome(user) for user in users], session))
    return [str(user["email"]) for user in users]


def make_due(database: Database[Document]) -> None:
    """Let all the time pass that unsent messages wait for, leases included."""
    database.outbox.update_many({"state": "PENDING"}, {"$set": {"next_attempt_at": NOW}})
