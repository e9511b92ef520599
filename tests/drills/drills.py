"""The drills: what each does to a bank under load, and how the bank is mended afterwards."""

import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from local.processes import holds_within
from tests.drills.house import WORKERS, House
from tests.drills.proxy import COMMIT, Rule, let_pass
from tests.server import is_ready

MEND_TIMEOUT_S = 60.0
# A drill takes this long; the suite's short form shortens it.
FROZEN_S = 20.0
CUT_OFF_S = 10.0
OUTAGE_S = 3.0
WRONG_CLOCK_S = 6.0
# Longer than the application waits for the database (MONGO_TIMEOUT_MS).
AWAY_S = 5.0


def nothing(_house: House) -> None:
    """Leave all as it is."""


@dataclass(frozen=True)
class Drill:
    """One kind of fault. `strike` returns when it is over, or when what remains of it is no longer in the way."""

    name: str
    strike: Callable[[House, float], None]
    mend: Callable[[House], None] = nothing
    size: int = 1
    is_proxied: bool = False
    # Whether letters are sent, and each is looked for afterwards.
    mails: bool = False
    # No request may fail.
    is_seamless: bool = False
    passing: frozenset[int] = frozenset({503})
    # The size of the small file system that the database is on.
    disk_mb: int | None = None


def kill_mongod(house: House, scale: float) -> None:
    house.replica_set.kill()
    time.sleep(AWAY_S * scale)
    house.replica_set.start()


def kill_primary(house: House, _scale: float) -> None:
    lost = house.replica_set.primary()
    lost.kill()
    assert house.replica_set.primary() is not lost


def start_members(house: House) -> None:
    for member in house.replica_set.members:
        if member.pid is None:
            member.start()
    settle_members(house)


def settle_members(house: House) -> None:
    """Wait until one member is primary and all others follow it."""

    def is_whole() -> bool:
        states = [member.hello() for member in house.replica_set.members]
        return sum(bool(state.get("isWritablePrimary")) for state in states) == 1 and all(
            state.get("isWritablePrimary") or state.get("secondary") for state in states
        )

    assert holds_within(MEND_TIMEOUT_S, is_whole), "The members do not come together."


def step_down(house: House, _scale: float) -> None:
    primary = house.replica_set.primary()
    # It may close the connection, or find no successor in time; then this round had no fault.
    with house.replica_set._admin(primary) as client, suppress(AutoReconnect, OperationFailure):
        client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=4)


def freeze_primary(house: House, scale: float) -> None:
    pid = house.replica_set.primary().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(FROZEN_S * scale)
    finally:
        os.kill(pid, signal.SIGCONT)


def cut_off_primary(house: House, scale: float) -> None:
    """Cut the primary off from the other members, while the application still reaches all of them."""
    primary = house.replica_set.primary()
    pids = {member: member.pid for member in house.replica_set.members}
    every = [pid for pid in pids.values() if pid is not None]
    others = [pid for member, pid in pids.items() if member is not primary and pid is not None]
    for member, proxy in zip(house.replica_set.members, house.proxies, strict=True):
        proxy.refuse(others if member is primary else [pids[primary] or 0], every)
    time.sleep(CUT_OFF_S * max(scale, 0.5))
    for proxy in house.proxies:
        proxy.refuse([], every)


def kill_worker(house: House, _scale: float) -> None:
    busiest = max(house.server.workers, key=lambda pid: len(list(Path(f"/proc/{pid}/fd").iterdir())))
    others = set(house.server.workers) - {busiest}
    os.kill(busiest, signal.SIGKILL)
    replaced = holds_within(MEND_TIMEOUT_S, lambda: len(set(house.server.workers) - {busiest}) == WORKERS)
    assert replaced, "A worker that died was not replaced."
    assert others < set(house.server.workers), "Another worker ended too."


def kill_master(house: House, _scale: float) -> None:
    workers = house.server.workers
    house.server.signal(signal.SIGKILL)
    house.server.wait()
    # Like a service manager: the rest of the old one is killed, and a new one is started.
    assert holds_within(MEND_TIMEOUT_S, lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    house.server.start()


def terminate(house: House, _scale: float) -> None:
    house.server.signal(signal.SIGTERM)
    house.server.wait()
    house.server.start()


def reload(house: House, _scale: float) -> None:
    before = set(house.server.workers)
    house.server.signal(signal.SIGHUP)
    assert holds_within(MEND_TIMEOUT_S, lambda: not before & set(house.server.workers))
    assert holds_within(MEND_TIMEOUT_S, lambda: is_ready(house.server.port))


def at_commits(what: str, every: int = 3) -> Rule:
    """Return a rule that does this to every third commit."""
    count = itertools.count(1)
    return lambda data: what if COMMIT in data and next(count) % every == 0 else "pass"


def on_the_wire(what: str) -> Callable[[House, float], None]:
    def strike(house: House, scale: float) -> None:
        for proxy in house.proxies:
            proxy.rule = at_commits(what)
        time.sleep(OUTAGE_S * scale)
        for proxy in house.proxies:
            proxy.rule = let_pass
            if what == "cut":
                proxy.cut_all()

    return strike


def fill_disk(house: House, _scale: float) -> None:
    """Fill the file system of the database, until it gives up; then free it and start the server again."""
    filler = house.replica_set.directory / "filler"
    (member,) = house.replica_set.members
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024**2))
        # The bank's own writes would fit into the present file of the database's journal for a while.
        with suppress(PyMongoError), house.replica_set._admin(member) as client:
            while True:
                client.drill.filler.insert_one({"zeros": bytes(4 * 1024**2)})
        assert holds_within(MEND_TIMEOUT_S, lambda: member.pid is None), "mongod goes on, although its disk is full."
    finally:
        filler.unlink(missing_ok=True)
    member.start()
    with house.replica_set._admin(house.replica_set.primary()) as client:
        client.drop_database("drill")


def smtp_down(house: House, scale: float) -> None:
    house.smtp.stop()
    time.sleep(OUTAGE_S * scale)
    house.smtp.start()


def smtp_slow(house: House, scale: float) -> None:
    house.smtp.on_data = lambda _server, _envelope: time.sleep(0.3)
    time.sleep(OUTAGE_S * scale)
    house.smtp.on_data = lambda _server, _envelope: None


def smtp_refuses(house: House, scale: float) -> None:
    count = itertools.count(1)
    house.smtp.on_recipient = lambda _address: "451 later" if next(count) % 3 == 0 else None
    time.sleep(OUTAGE_S * scale)
    house.smtp.on_recipient = lambda _address: None


def clock_drill(name: str, seconds: int) -> Drill:
    def strike(house: House, scale: float) -> None:
        with house.another_host(DRILL_CLOCK_OFF_S=str(seconds)):
            time.sleep(WRONG_CLOCK_S * scale)

    # For a host an hour ahead all tokens have expired; for one an hour behind they are not valid yet.
    return Drill(name, strike, passing=frozenset({401, 503}))


DRILLS = {
    drill.name: drill
    for drill in (
        Drill("kill-mongod", kill_mongod, is_proxied=True, mails=True),
        Drill("primary-killed", kill_primary, mend=start_members, size=3, is_proxied=True),
        Drill("primary-stepped-down", step_down, mend=settle_members, size=3),
        Drill("primary-frozen", freeze_primary, mend=settle_members, size=3),
        Drill("primary-cut-off", cut_off_primary, mend=settle_members, size=3, is_proxied=True),
        Drill("worker-killed", kill_worker, mails=True),
        Drill("master-killed", kill_master),
        Drill("terminated", terminate),
        Drill("reloaded", reload, is_seamless=True),
        Drill("wire-cut", on_the_wire("cut"), is_proxied=True),
        Drill("wire-delayed", on_the_wire("hold"), is_proxied=True),
        Drill("wire-half-closed", on_the_wire("half"), is_proxied=True),
        Drill("disk-full", fill_disk, disk_mb=500),
        Drill("smtp-down", smtp_down, mails=True),
        Drill("smtp-slow", smtp_slow, mails=True),
        Drill("smtp-refuses-a-third", smtp_refuses, mails=True),
        clock_drill("clock-hour-back", -3600),
        clock_drill("clock-hour-ahead", 3600),
    )
}

# Drills that can use the same bank, one after another.
TOGETHER: list[list[str]] = [
    [name for name, drill in DRILLS.items() if drill.size == 3],
    [name for name, drill in DRILLS.items() if drill.size == 1 and drill.disk_mb is None],
    [name for name, drill in DRILLS.items() if drill.disk_mb is not None],
]
