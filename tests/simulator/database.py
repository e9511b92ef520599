"""The driver of the scripted database: it has the part of PyMongo's interface that the bank uses.

Each operation is a step: others may run before the server acts, and then it may fail, take too long, or be
carried out without an answer.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bson import ObjectId, Timestamp
from greenlet import GreenletExit
from pymongo import UpdateOne
from pymongo.errors import AutoReconnect, DuplicateKeyError, NetworkTimeout, PyMongoError

from tests.simulator.faults import Faults
from tests.simulator.queries import Document, evaluated, in_order
from tests.simulator.schedule import Schedule
from tests.simulator.server import TRANSIENT, UNKNOWN_COMMIT, Block, Server, conflict

Result = TypeVar("Result")

OPERATION_TIMEOUT_S = 4.0


class ScriptedDatabase:
    """Stands for `pymongo.database.Database`; it is its own client, too."""

    def __init__(self, schedule: Schedule, server: Server, faults: Faults) -> None:
        self.schedule = schedule
        self.server = server
        self.faults = faults
        self.client = self
        self.codec_options = None  # its documents are Python's own objects
        self._collections: dict[str, _Collection] = {}

    def __getattr__(self, name: str) -> "_Collection":
        return self[name]

    def __getitem__(self, name: str) -> "_Collection":
        return self._collections.setdefault(name, _Collection(self, name))

    def get_collection(self, name: str, *, codec_options: Any) -> "_Collection":
        return self[name]

    def command(self, command: Document, *, codec_options: Any) -> Document:
        """Carry out an aggregation, which is the only command that the bank gives outside blocks."""
        return self._found(command, None)

    def run(self, commands: Iterable[Document], session: "ScriptedSession") -> list[Document]:
        """Carry out commands in a block, as `app.mongo.pipelined.run` does. The first failure ends it."""
        return [self._run(command, session) for command in commands]

    def _run(self, command: Document, session: "ScriptedSession") -> Document:
        if "aggregate" in command:
            return self._found(command, session)
        self[command["insert"]].insert_many(command["documents"], session=session)
        return {"n": len(command["documents"]), "ok": 1.0}

    def _found(self, command: Document, session: "ScriptedSession | None") -> Document:
        found = self[command["aggregate"]].aggregate(command["pipeline"], session=session)
        return {"cursor": {"id": 0, "firstBatch": found}}

    def start_session(self) -> "ScriptedSession":
        return ScriptedSession(self)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def operate(self, what: str, act: Callable[[Block | None], Result], session: "ScriptedSession | None") -> Result:
        """Have the server act, in the session's block or by itself, unless a fault comes between."""
        self._let_others_run(what)
        block = None if session is None else session.block()
        label = None if session is None else TRANSIENT
        if self.schedule.happens(self.faults.lost):
            raise _labelled(AutoReconnect("the connection was lost"), label)
        if self.schedule.happens(self.faults.hang):
            self._hang()
            raise _labelled(NetworkTimeout("no answer in time"), label)
        if block is not None and self.schedule.happens(self.faults.transient):
            self.server.abort(block)
            raise conflict("a transient error")
        self.server.check(block)
        return act(block)

    def commit(self, block: Block, *, to_majority: bool) -> None:
        """Commit a block. If there is no answer, it may have happened or not."""

        def act() -> None:
            self.server.commit(block, to_majority=to_majority)

        self._let_others_run("commit", in_flight=act)
        if not self.schedule.happens(self.faults.unknown_commit):
            act()
            return
        if self.schedule.happens(0.5):
            act()
            self.schedule.note("committed, but the answer is lost")
        elif self.schedule.happens(0.5):
            self.server.abort(block)
        error: PyMongoError = AutoReconnect("the connection was lost")
        if self.schedule.happens(self.faults.hang):
            self._hang()
            error = NetworkTimeout("no answer in time")
        raise _labelled(error, UNKNOWN_COMMIT)

    def abort(self, block: Block) -> None:
        self._let_others_run("abort", in_flight=lambda: self.server.abort(block))
        # The driver ignores the result of an abort, so a lost one leaves an open block behind.
        if not self.schedule.happens(self.faults.lost):
            self.server.abort(block)

    def _let_others_run(self, what: str, in_flight: Callable[[], None] | None = None) -> None:
        task = self.schedule.current
        assert task is not None
        if task.is_dead:
            raise GreenletExit
        self.schedule.note(what)
        task.in_flight = in_flight
        self.schedule.pause()
        task.in_flight = None
        self.server.reap()

    def _hang(self) -> None:
        task = self.schedule.current
        assert task is not None
        until_us = task.deadline_us
        wait_us = OPERATION_TIMEOUT_S * 1_000_000 if until_us is None else until_us - self.schedule.now_us
        self.schedule.sleep(max(wait_us, 0) / 1_000_000)


class ScriptedSession:
    """Stands for `pymongo.client_session.ClientSession`."""

    def __init__(self, database: ScriptedDatabase) -> None:
        self._database = database
        self._state = "none"
        self._block: Block | None = None
        self._to_majority = False

    def __enter__(self) -> "ScriptedSession":
        return self

    def __exit__(self, *_: object) -> None:
        if self.in_transaction:
            self.abort_transaction()

    @property
    def in_transaction(self) -> bool:
        return self._state == "open"

    @property
    def cluster_time(self) -> dict[str, Any] | None:
        """The time that the last answer told: the number of commits so far."""
        return {"clusterTime": Timestamp(self._database.server.commits + 1, 1)} if self._block is not None else None

    @property
    def operation_time(self) -> None:
        """As before the first answer."""

    def start_transaction(self, read_concern: Any, write_concern: Any) -> None:
        assert not self.in_transaction, "A block is open already."
        assert read_concern.level == "snapshot"
        self._state, self._block = "open", None
        self._to_majority = write_concern.document.get("w") == "majority" and write_concern.document.get("j") is True

    def block(self) -> Block:
        """Return the server's block, which starts with the first operation."""
        assert self.in_transaction, "No block is open."
        if self._block is None:
            self._block = self._database.server.begin()
        return self._block

    def commit_transaction(self) -> None:
        self._state = "committed"
        if self._block is not None:
            self._database.commit(self._block, to_majority=self._to_majority)

    def abort_transaction(self) -> None:
        self._state = "aborted"
        if self._block is not None:
            self._database.abort(self._block)


class _Found:
    """Stands for a cursor: the documents that were found."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)

    def sort(self, order: str | list[tuple[str, int]], direction: int = 1) -> "_Found":
        return _Found(in_order(self._documents, [(order, direction)] if isinstance(order, str) else order))

    def limit(self, size_max: int) -> "_Found":
        return _Found(self._documents[:size_max] if size_max else self._documents)


class _Collection:
    """Stands for `pymongo.collection.Collection`."""

    def __init__(self, database: ScriptedDatabase, name: str) -> None:
        self._database = database
        self._server = database.server
        self._name = name

    def find(
        self, query: Mapping[str, Any], projection: object = None, session: ScriptedSession | None = None
    ) -> _Found:
        return self._operate("find", lambda block: _Found(list(self._server.find(self._name, query, block))), session)

    def find_one(
        self, query: Mapping[str, Any], projection: object = None, session: ScriptedSession | None = None
    ) -> Document | None:
        return self._operate("find_one", lambda block: next(self._server.find(self._name, query, block), None), session)

    def count_documents(self, query: Mapping[str, Any], limit: int = 0, session: ScriptedSession | None = None) -> int:
        return len(list(self.find(query, session=session).limit(limit)))

    def aggregate(
        self,
        stages: Sequence[Document],
        session: ScriptedSession | None = None,
        *,
        batchSize: int = 0,  # noqa: N803
    ) -> list[Document]:
        """Answer the bank's aggregations: what a block meets, the heads of journals, the primary's time."""
        match stages:
            case [{"$match": {"_id": "version"}}, *lookups, {"$addFields": {"now": "$$NOW"}}]:
                return self._operate("all", lambda block: [self._met(lookups, block)], session)
            case [{"$match": {"account": {"$in": accounts}}}, {"$sort": _}, {"$group": {"head": _}}, *more]:
                return self._operate("heads", lambda block: self._heads(accounts, bool(more), block), session)
            case [{"$match": {"_id": {"$in": _}} as query}]:
                return list(self.find(query, session=session))
            case [{"$limit": 1}, {"$project": {"now": "$$NOW"}}]:
                return self._operate("now", lambda _block: [{"now": self._now()}], session)
            case _:
                raise NotImplementedError(f"The simulated database does not know {stages}.")

    def insert_one(self, document: Document, session: ScriptedSession | None = None) -> None:
        self._write("insert", session, lambda block: self._server.insert(self._name, document, block, is_bulk=False))

    def insert_many(self, documents: Collection[Document], session: ScriptedSession | None = None) -> None:
        def act(block: Block) -> None:
            for document in documents:
                document.setdefault("_id", ObjectId())
                self._server.insert(self._name, document, block)

        self._write(f"insert {len(documents)}", session, act)

    def bulk_write(self, updates: Sequence[UpdateOne], session: ScriptedSession | None = None) -> None:
        def act(block: Block) -> None:
            for update in updates:
                assert isinstance(update, UpdateOne)
                self._server.update(self._name, update._filter, update._doc, block)  # type: ignore[arg-type]

        self._write(f"update {len(updates)}", session, act)

    def find_one_and_update(
        self, query: Document, stages: Sequence[Document], *, upsert: bool, return_document: bool
    ) -> Document | None:
        """Change one document, found by its id, by what is set in a pipeline of one stage; return it as it is then."""
        assert upsert
        assert return_document

        def act(block: Block | None) -> Document:
            assert block is None
            alone = self._server.begin()
            before = next(self._server.find(self._name, query, alone), None)
            of = before or {"_id": query["_id"]}
            (stage,) = stages
            changes = {name: evaluated(each, of, self._now()) for name, each in stage["$set"].items()}
            if before is None:
                self._server.insert(self._name, {**of, **changes}, alone, is_bulk=False)
            else:
                self._server.update(self._name, query, {"$set": changes}, alone)
            self._server.commit(alone, to_majority=True)
            return {**of, **changes}

        try:
            return self._operate("take", act, None)
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            # Outside a block the server itself tries again after a conflict, so clients see no transient error.
            raise AutoReconnect(str(error)) from error

    def _write(self, what: str, session: ScriptedSession | None, act: Callable[[Block], None]) -> None:
        def in_block(block: Block | None) -> None:
            if block is not None:
                act(block)
                return
            alone = self._server.begin()
            act(alone)
            self._server.commit(alone, to_majority=True)

        self._operate(what, in_block, session)

    def _operate(self, what: str, act: Callable[[Block | None], Result], session: ScriptedSession | None) -> Result:
        return self._database.operate(f"{what} {self._name}", act, session)

    def _heads(self, accounts: Collection[ObjectId], with_time: bool, block: Block | None) -> list[Document]:
        time = {"now": self._now()} if with_time else {}
        found = ((account, self._server.head(account, block)) for account in sorted(set(accounts)))
        return [{"_id": account, "head": head, **time} for account, head in found if head is not None]

    def _met(self, lookups: Sequence[Document], block: Block | None) -> Document:
        met: Document = {"now": self._now()}
        for lookup in (stage["$lookup"] for stage in lookups):
            met[lookup["as"]] = self._database[lookup["from"]]._looked_up(lookup["pipeline"], block)
        return met

    def _looked_up(self, pipeline: Sequence[Document], block: Block | None) -> list[Document]:
        match pipeline:
            case [{"$match": {"account": {"$in": accounts}}}, {"$sort": _}, {"$group": {"head": _}}, {"$project": _}]:
                return self._heads(accounts, False, block)
            case [{"$match": query}] | [{"$match": query}, {"$project": _}]:
                return list(self._server.find(self._name, query, block))
            case _:
                raise NotImplementedError(f"The simulated database does not know {pipeline}.")

    def _now(self) -> Any:
        return self._server.now


def _labelled(error: PyMongoError, label: str | None) -> PyMongoError:
    if label is not None:
        error._add_error_label(label)
    return error
