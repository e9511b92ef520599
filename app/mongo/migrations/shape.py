"""Makes the shape that `schema` describes: collections, validators, indexes and the role `fincore_app`."""

from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.mongo import Document
from app.mongo.migrations import version_2
from app.mongo.readiness import refuse_standalone
from app.mongo.schema import INDEXES, PRIVILEGES, ROLE, SCHEMA_VERSION, VALIDATORS

_NAMESPACE_EXISTS = 48
_ROLE_EXISTS = 51002


def ensure_schema(database: Database[Document]) -> list[version_2.SharedAddress]:
    """Create or update the collections, validators, indexes and the role `fincore_app`.

    It may run again at any time. It needs an administrator's rights and a replica set, and raises
    Standalone without one. Existing documents are brought to the form that this version needs. Return the users
    whose addresses could not be, because each is another user's too.
    """
    refuse_standalone(database.client)
    for name, validator in VALIDATORS.items():
        try:
            database.create_collection(name, check_exists=False, validator={"$jsonSchema": validator})
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
            database.command("collMod", name, validator={"$jsonSchema": validator})
        if name in INDEXES:
            database[name].create_indexes(INDEXES[name])
    _ensure_role(database)
    version_2.drop_superseded_indexes(database)
    shared = version_2.normalise_emails(database)
    version_2.keep_spared_sessions(database)
    version_2.mark_urgent_mail(database)
    database["schema"].update_one({"_id": "version"}, {"$set": {"version": SCHEMA_VERSION}}, upsert=True)
    return shared


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
