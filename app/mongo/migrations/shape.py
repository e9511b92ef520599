"""Makes the shape that `schema` describes: collections, validators, indexes and the role `fincore_app`."""

from collections.abc import Callable

from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.mongo import Document
from app.mongo.privileges import PRIVILEGES
from app.mongo.schema import INDEXES, ROLE, VALIDATORS

_NAMESPACE_EXISTS = 48
_ROLE_EXISTS = 51002


def make(database: Database[Document], advanced: Callable[[int], None] = lambda _done: None) -> None:
    """Create or update the collections, validators, indexes and the role `fincore_app`; keep all documents.

    `advanced` is called after each collection. It may run again at any time, also while the bank works: an index is
    built beside the writes, and a validator counts for new writes only.
    """
    for name, validator in VALIDATORS.items():
        try:
            database.create_collection(name, check_exists=False, validator={"$jsonSchema": validator})
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
            database.command("collMod", name, validator={"$jsonSchema": validator})
        if name in INDEXES:
            database[name].create_indexes(INDEXES[name])
        advanced(1)
    _ensure_role(database)


def _ensure_role(database: Database[Document]) -> None:
    privileges = [
        {"resource": {"db": database.name, "collection": name}, "actions": actions}
        for name, actions in PRIVILEGES.items()
    ]
    try:
        database.command("createRole", ROLE, privileges=privileges, roles=[])
    except OperationFailure as error:
        if error.code != _ROLE_EXISTS:
            raise
        database.command("updateRole", ROLE, privileges=privileges, roles=[])
