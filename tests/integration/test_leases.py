"""Leases: one holder at a time, across processes."""

import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta

from flask import Flask
from pymongo.database import Database

from app import mongo
from app.mongo import Document, leases
from app.settings.policies import MongoPolicy

LONG = timedelta(minutes=1)
SHORT = timedelta(milliseconds=50)


def in_another_process(uri: str, acquire: Callable[[], bool]) -> bool:
    """Return what `acquire` returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=_connect, initargs=(uri,)) as pool:
        return bool(pool.apply(acquire))


def _connect(uri: str) -> None:
    mongo.connect(MongoPolicy(uri, timeout_ms=4_000))


def acquire_long() -> bool:
    acquired = leases.acquire("sweeping", LONG)
    mongo.close()
    return acquired


def test_a_lease_is_held_by_one_process_until_it_ends(app: Flask, database: Database[Document], mongo_uri: str) -> None:
    assert leases.acquire("sweeping", LONG)
    assert leases.acquire("sweeping", LONG), "its holder may extend it"
    assert not in_another_process(mongo_uri, acquire_long)

    assert leases.acquire("sweeping", SHORT)
    time.sleep(2 * SHORT.total_seconds())  # the lease's own time

    assert in_another_process(mongo_uri, acquire_long)
    assert not leases.acquire("sweeping", LONG)
