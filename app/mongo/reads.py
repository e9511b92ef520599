"""Aggregations at the least cost: the driver does less for a plain command than for a cursor."""

import contextlib
from typing import Any

from bson import CodecOptions
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from app.mongo import pipelined
from app.mongo.client import Document, database

# Everything comes in the first answer, unless it is too large for one message.
FOUND_AT_ONCE_MAX = 100_000


def aggregate(
    collection: str, stages: list[Document], *, codec: CodecOptions[Document] | None = None, hint: str | None = None
) -> list[Document]:
    """Return what the aggregation finds among the writes that a majority has, outside atomic blocks.

    The driver does not repeat commands after a failover. So if it fails, or if one answer is not enough, a cursor asks
    again.
    """
    options: dict[str, Any] = {} if hint is None else {"hint": hint}
    command = {
        "aggregate": collection,
        "pipeline": stages,
        "cursor": {"batchSize": FOUND_AT_ONCE_MAX},
        "readConcern": {"level": "majority"},
        **options,
    }
    source = database()
    codec = source.codec_options if codec is None else codec
    try:
        cursor = source.command(command, codec_options=codec)["cursor"]
    except (ConnectionFailure, OperationFailure) as error:
        if error.timeout:
            raise
    else:
        if not cursor["id"]:
            found: list[Document] = cursor["firstBatch"]
            return found
        # Otherwise the server ends it, only later.
        with contextlib.suppress(PyMongoError):
            source.command("killCursors", collection, cursors=[cursor["id"]])
    return list(source.get_collection(collection, codec_options=codec).aggregate(stages, **options))


def aggregate_in(session: ClientSession, collection: str, stages: list[Document]) -> list[Document]:
    """Return what the aggregation finds in the session's atomic block. It must fit into one answer of 16 MB."""
    command = {"aggregate": collection, "pipeline": stages, "cursor": {"batchSize": FOUND_AT_ONCE_MAX}}
    (answer,) = pipelined.run([command], session)
    cursor = answer["cursor"]
    assert not cursor["id"], "There is more than one answer."
    found: list[Document] = cursor["firstBatch"]
    return found
