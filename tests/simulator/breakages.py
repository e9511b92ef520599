"""Ways to break the bank, each of which the judge must find: they show that the simulator would see such a fault."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace as changed
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.write_concern import WriteConcern

from app import audit, mongo
from app.ledger import repository
from app.ledger.records import Account, Entry
from app.ledger.state import Decided
from app.mongo import Insert, blocks
from app.outbox import repository as outbox
from tests.simulator import requests, server, world
from tests.simulator.setting import replace

_find = repository.find


def no_majority() -> None:
    """Blocks are acknowledged before a majority has them."""
    replace(blocks, WriteConcern=lambda **_: WriteConcern(w=1))


def no_key_index() -> None:
    """No index keeps a key from being spent twice."""
    server.UNIQUE["transactions"] = server.UNIQUE["transactions"][1:]


def letters_before_commit() -> None:
    """Letters are written before the block commits, and by themselves."""

    def tell(decided: Decided, session: ClientSession) -> list[Insert]:
        return _written_apart(outbox.tell(decided, session))

    world.WITNESSES[:] = [audit.record_acts, tell]


def witness_outside() -> None:
    """The audit log is written outside the block that it tells of."""

    def record_acts(decided: Decided, session: ClientSession) -> list[Insert]:
        return _written_apart(audit.record_acts(decided, session))

    world.WITNESSES[:] = [record_acts, outbox.tell]


def _written_apart(inserts: Iterable[Insert]) -> list[Insert]:
    """Write what is to be written in a block outside it, and return what is left to be written in it: nothing."""
    for collection, documents in inserts:
        if made := list(documents):
            mongo.database()[collection].insert_many(made)
    return []


def head_outside() -> None:
    """The heads of journals are read as they are now, not as of the block's snapshot."""

    def find(accounts: Collection[ObjectId], session: ClientSession | None = None, **more: Any) -> repository.Found:
        found = _find(accounts, session, **more)
        heads, _ = repository.find_heads_and_time(accounts)
        return changed(found, accounts=[_with_head(account, heads[account.id]) for account in found.accounts])

    replace(repository, find=find)


def _with_head(account: Account, head: Entry) -> Account:
    names = ("sequence", "balance", "held", "hash")
    return changed(account, at=head.created_at, **{name: getattr(head, name) for name in names})


def retry_without_key() -> None:
    """Who asks again does so under a new key."""

    def retried(request: requests.Request) -> requests.Request:
        return changed(request, key=f"{request.key} again")

    replace(world, retried=retried)


BREAKAGES: dict[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (no_majority, no_key_index, letters_before_commit, witness_outside, head_outside, retry_without_key)
}


def apply(name: str) -> None:
    BREAKAGES[name]()
