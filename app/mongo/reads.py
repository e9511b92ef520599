"""Aggregations outside atomic blocks, at the least cost."""

import contextlib
from typing import Any

from bson import CodecOptions
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from app.mongo.client import Document, database

# All that is found comes in the first answer, unless it is more than a message may have.
FOUND_AT_ONCE_MAX = 100_000


def aggregate(
    collection: str, stages: list[Document], *, codec: CodecOptions[Document] | None = None, hint: str | None = None
) -> list[Document]:
    """Return what the aggregation finds, as it is committed on a majority.

    It is asked for by a plain command, for which the driver does less than for a cursor. The driver would not repeat
    that after a failover. So if it fails, or if there is more than an answer may have, a cursor asks once more.
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
        # The server ends it by itself too, only later.
        with contextlib.suppress(PyMongoError):
            source.command("killCursors", collection, cursors=[cursor["id"]])
    return list(source.get_collection(collection, codec_options=codec).aggregate(stages, **options))
