"""What a block of 1, 20, 200 and 500 transfers costs without HTTP, beside a bare driver, and its round trips.

    python -m bench.blocks

For each size: how long a block takes, the processor time of Python and mongod for each transfer, and the same for a
loop that only inserts the documents which such a block writes, in atomic blocks of the same size.
"""

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from bson import ObjectId
from pymongo import monitoring
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app import ledger, mongo
from app.auth.roles import roles_of
from app.ledger.commands import Transfer
from app.ledger.records import TransactionKind
from app.outbox import repository as outbox
from app.settings.policies import LedgerPolicy, MongoPolicy
from bench.bank import own_replica_set
from bench.extent import extent
from bench.filled import fill
from bench.sides import cpu_s

SIZES = (1, 20, 200, 500)
ACCOUNTS = extent(256, brief=8)
TRANSFERS_PER_ROUND = extent(500, brief=1)
LONE_BLOCKS_PER_ROUND = extent(100, brief=1)
ROUNDS = extent(5, brief=1)
TIMEOUT_MS = 20_000
WRITTEN = ("transactions", "ledger_entries", "outbox")


class RoundTrips(CommandListener):
    """Notes how long each command of a block takes, as the driver sees it."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] | None = None
        self._names: dict[int, str] = {}

    def started(self, event: CommandStartedEvent) -> None:
        collection = event.command.get(event.command_name)
        self._names[event.request_id] = f"{event.command_name} {collection if isinstance(collection, str) else ''}"

    def succeeded(self, event: CommandSucceededEvent) -> None:
        name = self._names.pop(event.request_id)
        if self.seen is not None:
            self.seen[name].append(event.duration_micros / 1_000)

    def failed(self, event: CommandFailedEvent) -> None:
        self._names.pop(event.request_id)


class Bank:
    """Accounts of one owner, and the costs of posting among them."""

    def __init__(self, mongod_pid: int) -> None:
        self.mongod_pid = mongod_pid
        self.owner = ObjectId()
        self.accounts = fill(self.owner, accounts=ACCOUNTS, transfers=0)

    def transfer(self) -> Transfer:
        key = ObjectId()
        payer, payee = random.sample(self.accounts, 2)
        return Transfer(
            id=key,
            user=self.owner,
            idempotency_key=str(key),
            fingerprint=dict.fromkeys(("fromAccount", "toAccount", "amount", "idempotencyKey"), "0" * 32),
            kind=TransactionKind.TRANSFER,
            from_account=payer,
            to_account=payee,
            amount=1,
            salt=bytes(16),
        )

    def cost(self, blocks: int, size: int, do: Callable[[Any], Any], prepare: Callable[[int], Any]) -> list[float]:
        """Return milliseconds per block, and of Python and mongod per transfer."""
        prepared = [prepare(size) for _ in range(blocks)]
        begun = time.perf_counter(), time.process_time(), cpu_s(self.mongod_pid)
        for one in prepared:
            do(one)
        ended = time.perf_counter(), time.process_time(), cpu_s(self.mongod_pid)
        wall, python, mongod = ((b - a) * 1_000 / blocks for a, b in zip(begun, ended, strict=True))
        return [wall, python / size, mongod / size]


def written_by(commands: list[Transfer]) -> dict[str, list[Any]]:
    """Post these, and return all that was written for it."""
    database = mongo.database()
    newest = {name: database[name].find_one(sort=[("_id", -1)], projection=["_id"]) for name in WRITTEN}
    ledger.post(commands)
    return {
        name: list(database[name].find({"_id": {"$gt": last["_id"]}} if last else {})) for name, last in newest.items()
    }


def alike(documents: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return documents of the same sizes that nothing in the database keeps out."""
    made: dict[str, list[Any]] = {name: [] for name in WRITTEN}
    for name, originals in documents.items():
        for original in originals:
            copy = {**original, "_id": ObjectId()}
            if name == "transactions":
                copy["idempotency_key"] = str(copy["_id"])
            if name == "ledger_entries":
                copy["account"] = ObjectId()
            made[name].append(copy)
    return made


def insert(documents: dict[str, list[Any]]) -> None:
    def block(session: Any) -> None:
        for name, of_it in documents.items():
            if of_it:
                mongo.database()[name].insert_many(of_it, session=session)

    mongo.atomically(block)


def main() -> None:
    trips = RoundTrips()
    monitoring.register(trips)
    with own_replica_set() as (replica_set, uri):
        mongo.connect(MongoPolicy(uri, timeout_ms=TIMEOUT_MS))
        policy = LedgerPolicy(batch_size_max=max(SIZES), queue_size_max=10_000, timeout_ms=TIMEOUT_MS)
        ledger.configure(policy, witnesses=(outbox.tell,), roles=roles_of)
        pid = replica_set.members[0].pid
        assert pid is not None
        bank = Bank(pid)
        for size in SIZES:
            compare(bank, size, trips)


def compare(bank: Bank, size: int, trips: RoundTrips) -> None:
    def commands(_size: int) -> list[Transfer]:
        return [bank.transfer() for _ in range(size)]

    template = written_by(commands(size))
    blocks = LONE_BLOCKS_PER_ROUND if size == 1 else max(TRANSFERS_PER_ROUND // size, 2)
    posted, bare = [], []
    seen: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        trips.seen = seen
        posted.append(bank.cost(blocks, size, ledger.post, commands))
        trips.seen = None
        bare.append(bank.cost(blocks, size, insert, lambda _: alike(template)))
    for name, costs in (("posted", posted), ("bare", bare)):
        wall, python, mongod = (statistics.median(of_all) for of_all in zip(*costs, strict=True))
        print(
            f"block of {size:>3} {name:>6}: {wall:7.2f} ms ({size * 1_000 / wall:6,.0f}/s), "
            f"a transfer: Python {python:.3f} ms, mongod {mongod:.3f} ms"
        )
    for name, times in seen.items():
        print(f"    {name:26} {len(times) / blocks / ROUNDS:4.1f} times {statistics.median(times):6.2f} ms")


if __name__ == "__main__":
    main()
