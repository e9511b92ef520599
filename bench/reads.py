"""What reads cost, early and late in a long history: python -m bench.reads [TRANSFERS]

Page 1 against page 1,000, a balance at a time with 10 against 1,000,000 entries, and the
memory that a statement of 100,000 entries takes.
"""

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Any

from bson import ObjectId

from app import ledger, mongo
from app.auth.roles import Role
from app.auth.service import NewUser, register
from app.mongo.lists import Position
from app.settings.policies import MongoPolicy
from app.statements import pdf, queries, render, service
from app.statements.service import Statement
from app.transactions.repository import find_history
from bench.bank import AUTH, own_replica_set
from bench.extent import argument, extent
from bench.filled import fill

TRANSFERS = 1_000_000
PAGE = 51
PAGES = extent(1_000, brief=3)
REPEATS = extent(200, brief=2)
STATEMENT_ENTRIES = extent(100_000, brief=100)
TIMEOUT_MS = 60_000


def main() -> None:
    transfers = argument(TRANSFERS, brief=200)
    with own_replica_set() as (_, uri):
        mongo.connect(MongoPolicy(uri, timeout_ms=TIMEOUT_MS))
        owner = register(NewUser("Bench", "bench@fincore.example", "a long password"), policy=AUTH, role=Role.USER)[
            "_id"
        ]
        # The long one first: times never run backwards, and it begins long before the short one.
        long = fill(owner, accounts=2, transfers=transfers)[0]
        short = fill(ObjectId(), accounts=2, transfers=8)[0]
        measure(owner, short, long)
        mongo.close()


def measure(owner: ObjectId, short: ObjectId, long: ObjectId) -> None:
    now = datetime.now(UTC)
    account = mongo.database().accounts.find_one({"_id": long})
    assert account is not None

    def history(after: Position | None) -> list[Any]:
        found, _ = find_history([account["_id"]], {}, declines_of=owner, after=after, limit=PAGE)
        return list(islice(found, PAGE - 1))

    after: Position | None = None
    for _ in range(PAGES - 1):
        last = history(after)[-1]
        after = (last["created_at"].as_datetime(), last["id"])
    late = after
    first, last = median_ms(lambda: history(None)), median_ms(lambda: history(late))
    print(f"history: page 1 {first:.2f} ms, page {PAGES:,} {last:.2f} ms, ratio {last / first:.2f}")

    def entries(below: int | None) -> list[Any]:
        return list(queries.find_entries(long, {}, after=below, limit=PAGE)[0])

    deep = entries(None)[0]["sequence"] - PAGES * (PAGE - 1)
    first, last = median_ms(lambda: entries(None)), median_ms(lambda: entries(deep))
    print(f"entries: page 1 {first:.2f} ms, page {PAGES:,} {last:.2f} ms, ratio {last / first:.2f}")
    for id_ in (short, long):
        funds = ledger.funds([id_])[id_]
        (middle,) = queries.find_entries(id_, {}, after=funds.sequence // 2 + 1, limit=1)[0]
        at = middle["created_at"]
        balance_ms, at_ms = median_ms(partial(ledger.funds, [id_])), median_ms(partial(ledger.standing_at, id_, at))
        print(f"{funds.sequence + 1:,} entries: balance {balance_ms:.2f} ms, at a time {at_ms:.2f} ms")
    newest = queries.find_entry_before(long, now)
    assert newest is not None
    # What a process loads once, such as fonts, is not the statement's.
    small = service.draw_up(service.find_period(short, owner_of(short)))
    for write in (as_pdf, render.as_csv, render.as_json):
        list(write(small))
    # The ledger was filled with one entry each millisecond.
    since = newest["created_at"] - timedelta(milliseconds=STATEMENT_ENTRIES - 1)
    statement = service.draw_up(service.find_period(long, owner, from_time=since, to_time=now))
    assert statement.span.last - statement.span.first < STATEMENT_ENTRIES, "More than a PDF may have."
    for write in (as_pdf, render.as_csv, render.as_json):
        before_kb, begun = peak_kb(), time.perf_counter()
        size = sum(len(some) for some in write(statement))
        seconds, after_kb = time.perf_counter() - begun, peak_kb()
        count = statement.span.size
        grown = (after_kb - before_kb) / 1024
        print(
            f"{write.__name__}: {count:,} entries, {size / 1e6:.1f} MB in {seconds:.1f} s, {grown:.0f} MB more memory"
        )


def as_pdf(statement: Statement) -> Iterator[bytes]:
    """Draw in this process, to see what memory it takes."""
    with TemporaryFile() as file:
        pdf.draw(statement, file)
        file.seek(0)
        yield file.read()


def owner_of(account_id: ObjectId) -> ObjectId:
    account = mongo.database().accounts.find_one({"_id": account_id})
    assert account is not None
    owner: ObjectId = account["user"]
    return owner


def median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1_000


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
