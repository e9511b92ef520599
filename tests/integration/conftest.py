from collections.abc import Iterator

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from app.mongo import Document
from local.replica_set import ReplicaSet
from tests import first_release
from tests.integration.branch import Branch
from tests.people import Bank
from tests.proof import assert_ledger_is_whole
from tests.upgrades import EMPTY_DATABASE


@pytest.fixture
def branch(bank: Bank, database: Database[Document]) -> Iterator[Branch]:
    yield Branch(bank, database)
    assert_ledger_is_whole(database)


@pytest.fixture
def empty_database(replica_set: ReplicaSet, database: Database[Document]) -> Iterator[Database[Document]]:
    """A database next to the bank's, with nothing in it, with an administrator's rights."""
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as client:
        yield client[EMPTY_DATABASE]
        client[EMPTY_DATABASE].command("dropAllUsersFromDatabase")
        client[EMPTY_DATABASE].command("dropAllRolesFromDatabase")
        client.drop_database(EMPTY_DATABASE)


@pytest.fixture
def old_database(empty_database: Database[Document]) -> Database[Document]:
    """A database of the first release, not upgraded."""
    first_release.load(empty_database)
    return empty_database
