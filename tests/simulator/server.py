"""The server of the scripted database: versions of documents, snapshots, locks, unique indexes and commits.

It behaves as MongoDB does: a block reads as of its first operation and conflicts with whoever
wrote first; a unique index is kept across blocks; an abandoned block keeps its locks until the
server's patience ends; a commit without a majority is not durable yet.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from bson import ObjectId
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from tests.simulator.queries import Document, matches, updated
from tests.simulator.schedule import Schedule

TRANSIENT = "TransientTransactionError"
UNKNOWN_COMMIT = "UnknownTransactionCommitResult"
# Like `transactionLifetimeLimitSeconds` of `make run`.
BLOCK_LIFETIME_US = 8_000_000

# `_id` is unique everywhere.
UNIQUE: dict[str, tuple[tuple[str, ...], ...]] = {
    "transactions": (("user", "idempotency_key"),),
    "ledger_entries": (("account", "sequence"),),
    "users": (("email",),),
}
INDEXED: dict[str, tuple[str, ...]] = {
    "transactions": ("idempotency_key", "status"),
    "ledger_entries": ("account",),
    "accounts": ("user",),
}


def conflict(message: str = "WriteConflict", code: int = 112) -> OperationFailure:
    return OperationFailure(message, code, {"errorLabels": [TRANSIENT]})


def gone() -> OperationFailure:
    return conflict("NoSuchTransaction", 251)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one block changed: (collection, before, after) of each document. `before` is None for a new one.

    `read_at` and `number` are the numbers of the commits that it saw last and that it became; `begun` is the primary's
    time when it first read.
    """

    number: int
    read_at: int
    begun: datetime
    changes: tuple[tuple[str, Document | None, Document], ...]


@dataclass(eq=False)
class Block:
    """An open atomic block as the server knows it."""

    read_at: int
    begun_us: int
    begun: datetime
    state: str = "open"
    writes: dict[tuple[str, Any], Document] = field(default_factory=dict)
    locks: list[tuple[Any, ...]] = field(default_factory=list)


class Server:
    """The documents of all collections with their histories, and the blocks under way."""

    def __init__(
        self, schedule: Schedule, judge: Callable[[Delta], None], *, unique: Mapping[str, Any] = UNIQUE
    ) -> None:
        self._schedule = schedule
        self._judge = judge
        self._unique = unique
        self.commits = 0
        # The number of the newest commit that a majority has.
        self.durable = 0
        # How far the primary's clock is from the true time.
        self.clock_offset = timedelta()
        self._versions: dict[tuple[str, Any], list[tuple[int, Document]]] = {}
        self._index: dict[tuple[str, str, Any], dict[Any, None]] = {}
        self._keys: dict[tuple[Any, ...], int] = {}
        self._locks: dict[tuple[Any, ...], Block] = {}
        self._open: dict[Block, None] = {}
        self._stale: list[tuple[int, str, str, Any, Any]] = []

    @property
    def now(self) -> datetime:
        """The primary's time, in whole milliseconds."""
        now = self._schedule.now + self.clock_offset
        return now.replace(microsecond=now.microsecond // 1_000 * 1_000)

    @property
    def open_blocks(self) -> int:
        return len(self._open)

    def begin(self) -> Block:
        block = Block(self.commits, self._schedule.now_us, self.now)
        self._open[block] = None
        return block

    def reap(self) -> None:
        """Abort blocks that were open for too long."""
        while self._open and (oldest := next(iter(self._open))).begun_us + BLOCK_LIFETIME_US < self._schedule.now_us:
            self._schedule.note("the server aborts an old block")
            self.abort(oldest)

    def fail_over(self) -> None:
        """Change the primary: open blocks are gone, and the new primary's clock differs a little."""
        for block in list(self._open):
            self.abort(block)
        self.clock_offset = timedelta(milliseconds=self._schedule.chance.randrange(-1_500, 1_500))

    def abort(self, block: Block) -> None:
        if block.state == "open":
            self._end(block, "aborted")

    def commit(self, block: Block, *, to_majority: bool) -> None:
        """Make a block's writes visible; raises NoSuchTransaction if it was aborted. A second time does nothing."""
        if block.state == "aborted":
            raise gone()
        if block.state == "committed":
            return
        changes = tuple((name, self._newest(name, id_), after) for (name, id_), after in block.writes.items())
        self.commits += 1
        for (name, id_), after in block.writes.items():
            self._apply(name, id_, after)
        self._end(block, "committed")
        if to_majority:
            self.durable = self.commits
        if changes:
            self._judge(Delta(self.commits, block.read_at, block.begun, changes))

    def replicate(self) -> None:
        self.durable = self.commits

    def check(self, block: Block | None) -> None:
        if block is not None and block.state != "open":
            raise gone()

    def find(self, name: str, query: Mapping[str, Any], block: Block | None) -> Iterator[Document]:
        """Yield the documents that match, as the block sees them, or as they were committed last."""
        for id_ in self._candidates(name, query, block):
            document = self._seen(name, id_, block)
            if document is not None and matches(document, query):
                yield document

    def head(self, account: ObjectId, block: Block | None) -> Document | None:
        """Return the account's newest entry, without going through its whole journal."""
        own = self._own("ledger_entries", block)
        mine = [entry for id_ in own if (entry := block.writes["ledger_entries", id_])["account"] == account]  # type: ignore[union-attr]
        if mine:
            return max(mine, key=lambda entry: entry["sequence"])
        for id_ in reversed(self._index.get(("ledger_entries", "account", account), {})):
            document = self._seen("ledger_entries", id_, block)
            if document is not None:
                return document
        return None

    def insert(self, name: str, document: Document, block: Block, *, is_bulk: bool = True) -> None:
        id_ = document["_id"]
        keys = [(name, ("_id",), id_)]
        for fields in self._unique.get(name, ()):
            if all(each in document for each in fields):
                keys.append((name, fields, *(document.get(each) for each in fields)))
        for key in keys:
            holder = self._locks.get(key)
            if holder is not None and holder is not block:
                self._fail(block, conflict())
            committed = self._keys.get(key)
            if holder is block or (committed is not None and committed <= block.read_at):
                self._fail(block, _duplicate(key, is_bulk=is_bulk))
            if committed is not None:
                # It was not there when the block first read. The server may tell either.
                chance = self._schedule.happens(0.5)
                self._fail(block, _duplicate(key, is_bulk=is_bulk) if chance else conflict())
        for key in keys:
            self._lock(key, block)
        block.writes[name, id_] = dict(document)

    def update(self, name: str, query: Mapping[str, Any], changes: Mapping[str, Any], block: Block) -> int:
        """Change the first document that matches; return how many there were."""
        found = next(self.find(name, query, block), None)
        if found is None:
            return 0
        id_ = found["_id"]
        lock = (name, "document", id_)
        holder = self._locks.get(lock)
        versions = self._versions.get((name, id_))
        if (holder is not None and holder is not block) or (versions and versions[-1][0] > block.read_at):
            self._fail(block, conflict())
        self._lock(lock, block)
        block.writes[name, id_] = updated(found, changes)
        return 1

    def all_documents(self, name: str) -> list[Document]:
        """Return all committed documents of a collection."""
        return [versions[-1][1] for (collection, _), versions in self._versions.items() if collection == name]

    def _fail(self, block: Block, error: Exception) -> NoReturn:
        # Any error ends the block on the server.
        self.abort(block)
        raise error

    def _lock(self, key: tuple[Any, ...], block: Block) -> None:
        if key not in self._locks:
            self._locks[key] = block
            block.locks.append(key)

    def _end(self, block: Block, state: str) -> None:
        block.state = state
        for key in block.locks:
            del self._locks[key]
            if state == "committed" and key[1] != "document":
                self._keys[key] = self.commits
        del self._open[block]
        self._forget_stale()

    def _apply(self, name: str, id_: Any, after: Document) -> None:
        versions = self._versions.setdefault((name, id_), [])
        before = versions[-1][1] if versions else None
        versions.append((self.commits, after))
        for each in INDEXED.get(name, ()):
            value = after.get(each)
            if before is None or before.get(each) != value:
                self._index.setdefault((name, each, value), {})[id_] = None
                if before is not None:
                    self._stale.append((self.commits, name, each, before.get(each), id_))

    def _forget_stale(self) -> None:
        """Remove what left an index once no open block can still see it there."""
        oldest = min((block.read_at for block in self._open), default=self.commits)
        while self._stale and self._stale[0][0] <= oldest:
            _, name, each, value, id_ = self._stale.pop(0)
            newest = self._newest(name, id_)
            if newest is not None and newest.get(each) != value:
                self._index.get((name, each, value), {}).pop(id_, None)

    def _newest(self, name: str, id_: Any) -> Document | None:
        versions = self._versions.get((name, id_))
        return versions[-1][1] if versions else None

    def _seen(self, name: str, id_: Any, block: Block | None) -> Document | None:
        if block is None:
            return self._newest(name, id_)
        own = block.writes.get((name, id_))
        if own is not None:
            return own
        for number, document in reversed(self._versions.get((name, id_), ())):
            if number <= block.read_at:
                return document
        return None

    def _own(self, name: str, block: Block | None) -> list[Any]:
        return [] if block is None else [id_ for collection, id_ in block.writes if collection == name]

    def _candidates(self, name: str, query: Mapping[str, Any], block: Block | None) -> list[Any]:
        """Return the ids that may match: by id or an index where the query allows, or all."""
        chosen = self._by_index(name, query)
        if chosen is None:
            chosen = [id_ for collection, id_ in self._versions if collection == name]
        return list(dict.fromkeys(itertools.chain(chosen, self._own(name, block))))

    def _by_index(self, name: str, query: Mapping[str, Any]) -> list[Any] | None:
        if "$or" in query and len(query) == 1:
            branches = [self._by_index(name, branch) for branch in query["$or"]]
            if any(branch is None for branch in branches):
                return None
            return [id_ for branch in branches for id_ in branch or ()]
        if (ids := _values(query.get("_id"))) is not None:
            return ids
        for each in INDEXED.get(name, ()):
            if (values := _values(query.get(each))) is not None:
                return [id_ for value in values for id_ in self._index.get((name, each, value), ())]
        return None


def _values(wanted: Any) -> list[Any] | None:
    """Return the values that a condition allows, or None if they cannot be counted up."""
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        return [wanted]
    return list(wanted["$in"]) if "$in" in wanted else None


def _duplicate(key: tuple[Any, ...], *, is_bulk: bool) -> OperationFailure:
    details = {"code": 11000, "keyPattern": dict.fromkeys(key[1], 1), "errmsg": "E11000"}
    return BulkWriteError({"writeErrors": [details]}) if is_bulk else DuplicateKeyError("E11000", 11000, details)
