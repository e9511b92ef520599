"""The checks of `flask doctor`, one function for each subject. None of them changes anything.

Each function yields its findings, and none depends on another one. So even a bank that cannot start is checked as far
as possible.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bson import ObjectId
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

import config
from app import clock, mongo
from app.cli.terminal import database_says
from app.mail.smtp import ServerAway, mail
from app.mongo import Document
from app.mongo.privileges import PRIVILEGES
from app.mongo.readiness import NOT_ALLOWED, NotReady, block_lifetime_s, check_schema, refuse_standalone
from app.mongo.schema import INDEXES, ROLE, VALIDATORS
from app.settings.policies import MongoPolicy

SERVER_OLDEST = (6, 0)
# Below these, something will fail soon: MongoDB refuses to write, or there is no room for the file of a statement.
FREE_FRACTION_MIN = 0.1
FREE_BYTES_MIN = 2 * 1024**3
BLOCK_LIFETIME_MAX_S = 10
# An id that nothing has, so that the attempts here change nothing even if they are allowed.
_NOBODY = {"_id": ObjectId("0" * 24)}
# The collections with the ledger's evidence, which only an administrator may change or remove.
_APPEND_ONLY = ("ledger_entries", "audit_log", "reversals")
_NOT_REMOVED = (*_APPEND_ONLY, "transactions", "accounts", "users", "outbox")
_UPGRADE = "Run `flask --app wsgi db upgrade` with an administrator's MONGO_URI."


class State(StrEnum):
    OK = "ok"
    ATTENTION = "attention"
    FAULT = "fault"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its subject, its state, and what to do if something is wrong."""

    subject: str
    state: State
    found: str
    advice: str | None = None


Findings = Iterator[Finding]


def settings() -> Findings:
    """The settings by themselves: whether the application and gunicorn would start with them."""
    for read in (config.load, config.load_server):
        try:
            read()
        except config.ConfigError as error:
            yield Finding("settings", State.FAULT, str(error), "Correct the variables. `.env.example` explains each.")
            return
    loaded, server = config.load(), config.load_server()
    yield Finding("settings", State.OK, "Every variable is fit, and the secrets are strong.")
    if not loaded.http.ratelimit_enabled:
        advice = "Set RATELIMIT_ENABLED to true, unless this is a load test."
        yield Finding("settings", State.ATTENTION, "Nobody is slowed down when guessing passwords.", advice)
    if loaded.receipt_key is None:
        advice = "Set RECEIPT_KEY; `.env.example` says how to make one."
        yield Finding(
            "settings", State.ATTENTION, "Without RECEIPT_KEY, no receipts and no anchors are signed.", advice
        )
    yield from _proxies(loaded, server)
    yield _public_url(loaded)
    yield from _settings_file()


def _proxies(loaded: config.Config, server: config.ServerConfig) -> Findings:
    is_open = server.host not in config.LOOPBACK_HOSTS
    if is_open and not loaded.http.trusted_proxies:
        yield Finding(
            "proxies",
            State.ATTENTION,
            f"The server listens on {server.host} without TLS, and trusts no proxy.",
            "Put a proxy with TLS in front (docs/operations.md), and its address into TRUSTED_PROXIES.",
        )
    elif not loaded.http.trusted_proxies:
        yield Finding(
            "proxies",
            State.OK,
            "The server listens on this machine only, and trusts no proxy. Behind one, all clients would seem to be "
            "one: name it in TRUSTED_PROXIES.",
        )
    else:
        yield Finding("proxies", State.OK, f"Trusted: {', '.join(loaded.http.trusted_proxies)}.")


def _public_url(loaded: config.Config) -> Finding:
    url = loaded.public_url
    if url is None:
        advice = "Set PUBLIC_URL to where browsers reach the bank, such as https://bank.example."
        found = "PUBLIC_URL is not set, so letters have no links, and a reset letter has only a token to copy."
        return Finding("links", State.ATTENTION, found, advice)
    if url.startswith("http://") and loaded.http.trusted_proxies:
        found = f"Letters lead to {url}, which only browsers on this host reach, though a proxy serves others."
        return Finding("links", State.ATTENTION, found, "Set PUBLIC_URL to the proxy's address.")
    return Finding("links", State.OK, f"Letters lead to {url}.")


def _settings_file() -> Findings:
    file = config.settings_file()
    if not file.is_file():
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        found = f"{file} has mode {mode:o}, so that others on this machine can read or change its secrets."
        yield Finding("settings", State.FAULT, found, f"Run: chmod 600 {file}")


def clock_of_host(client: MongoClient[Document]) -> Findings:
    """Whether this host's clock agrees with the primary's."""
    asked = clock.now()
    primary = client.admin.command("hello")["localTime"].replace(tzinfo=asked.tzinfo)
    seconds = clock.offset(primary, asked, clock.now()).total_seconds()
    found = (
        f"This host's clock is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the database's."
        if seconds
        else "This host's clock agrees with the database's."
    )
    if abs(seconds) > clock.LEEWAY.total_seconds():
        advice = "Nothing is posted from here until the clocks agree. Have both hosts take their time from NTP."
        yield Finding("clock", State.FAULT, found, advice)
    else:
        yield Finding("clock", State.OK, found)


def topology(client: MongoClient[Document]) -> Findings:
    """Which server there is, and how many members would have to fail."""
    try:
        refuse_standalone(client)
    except NotReady as error:
        yield Finding("database", State.FAULT, str(error))
        return
    version = client.server_info()["versionArray"]
    text = ".".join(map(str, version[:3]))
    if tuple(version[:2]) < SERVER_OLDEST:
        oldest = ".".join(map(str, SERVER_OLDEST))
        yield Finding("database", State.FAULT, f"MongoDB {text} is too old.", f"Install MongoDB {oldest} or later.")
    else:
        yield Finding("database", State.OK, f"MongoDB {text}.")
    members = len(client.admin.command("hello").get("hosts", ()))
    if members < 3:
        yield Finding(
            "database",
            State.ATTENTION,
            f"The replica set has {members} data-bearing {'member' if members == 1 else 'members'}.",
            "Nothing is lost if one fails, but nothing works either until it is back. Have three, on three hosts.",
        )
    else:
        yield Finding("database", State.OK, f"The replica set has {members} data-bearing members.")
    lifetime_s = block_lifetime_s(client)
    if lifetime_s is not None and lifetime_s > BLOCK_LIFETIME_MAX_S:
        yield Finding(
            "database",
            State.ATTENTION,
            f"If a client disappears, its accounts stay locked for up to {lifetime_s} s.",
            f"Set transactionLifetimeLimitSeconds to {BLOCK_LIFETIME_MAX_S} or less.",
        )


def schema(database: Database[Document]) -> Findings:
    """Whether collections, validators and indexes are those that this program makes."""
    try:
        check_schema(database)
    except NotReady as error:
        yield Finding("schema", State.FAULT, str(error))
        return
    yield Finding("schema", State.OK, "The version is the one that this program needs.")
    try:
        options = {found["name"]: found.get("options", {}) for found in database.list_collections()}
        present = {name: set(database[name].index_information()) for name in INDEXES}
    except OperationFailure as error:
        if error.code not in NOT_ALLOWED:
            raise
        found = "Indexes and validators cannot be seen by the application's own user."
        yield Finding(
            "schema", State.UNKNOWN, found, "Run `flask --app wsgi doctor` once with an administrator's MONGO_URI."
        )
        return
    for name, wanted in INDEXES.items():
        missing = {index.document["name"] for index in wanted} - present[name]
        if missing:
            found = f"{name} lacks the indexes {', '.join(sorted(missing))}."
            yield Finding("schema", State.FAULT, found, _UPGRADE)
        superfluous = present[name] - {index.document["name"] for index in wanted} - {"_id_"}
        if superfluous:
            found = (
                f"{name} has indexes that no query needs, and each posting pays for: {', '.join(sorted(superfluous))}."
            )
            yield Finding("schema", State.ATTENTION, found, "Drop them, if they are not yours.")
    changed = [
        name for name, wanted in VALIDATORS.items() if options.get(name, {}).get("validator") != {"$jsonSchema": wanted}
    ]
    if changed:
        found = f"These collections have other validators than this program's: {', '.join(sorted(changed))}."
        yield Finding("schema", State.FAULT, found, _UPGRADE)


def rights(database: Database[Document]) -> Findings:
    """Whether the application's user really cannot change what must never change. It tries that on nothing."""
    entry = {"$set": {"hash": None}}
    may = [f"change {name}" for name in _APPEND_ONLY if _may(database[name].update_one, _NOBODY, entry)]
    may += [f"remove {name}" for name in _NOT_REMOVED if _may(database[name].delete_one, _NOBODY)]
    if may:
        yield Finding(
            "rights",
            State.FAULT,
            f"The user of MONGO_URI may {', '.join(may)}.",
            f"Give the application a user that has the role {ROLE!r} and no other.",
        )
    else:
        yield Finding("rights", State.OK, "The user of MONGO_URI cannot change an entry, nor remove what is recorded.")
    unreadable = [name for name in PRIVILEGES if not _may(database[name].find_one, _NOBODY)]
    if unreadable:
        yield Finding("rights", State.FAULT, f"The user of MONGO_URI may not read {', '.join(unreadable)}.", _UPGRADE)


def _may(operation: Callable[..., object], *arguments: Document) -> bool:
    try:
        operation(*arguments)
    except OperationFailure as error:
        if error.code not in NOT_ALLOWED:
            raise
        return False
    return True


def mail_server() -> Findings:
    """Whether the SMTP server would take mail from us now."""
    policy = config.load_mail()
    if policy.problem is not None:
        yield Finding("mail", State.FAULT, policy.problem, "Correct it. Until then mail waits in the outbox.")
        return
    if policy.server is None:
        yield Finding(
            "mail", State.ATTENTION, "MAIL_SERVER is not set, so mail waits in the outbox.", "Set MAIL_SERVER."
        )
        return
    app = Flask(__name__)
    mail.configure(app, policy)
    try:
        with app.app_context(), mail.connect() as connection:
            connection.check()
    except ServerAway as error:
        found = f"{policy.server}, port {policy.port}, takes no mail: {error}"
        yield Finding("mail", State.FAULT, found, "Mail waits in the outbox until it does.")
        return
    yield Finding("mail", State.OK, f"{policy.server}, port {policy.port}, takes mail from {policy.sender}.")


def disks(database: Database[Document] | None) -> Findings:
    """How much disk space is left here and where MongoDB writes."""
    place = Path(tempfile.gettempdir())
    usage = shutil.disk_usage(place)
    yield _room(f"{place} on this host", usage.free, usage.total)
    if database is None:
        return
    try:
        stats = database.command("dbStats")
    except OperationFailure as error:
        if error.code not in NOT_ALLOWED:
            raise
        found = "MongoDB's disk cannot be seen by the application's own user."
        yield Finding("disk", State.UNKNOWN, found, "Watch it on the database's hosts.")
        return
    yield _room("MongoDB's disk", int(stats["fsTotalSize"] - stats["fsUsedSize"]), int(stats["fsTotalSize"]))


def _room(place: str, free: int, total: int) -> Finding:
    found = f"{place} has {free / 1024**3:,.1f} GiB free of {total / 1024**3:,.1f}."
    if free < FREE_BYTES_MIN and free < FREE_FRACTION_MIN * total:
        return Finding("disk", State.FAULT, found, "Make room, before writing stops.")
    return Finding("disk", State.OK, found)


def processors() -> Findings:
    """Whether there are as many processes as they can use."""
    try:
        server = config.load_server()
    except config.ConfigError:
        return
    cores = len(os.sched_getaffinity(0))
    found = f"{server.workers} processes with {server.threads} threads each, on {cores} cores."
    if server.workers > 2 * cores:
        advice = "More processes than cores compete instead of sharing blocks. Lower WEB_CONCURRENCY."
        yield Finding("processes", State.ATTENTION, found, advice)
    else:
        yield Finding("processes", State.OK, found)


def examine() -> Findings:
    """Run all checks, and go on after each one that fails."""
    yield from settings()
    try:
        uri = config.mongo_uri()
    except config.ConfigError:
        # The file of settings cannot be read, as the first finding says. Nothing else can be checked.
        return
    yield from processors()
    if uri is None:
        yield Finding("database", State.FAULT, "MONGO_URI is not set, or malformed.", "Set it; see `.env.example`.")
    else:
        yield from _database(MongoPolicy(uri))
    yield from mail_server()


def _database(policy: MongoPolicy) -> Findings:
    with mongo.new_client(policy.uri, timeout_ms=policy.timeout_ms) as client:
        database = client.get_default_database(mongo.DATABASE_NAME_DEFAULT)
        try:
            yield from topology(client)
            yield from clock_of_host(client)
            yield from schema(database)
            yield from rights(database)
            yield from disks(database)
        except PyMongoError as error:
            yield Finding("database", State.FAULT, database_says(error), "See docs/operations.md.")
            yield from disks(None)
