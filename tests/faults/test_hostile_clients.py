"""The short form of the drill with hostile clients; `tests.drills.hostile_clients` describes it."""

from pymongo.database import Database

from app.mongo import Document
from tests.drills import hostile_clients
from tests.drills.attacks import ATTACKS

SECONDS = 3.0


def test_hostile_clients_beside_honest_ones_cost_neither_money_nor_answers(
    mongo_uri: str, database: Database[Document]
) -> None:
    report = hostile_clients.run(mongo_uri, database, SECONDS, upload_batches=1, REQUEST_TIMEOUT_S="1")

    assert report.failures == []
    assert len(report.acknowledged) > 0
    assert report.hostile.total() > len(ATTACKS)
