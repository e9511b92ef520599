"""The audit log: who did what to what, why and from where. Append-only, like the ledger.

A record is written in the same atomic block as the act that it describes:
{at, actor, action, subject, reason, before, after, request_id, address}.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.acts import Act, Change
from app.mongo import Document, Insert, database


def audit_record(
    act: Act, action: str, subject: ObjectId | str, *, at: datetime, before: Document | None, after: Document | None
) -> Document:
    """Return the record of an act. `subject` is the id of the thing acted on, or a name if it has no id."""
    return {
        "_id": ObjectId(),
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


class Acts(Protocol):
    """The acts of one atomic block, and its time. The ledger's `Decided` has this shape."""

    @property
    def at(self) -> datetime: ...

    @property
    def acts(self) -> Iterable[tuple[Act, Change]]: ...


def record_acts(decided: Acts, _session: ClientSession) -> list[Insert]:
    """Return the records of all acts of a block, which are written in the block. This is the ledger's witness here."""
    records = [
        audit_record(
            act, change.action, change.subject, at=decided.at, before=dict(change.before), after=dict(change.after)
        )
        for act, change in decided.acts
    ]
    return [Insert("audit_log", records)]
