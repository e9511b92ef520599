"""The checks that a database can serve Fincore: a replica set, rights to read it, and a schema that fits."""

import contextlib

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, OperationFailure
from pymongo.uri_parser import parse_uri

from app import mongo
from app.mongo import Document
from app.mongo.schema import ROLE, SCHEMA_VERSION

# MongoDB's error codes for missing rights and for a wrong password.
NOT_ALLOWED = frozenset({13, 18})


class NotReady(Exception):
    """The database cannot serve Fincore; the text says why and what to do."""


class Standalone(NotReady):
    """The server is not a member of a replica set, which no schema can fix."""


def check_database(uri: str, *, timeout_ms: int) -> None:
    """Raise NotReady unless `uri` is a replica set that has the schema, ConnectionFailure if it cannot be reached."""
    with mongo.new_client(uri, timeout_ms=timeout_ms) as client:
        try:
            refuse_standalone(client)
        except ConnectionFailure:
            _refuse_standalone_behind_set_name(uri, timeout_ms)
            raise
        check_schema(client.get_default_database(mongo.DATABASE_NAME_DEFAULT))


def check_schema(database: Database[Document]) -> None:
    """Raise NotReady unless the schema is there, is at least as new as this program, and lets this program use it.

    A newer schema admits the previous release until `flask db finish`.
    """
    try:
        documents = {each["_id"]: each for each in database["schema"].find({"_id": {"$in": ["version", "restore"]}})}
    except ConnectionFailure:
        raise
    except OperationFailure as error:
        raise NotReady(
            f"The database {database.name!r} cannot be read (code {error.code}). "
            f"Check the user and password in MONGO_URI, and that the user has the role {ROLE!r}."
        ) from error
    if "restore" in documents:
        raise NotReady(
            f"The database {database.name!r} is not completely restored. "
            "Run `flask --app wsgi backup restore` again with an administrator's MONGO_URI."
        )
    found = documents.get("version")
    if found is None:
        raise NotReady(
            f"The database {database.name!r} lacks the schema. "
            "Run `flask --app wsgi db init` with an administrator's MONGO_URI."
        )
    version: int = found["version"]
    if version < SCHEMA_VERSION:
        raise NotReady(
            f"The database {database.name!r} has version {version} of the schema, and this program needs "
            f"{SCHEMA_VERSION}. Run `flask --app wsgi db upgrade` with an administrator's MONGO_URI."
        )
    if found.get("oldest", version) > SCHEMA_VERSION:
        raise NotReady(
            f"The database {database.name!r} has version {version} of the schema, and this program, which has "
            f"{SCHEMA_VERSION}, is too old for it. Start the newer program."
        )


def block_lifetime_s(client: MongoClient[Document]) -> int | None:
    """Return after how long the server aborts an open atomic block by itself, or None if it does not say."""
    name = "transactionLifetimeLimitSeconds"
    with contextlib.suppress(OperationFailure):
        return int(client.admin.command({"getParameter": 1, name: 1})[name])
    return None


def refuse_standalone(client: MongoClient[Document]) -> None:
    hello = client.admin.command("hello")
    # A member of a set that is not initiated yet says `isreplicaset`: it is not a standalone server, just not ready.
    if "setName" not in hello and not hello.get("isreplicaset") and hello.get("msg") != "isdbgrid":
        raise Standalone(
            "MONGO_URI points to a standalone MongoDB server, which has no multi-document transactions. "
            "Fincore needs a replica set; one node is enough: start mongod with --replSet rs0 and run rs.initiate()."
        )


def _refuse_standalone_behind_set_name(uri: str, timeout_ms: int) -> None:
    # If the URI asks for a replica set, the driver treats a standalone server as one that does not answer.
    for host, port in parse_uri(uri)["nodelist"]:
        with (
            contextlib.suppress(ConnectionFailure),
            MongoClient[Document](host, port, directConnection=True, timeoutMS=timeout_ms) as client,
        ):
            refuse_standalone(client)
