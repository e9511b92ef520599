"""How fast `flask ledger verify` reads a ledger, and how much memory it takes: python -m bench.verify [ENTRIES]"""

import resource
import time

from bson import ObjectId

from app import mongo
from app.ledger.proof.verify import verify
from app.settings.policies import MongoPolicy
from bench.bank import own_replica_set
from bench.extent import argument, extent
from bench.filled import fill

ENTRIES = 1_000_000
ACCOUNTS = extent(1_000, brief=10)
TIMEOUT_MS = 60_000


def main() -> None:
    entries = argument(ENTRIES, brief=1_000)
    with own_replica_set() as (_, uri):
        mongo.connect(MongoPolicy(uri, timeout_ms=TIMEOUT_MS))
        fill(ObjectId(), accounts=ACCOUNTS, transfers=entries // 2)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        report = verify()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        mongo.close()
    print(f"{report.entries:,} entries, {report.transactions:,} transactions, {len(report.faults)} faults")
    print(f"{wall:.1f} s, {report.entries / wall:,.0f} entries/s")
    print(f"{cpu:.1f} s of CPU, {report.entries / cpu:,.0f} entries/s on one core")
    print(f"peak memory {after_kb / 1024:.0f} MB, {before_kb / 1024:.0f} MB of it before")


if __name__ == "__main__":
    main()
