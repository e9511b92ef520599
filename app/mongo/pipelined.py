"""Commands of an atomic block that are sent without waiting for the answers to those before them.

A driver sends a command, waits for its answer, and only then sends the next one. MongoDB carries out what comes over
one connection one after another, so this wait is in vain if no command depends on an earlier answer. Without it, a
block needs fewer round trips, and the server works on one command while the next is made. HTTP and Redis call this
pipelining.

In an atomic block it is safe, because `atomically` commits nothing after a failure here, even if the block caught the
error (`is_spoiled`). Most failures end the block on the server too, which then refuses what comes after them. If the
connection breaks, nothing has happened. The commit is never sent along: if the connection broke, nobody would know
whether it came after all the others, and a second commit could then commit a part of the block.

PyMongo has no such function. This is made of the inner functions with which it sends a single command, and
`tests/integration/test_pipelined*.py` show that they still do what is expected here.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

from bson import CodecOptions
from pymongo import MongoClient, helpers_shared, message
from pymongo._telemetry import _CommandTelemetry
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, InvalidOperation, NotPrimaryError, OperationFailure
from pymongo.read_preferences import ReadPreference
from pymongo.synchronous.pool import Connection

from app.mongo.client import Document, database

# Small commands are sent together, because whenever this thread sends something, another one may run in its place.
SENT_TOGETHER_BYTES = 32_768
# Of a large insert, the server writes the first documents while the next are made. A command of more than 16 MB is
# refused, and these are a few hundred kB.
DOCUMENTS_OF_A_COMMAND = 250

# The number of the last block of each session that failed here.
_spoiled: WeakKeyDictionary[ClientSession, int] = WeakKeyDictionary()


class Insert(NamedTuple):
    """Documents for a collection, each with its `_id`.

    They may be made one by one, while they are sent, but without the help of the database. A block that runs again
    needs a new Insert, because an iterator gives its documents once.
    """

    collection: str
    documents: Iterable[Document]


def insert_all(inserts: Iterable[Insert], session: ClientSession) -> None:
    """Insert documents into any collections, in order, in the session's atomic block.

    Raises what `run` raises.
    """
    run(_commands_of(inserts), session)


def _commands_of(inserts: Iterable[Insert]) -> Iterator[Document]:
    for collection, documents in inserts:
        left = iter(documents)
        while part := list(islice(left, DOCUMENTS_OF_A_COMMAND)):
            yield {"insert": collection, "documents": part}


def run(commands: Iterable[Document], session: ClientSession) -> list[Document]:
    """Carry out the commands, in order, in the session's atomic block; return their answers.

    The answers wait in the connection until all commands are sent, so there must not be more than a few hundred. What
    limits the block's time limits this too.
    Raises the error of the first command that fails, which is BulkWriteError for a write, or the error with which
    `commands` ended. The block can only be aborted then.
    """
    source = database()
    with source.client._conn_for_writes(session, "run") as connection:
        connection.validate_session(source.client, session)
        exchange = _Exchange(source.client, connection, session, database=source.name, codec=source.codec_options)
        try:
            for command in commands:
                exchange.add(command)
            return exchange.answers()
        except BaseException:
            # A part may have been sent, and may even arrive later than a commit over another connection.
            _spoiled[session] = session._transaction_id
            raise
        finally:
            exchange.close()


def is_spoiled(session: ClientSession) -> bool:
    """Tell whether `run` has failed in the session's present block, so that it must not be committed."""
    spoiled = _spoiled.get(session)
    return spoiled is not None and spoiled == session._transaction_id


class _Exchange:
    """What is sent over a connection, and what has not been answered yet."""

    def __init__(
        self,
        client: MongoClient[Document],
        connection: Connection,
        session: ClientSession,
        *,
        database: str,
        codec: CodecOptions[Document],
    ) -> None:
        self._client = client
        self._connection = connection
        self._session = session
        self._database = database
        self._codec = codec
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        # With the ids of their messages, which are random and may occur twice.
        self._unanswered: deque[tuple[int, Document]] = deque()

    def add(self, command: Document) -> None:
        """Send a command, now or together with the next ones."""
        if not self._session.in_transaction:
            raise InvalidOperation("Outside an atomic block, what comes after a failure would be carried out.")
        self._session._apply_to(command, False, ReadPreference.PRIMARY, self._connection)
        transaction = self._session._transaction
        transaction.set_in_progress()
        # We say that one has succeeded. Otherwise a driver that loses the connection would take the next command for
        # the block's first, and begin the block anew with it.
        transaction.has_completed_command = True
        self._connection.send_cluster_time(command, self._session, self._client)
        self._connection.apply_timeout(command)
        request_id, encoded, size, _ = message._op_msg(
            0, command, self._database, ReadPreference.PRIMARY, self._codec, ctx=self._connection.compression_context
        )
        size_max = self._connection.max_bson_size + message._COMMAND_OVERHEAD
        if size > size_max:
            message._raise_document_too_large(_name(command), size, size_max)
        self._unanswered.append((request_id, command))
        self._unsent.append(encoded)
        self._unsent_bytes += len(encoded)
        if self._unsent_bytes >= SENT_TOGETHER_BYTES:
            self._send()

    def _send(self) -> None:
        self._connection.send_message(b"".join(self._unsent), 0)
        self._unsent.clear()
        self._unsent_bytes = 0

    def answers(self) -> list[Document]:
        """Send the rest, and return the answers. Raises as `run` does."""
        if self._unsent:
            self._send()
        answers: list[Document] = []
        failure: OperationFailure | NotPrimaryError | None = None
        # Every answer is read, even after a failure, so that the connection can be used again.
        while self._unanswered:
            try:
                answers.append(self._answer(*self._unanswered[0]))
            except (OperationFailure, NotPrimaryError) as error:
                failure = failure or error
        if failure is not None:
            if failure.has_error_label("SystemOverloadedError"):
                # Servers newer than MongoDB 6.0 refuse commands like this. The driver would send a single one again.
                failure._add_error_label("TransientTransactionError")
            raise failure
        return answers

    def _answer(self, request_id: int, command: Document) -> Document:
        name = _name(command)
        telemetry = _CommandTelemetry(
            self._client._topology_id,
            self._connection,
            self._connection.listeners,
            command,
            self._database,
            request_id,
            None,
            name,
        )
        # It counts from here, so that the times of several commands add up to the time that was spent.
        telemetry.started(command, ensure_db=False)
        try:
            reply = self._connection.receive_message(request_id)
            self._unanswered.popleft()
            answer: Document = reply.unpack_response(codec_options=self._codec)[0]
            self._client._process_response(answer, self._session)
            helpers_shared._check_command_response(answer, self._connection.max_wire_version)
        except (OperationFailure, NotPrimaryError) as error:
            telemetry.failed(dict(error.details or {}), name, is_server_side_error=True)
            raise
        except Exception as error:
            telemetry.failed(message._convert_exception(error), name, is_server_side_error=False)
            raise
        telemetry.succeeded(answer, name, speculative_hello=False)
        if "writeErrors" in answer:
            raise BulkWriteError(answer)
        return answer

    def close(self) -> None:
        """Give up the connection if it has answers left, which the next one who uses it would take for theirs."""
        is_owed_answers = len(self._unanswered) > len(self._unsent)  # what is unsent is unanswered too
        if is_owed_answers:
            # The pool tells the reason when it gets the connection back.
            self._connection.close_conn(None)


def _name(command: Document) -> str:
    return next(iter(command))
