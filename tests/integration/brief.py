"""Runs benchmarks for a moment, one after another: `python -m tests.integration.brief NAME …`

They share a process and a replica set, which take longer to start than a benchmark in brief takes. Each finds the
database empty.
"""

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo import MongoClient

from app import mongo
from app.mongo import Document
from bench import bank
from bench.extent import BRIEF_OPTION
from local.replica_set import DATABASE_NAME, ReplicaSet, provision

HEADING = "== "


def main(names: list[str]) -> None:
    with bank.own_replica_set() as (replica_set, _), MongoClient[Document](replica_set.admin_uri) as admin:

        @contextmanager
        def shared() -> Iterator[tuple[ReplicaSet, str]]:
            admin.drop_database(DATABASE_NAME)
            yield replica_set, provision(replica_set.admin_uri, bank.APP_PASSWORD)
            mongo.close()

        bank.own_replica_set = shared
        for name in names:
            print(f"{HEADING}{name}", flush=True)  # noqa: T201
            sys.argv = [name, BRIEF_OPTION]
            runpy.run_module(f"bench.{name}", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
