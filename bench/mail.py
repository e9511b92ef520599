"""What mail costs while the bank works: transfers/s with nobody delivering and with a deliverer, and how far it lags.

    python -m bench.mail [--seconds S] [--rounds N]

The deliverer runs as `make run` starts it, and sends to a server that takes everything at once.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from app import mongo
from app.auth.service import ensure_system_user
from app.mail.delivery import SIGN
from app.settings.policies import MongoPolicy
from bench.bank import AUTH, own_replica_set
from bench.cases import open_accounts, spread
from bench.extent import extent
from bench.load import measure
from bench.mail_sink import RunningSink, running_sink
from bench.sides import cpu_s
from config import ROOT
from local.processes import LOOPBACK, holds_within
from local.replica_set import DATABASE_NAME
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.server import JWT_SECRET, running_server

SECONDS = extent(10.0, brief=0.2)
ROUNDS = extent(3, brief=1)
WARM_UP_S = extent(2.0, brief=0.1)
# Letters a reader a day: by default, and without a limit, when each message is a letter.
LIMITS = [50, 0][: extent(2, brief=1)]
START_TIMEOUT_S = 30.0
LAG_TIMEOUT_S = 600.0
WAITS = {"state": "PENDING", "deferred": {"$exists": False}}

Documents = Database[dict[str, Any]]


@contextmanager
def deliverer(uri: str, sink: RunningSink, limit: int, database: Documents) -> Iterator[int]:
    """Run a deliverer until the block ends, and yield its process id."""
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": uri,
        "JWT_SECRET": JWT_SECRET,
        "LOG_LEVEL": "ERROR",
        "MAIL_SERVER": LOOPBACK,
        "MAIL_PORT": str(sink.port),
        "MAIL_LETTERS_PER_DAY": str(limit),
    }
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "mail", "deliver", "--loop"]
    database.leases.delete_many({"_id": SIGN})
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            assert holds_within(START_TIMEOUT_S, lambda: database.leases.find_one({"_id": SIGN}) is not None)
            yield process.pid
        finally:
            process.terminate()


def forget(database: Documents) -> None:
    """Let nothing wait, and no letter of today count."""
    database.outbox.delete_many({})
    database.letter_counts.delete_many({})


def compare(
    load: Callable[[str], dict[str, Any]], uri: str, database: Documents, limits: list[int], rounds: int
) -> None:
    """Compare rates without mail and with it. `load` makes load under a name and returns what it measured."""
    for limit in limits:
        without: list[float] = []
        during: list[float] = []
        with running_sink() as sink:
            for number in range(rounds):
                forget(database)
                without.append(load(f"off {limit} {number}")["per_second"])
                forget(database)
                with deliverer(uri, sink, limit, database) as pid:
                    taken, cpu = sink.taken(), cpu_s(pid)
                    seen = load(f"on {limit} {number}")
                    during.append(seen["per_second"])
                    at_once = sink.taken() - taken
                    ended = time.monotonic()
                    assert holds_within(LAG_TIMEOUT_S, lambda: database.outbox.count_documents(WAITS, limit=1) == 0)
                    lag_s = time.monotonic() - ended
                    letters = sink.taken() - taken
                    cpu = (cpu_s(pid) - cpu) * 1_000
                print(
                    f"limit {limit:2}: {without[-1]:5,.0f} transfers/s without mail, {during[-1]:5,.0f} with; "
                    f"{2 * seen['requests']:,} messages, {letters:,} letters, {at_once:,} of them during the load; "
                    f"gone {lag_s:.1f} s after it; {cpu / max(letters, 1):.2f} ms of CPU a letter",
                    flush=True,
                )
        ratio = statistics.median(during) / statistics.median(without)
        print(f"limit {limit:2}: ratio {ratio:.2f} in rate\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.mail", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--limit", type=int, action="append", help="letters a reader a day; may be given several times")
    parser.add_argument("--brief", action="store_true", help="just enough to see that it works")
    options = parser.parse_args()
    with own_replica_set() as (replica_set, uri), MongoClient[dict[str, Any]](replica_set.admin_uri) as admin:
        mongo.connect(MongoPolicy(uri))
        ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
        mongo.close()
        with running_server(uri, MAIL_DELIVERY="off") as port:
            client = OverHttp(port)
            customers = open_accounts(Bank(client))
            client.close()
            measure(port, "warm up", spread(customers), WARM_UP_S)
            database = admin[DATABASE_NAME]
            limits = LIMITS if options.limit is None else options.limit
            streams = spread(customers)
            compare(
                lambda name: measure(port, name, streams, options.seconds), uri, database, limits, rounds=options.rounds
            )


if __name__ == "__main__":
    main()
