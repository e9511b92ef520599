"""Batches of 500 over HTTP beside a bare driver that inserts the same documents in blocks of 500."""

import argparse
import time
from collections.abc import Callable
from functools import partial

from bson import ObjectId

from app import mongo
from app.mongo import Document
from app.settings.policies import MongoPolicy
from bench.blocks import alike, insert
from bench.cases import BATCH_SIZE, batches
from bench.load import measure, median
from bench.sides import Side

CONNECTIONS = (1, 8)
DRIVER = "the driver alone"

Documents = dict[str, list[Document]]


def bare(side: Side, options: argparse.Namespace) -> None:
    """Print how many transfers a second the driver alone inserts, and how many go over HTTP, measured in turns."""
    mongo.connect(MongoPolicy(side.database_uri))
    ways: dict[str, Callable[[float], float]] = {DRIVER: partial(_inserted, _written_by_a_batch(side))}
    ways |= {f"{number} over HTTP": partial(_posted, side, number) for number in CONNECTIONS}
    rounds = [{name: way(options.seconds) for name, way in ways.items()} for _ in range(options.rounds)]
    mongo.close()
    alone = median(rounds, DRIVER)
    for name in ways:
        rate = median(rounds, name)
        print(f"batches of {BATCH_SIZE}: {name:16} {rate:7,.0f} transfers/s, ratio {rate / alone:.2f}", flush=True)


def _posted(side: Side, connections: int, seconds: float) -> float:
    label = f"bare {time.monotonic_ns()}"
    seen = measure(side.port, label, batches(connections)(side.customers), seconds)
    return float(seen["per_second"] * BATCH_SIZE)


def _inserted(written: Documents, seconds: float) -> float:
    """Insert such documents, block after block, and return how many transfers a second these are."""
    begun, blocks = time.perf_counter(), 0
    while (took := time.perf_counter() - begun) < seconds or not blocks:
        insert(alike(written))
        blocks += 1
    return blocks * BATCH_SIZE / took


def _written_by_a_batch(side: Side) -> Documents:
    """Post a batch and return the documents that were written for it."""
    (stream,) = batches(1)(side.customers)
    _, path, body = stream["requests"][0]
    answer = side.customers[0][0].post(path, data=body.replace("KEY", f"bare {time.monotonic_ns()}").encode())
    assert answer.status == 201, answer
    latest = {"transactions": BATCH_SIZE, "ledger_entries": 2 * BATCH_SIZE, "outbox": 1}
    database = mongo.database()
    found = {name: [*database[name].find().sort("$natural", -1).limit(number)] for name, number in latest.items()}
    made = {ObjectId(result["transaction"]["id"]) for result in answer.body["results"]}
    assert {entry["transaction"] for entry in found["ledger_entries"]} == made
    return found
