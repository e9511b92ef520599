"""What a migration is, and what it can use while it runs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pymongo import ASCENDING
from pymongo.database import Database

from app.mongo import Document

WALKED_AT_ONCE = 1_000


class Refused(Exception):
    """The database is not in the right state for this; the text says why and what to do. Nothing was done."""


class Phase(StrEnum):
    EXPAND = "EXPAND"  # while the old release serves
    CONTRACT = "CONTRACT"  # after its last process has gone


class Watch(Protocol):
    """An observer of an upgrade, such as a terminal."""

    def waits(self, holder: str) -> None:
        """Show that another process is at work, and that this one waits for it."""

    def follows(self, title: str, length: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Follow one step. The yielded function is called with the number of documents done since its last call."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered change of the data, recorded once it is done.

    `run` may be killed at any point, and then runs again from the position that it kept. So it must be idempotent.
    `size` names the collection whose number of documents is the total for the progress bar.
    """

    number: int
    version: int
    phase: Phase
    name: str
    run: Callable[["Step"], None]
    size: str | None = None


@dataclass(slots=True)
class Step:
    """What a running migration can use: the database, its position, and a way to tell the operator something."""

    database: Database[Document]
    position: Any
    advanced: Callable[[int], None]
    keep: Callable[[Any], None]
    note: Callable[[str], None]

    def walk(self, name: str, fields: list[str]) -> Iterator[list[Document]]:
        """Yield a collection's documents in the order of their ids, in batches, from where the last run stopped.

        The position is kept after each batch, once the caller asks for the next one. Documents that others insert
        meanwhile with smaller ids may be left out.
        """
        while True:
            after = {} if self.position is None else {"_id": {"$gt": self.position}}
            found = self.database[name].find(after, projection=fields).sort("_id", ASCENDING).limit(WALKED_AT_ONCE)
            batch = list(found)
            if not batch:
                return
            yield batch
            self.position = batch[-1]["_id"]
            self.keep(self.position)
            self.advanced(len(batch))
