"""The only way to MongoDB: `mongo.connect`, `database`, `atomically`, `insert_all` and `moment`."""

from app.mongo.blocks import atomically, duplicate_key, is_away, moment
from app.mongo.client import (
    DATABASE_NAME_DEFAULT,
    Document,
    close,
    connect,
    database,
    new_client,
    use,
)
from app.mongo.pipelined import Insert, insert_all

__all__ = [
    "DATABASE_NAME_DEFAULT",
    "Document",
    "Insert",
    "atomically",
    "close",
    "connect",
    "database",
    "duplicate_key",
    "insert_all",
    "is_away",
    "moment",
    "new_client",
    "use",
]
