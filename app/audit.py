"""The audit log: who did what to what, why and from where. Append-only, like the ledger.

A record is written in the same atomic block as the act it tells of.
"""

from collections.abc import Iterable
from datetime import datetime

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.ledger.records import Act
from app.mongo import Document, database


def audit_record(
    act: Act, action: str, subject: ObjectId | str, *, at: datetime, before: Document | None, after: Document | None
) -> Document:
    """Return the record of an act. `subject` is the id of what it was done to, or what names it best without one."""
    return {
        "at": at,
        "actor": act.actor,
        "action": action,
        "subject": subject,
        "reason": act.reason,
        "before": before,
        "after": after,
        "request_id": act.request_id,
        "address": act.address,
    }


def insert_audit_records(records: Iterable[Document], session: ClientSession) -> None:
    documents = list(records)
    if documents:
        database().audit_log.insert_many(documents, session=session)
