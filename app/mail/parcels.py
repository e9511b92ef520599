"""Parcels: the messages of one outbox document to one reader. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bson import ObjectId

from app.mongo import Document
from app.outbox import repository as outbox
from app.outbox.messages import URGENT, OutboxMessage


@dataclass(slots=True, eq=False)
class Parcel:
    """The messages of one document to one reader. `document` is an outline until it is claimed.

    `key` is noted in the document of a block once this part of it is sent. The document of a
    single reader has no key, and no messages until it is claimed. `apart` are documents for
    messages that cannot be written or go later; they are inserted when the others are done.
    `divided` means that its news also stand for messages to the same reader that are not in it.
    """

    document: Document
    reader: ObjectId
    messages: list[OutboxMessage] = field(default_factory=list)
    apart: list[Document] = field(default_factory=list)
    key: str | None = None
    divided: bool = False

    @property
    def is_of_block(self) -> bool:
        return self.key is not None

    @property
    def is_urgent(self) -> bool:
        """Whether it is about security, so that it goes first and alone. A block's parcels are all or not at all."""
        kind = self.messages[0].kind if self.is_of_block and self.messages else self.document["kind"]
        return kind in URGENT

    @property
    def is_kept(self) -> bool:
        """Whether it waits, or waited, for a digest that its reader has chosen."""
        return self.digest_at is not None

    @property
    def digest_at(self) -> datetime | None:
        """When that digest goes, or first went."""
        digest_at: datetime | None = self.document.get("digest_at")
        return digest_at

    @property
    def size(self) -> int:
        """Roughly how many messages a claim of this takes. A parcel of a block was claimed with its block."""
        return 0 if self.is_of_block else max(1, int(self.document.get("size", 1)))

    @property
    def due_at(self) -> datetime:
        due_at: datetime = self.document.get("was_due_at") or self.document["next_attempt_at"]
        return due_at

    @property
    def at(self) -> datetime:
        """Roughly when the block of this news was committed."""
        at: datetime = self.document["at"]
        return at

    @property
    def attempts(self) -> int:
        attempts: int = self.document["attempts"]
        return attempts

    def identities(self) -> list[str]:
        """Return an id for each message that is the same at every attempt."""
        return [str(self.document["_id"]) if m.news is None else m.identity() for m in self.messages]


def document_for(reader: ObjectId, told: Sequence[OutboxMessage], *, at: datetime, divided: bool = False) -> Document:
    """Return a separate document for these messages to one reader, all worked out from news.

    `divided` means that the news also stand for other messages to the reader.
    """
    news = list(dict.fromkeys(message.news for message in told if message.news is not None))
    if len(told) > 1:
        document = outbox.reader_document(reader, outbox.DIGEST, news, at=at)
        return {**document, "only": [message.identity() for message in told]} if divided else document
    # If both accounts are the reader's, the news stands for two messages, and the account tells which one.
    document = outbox.reader_document(reader, str(told[0].kind), news, at=at)
    return {**document, "account": told[0].payload["account"]}
