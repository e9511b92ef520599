"""Puts the bank's own code on a simulated world: its database, its clock, its chance and its threads."""

import random
import types

import structlog
from bson import objectid

from app import clock, ledger, mongo
from app.ledger import group, repository
from app.mongo import blocks, leases, pipelined, shared
from app.settings.policies import MongoPolicy
from app.transactions import service as transactions
from tests.simulator.schedule import Clock, Lock
from tests.simulator.world import World

OPERATION_TIMEOUT_MS = 4_000


def set_up(world: World, seed: int) -> None:
    """Make this process's bank run in the world. It stays there, so a process that simulates does nothing else."""
    schedule = world.schedule
    times = Clock(schedule)
    mongo.connect(MongoPolicy("mongodb://simulated", timeout_ms=OPERATION_TIMEOUT_MS))
    mongo.use(world.database)  # type: ignore[arg-type]
    threads = types.SimpleNamespace(Lock=lambda: Lock(schedule), get_ident=lambda: id(schedule.current))
    replace(group, time=times, threading=threads)
    replace(blocks, time=times, random=random.Random(seed), pymongo=types.SimpleNamespace(timeout=times.timeout))
    replace(pipelined, run=world.database.run)
    replace(clock, now=lambda: world.host_clock)
    replace(ledger, _group=world)
    replace(leases, own_name=lambda: world.current_process.name)
    # Sharing reads between threads is no part of this, and its locks are real ones.
    replace(shared.SharedRead, read=lambda shared_read, keys: dict(shared_read._find(keys)))
    transactions._unwritable.clear()
    # The next world uses the same ids again, for other accounts.
    repository._identities.clear()
    replace(objectid, time=times)
    replace(objectid.ObjectId, _inc=0, _random=classmethod(lambda _class: b"sim\0\0"))
    structlog.configure(processors=[_silent])


def replace(place: object, **by: object) -> None:
    for name, value in by.items():
        assert hasattr(place, name), f"{place} has no {name}."
        setattr(place, name, value)


def _silent(*_: object) -> str:
    raise structlog.DropEvent
