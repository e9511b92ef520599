"""A bank on a replica set of its own, for benchmarks that call the application or the ledger in their own process."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from flask import Flask

from app import create_app, mongo
from app.auth.service import ensure_system_user
from app.settings.policies import AuthPolicy, HttpPolicy, MongoPolicy
from config import Config
from local.replica_set import ReplicaSet, provision
from tests.clients import InProcess
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank

APP_PASSWORD = "of-a-benchmark"
# What a password costs is not what is measured.
AUTH = AuthPolicy(secrets.token_urlsafe(48), access_lifetime=timedelta(minutes=60), bcrypt_rounds=4)
# So high that nothing is refused: the cost of letting through is what matters.
HIGH_LIMIT = f"{10**8}/minute"


@contextmanager
def own_replica_set() -> Iterator[tuple[ReplicaSet, str]]:
    """Start a replica set in a temporary directory and yield it with the application's address of it."""
    with tempfile.TemporaryDirectory(prefix="fincore-bench-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            yield replica_set, provision(replica_set.admin_uri, APP_PASSWORD)
        finally:
            mongo.close()
            replica_set.stop()


def application(uri: str, *, is_limited: bool = False, log_level: str = "ERROR") -> Flask:
    """Return the application as a worker makes it, with request limits or without."""
    limits = HttpPolicy(
        ratelimit_enabled=is_limited, ratelimit_auth=HIGH_LIMIT, ratelimit_money=HIGH_LIMIT, ratelimit_read=HIGH_LIMIT
    )
    return create_app(Config(mongo=MongoPolicy(uri), auth=AUTH, http=limits, log_level=log_level))


def bank_of(application: Flask) -> Bank:
    """Return the bank in this process, with its system user."""
    ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
    return Bank(InProcess(application))
