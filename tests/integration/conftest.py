from collections.abc import Iterator

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.integration.branch import Branch
from tests.people import Bank
from tests.proof import assert_ledger_is_whole


@pytest.fixture
def branch(bank: Bank, database: Database[Document]) -> Iterator[Branch]:
    yield Branch(bank, database)
    assert_ledger_is_whole(database)
