"""The only way to MongoDB: `mongo.connect`, `mongo.database`, `mongo.atomically`, `mongo.insert`, `mongo.moment`."""

from app.mongo.blocks import atomically, duplicate_key, insert, is_away, moment
from app.mongo.client import (
    DATABASE_NAME_DEFAULT,
    Document,
    close,
    connect,
    database,
    new_client,
    use,
)

__all__ = [
    "DATABASE_NAME_DEFAULT",
    "Document",
    "atomically",
    "close",
    "connect",
    "database",
    "duplicate_key",
    "insert",
    "is_away",
    "moment",
    "new_client",
    "use",
]
