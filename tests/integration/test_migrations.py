"""Upgrades: what runs when, who waits for whom, how they continue after a kill, which programs a database admits."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from app.mongo import Document, leases
from app.mongo.migrations import record, run
from app.mongo.migrations.run import MIGRATIONS
from app.mongo.migrations.steps import WALKED_AT_ONCE, Migration, Phase, Refused, Step
from app.mongo.readiness import NotReady, check_schema
from app.mongo.schema import SCHEMA_VERSION
from config import ROOT
from local.replica_set import ReplicaSet
from tests.integration.test_schema import USER

TIMEOUT_S = 60.0
# A later version, which nothing has yet: a long way through the users, and what follows it.
MANY = 3_000


class Told:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.waited_for: list[str] = []
        self.steps: dict[str, int] = {}

    def waits(self, holder: str) -> None:
        self.waited_for.append(holder)

    @contextmanager
    def follows(self, title: str, length: int | None) -> Iterator[Callable[[int], None]]:
        self.steps[title] = 0

        def advanced(done: int) -> None:
            self.steps[title] += done

        yield advanced


def mark(step: Step) -> None:
    step.database["users"].update_many({}, {"$set": {"vouched": 3}})


def walk(step: Step) -> None:
    """Count in each user how often it was seen."""
    for users in step.walk("users", []):
        ids = [user["_id"] for user in users]
        step.database["users"].update_many({"_id": {"$in": ids}}, {"$inc": {"vouched": 1}})


def walk_and_hang(step: Step) -> None:
    """Do as `walk` does, and go no further than through the second batch, which is not recorded then."""
    for batch, users in enumerate(step.walk("users", []), 1):
        ids = [user["_id"] for user in users]
        step.database["users"].update_many({"_id": {"$in": ids}}, {"$inc": {"vouched": 1}})
        if batch == 2:
            sys.stdout.write("there\n")
            sys.stdout.flush()
            time.sleep(TIMEOUT_S)


def version_3(*more: Migration, work: Callable[[Step], None] = walk) -> tuple[Migration, ...]:
    return (*MIGRATIONS, Migration(101, 3, Phase.EXPAND, "walk", work, size="users"), *more)


def numbers(migrations: list[Migration]) -> list[int]:
    return [each.number for each in migrations]


def of_phase(phase: Phase) -> list[int]:
    return [each.number for each in MIGRATIONS if each.phase is phase]


def test_the_migrations_are_numbered_in_order_and_end_with_the_schemas_version() -> None:
    assert numbers(list(MIGRATIONS)) == list(range(1, len(MIGRATIONS) + 1))
    assert [each.version for each in MIGRATIONS] == sorted(each.version for each in MIGRATIONS)
    assert MIGRATIONS[-1].version == SCHEMA_VERSION


def test_a_new_database_has_nothing_to_upgrade(empty_database: Database[Document]) -> None:
    assert run.create(empty_database)
    assert not run.create(empty_database)

    assert run.state(empty_database).is_up_to_date
    assert run.upgrade(empty_database) == run.finish(empty_database) == []
    assert record.windows(empty_database) == [], "no older release ever wrote here"
    check_schema(empty_database)


def test_an_old_database_is_upgraded_in_two_halves(old_database: Database[Document]) -> None:
    with pytest.raises(NotReady, match="db upgrade"):
        check_schema(old_database)
    with pytest.raises(Refused, match="db upgrade"):
        run.create(old_database)
    with pytest.raises(Refused, match="db upgrade"):
        run.finish(old_database)

    assert numbers(run.upgrade(old_database)) == of_phase(Phase.EXPAND)

    check_schema(old_database)
    (window,) = record.windows(old_database)
    assert window.expanded_at is not None
    assert window.begun_at < window.expanded_at
    assert window.finished_at is None
    assert record.find_version(old_database) == {
        "_id": "version", "version": 2, "oldest": 1, "shape": record.shape_digest()
    }  # fmt: skip
    assert {"accounts_1", "accounts_1__id_1"} <= old_database.transactions.index_information().keys(), (
        "the old needs it"
    )
    assert run.upgrade(old_database) == []

    assert numbers(run.finish(old_database)) == of_phase(Phase.CONTRACT)

    (finished,) = record.windows(old_database)
    assert finished.finished_at is not None
    assert finished.begun_at == window.begun_at < finished.finished_at
    assert run.state(old_database).is_up_to_date
    assert run.finish(old_database) == []
    indexes = old_database.transactions.index_information().keys()
    assert not {"accounts_1", "accounts_1__id_1"} & indexes
    assert {"not_declined", "declined", "own_declined", "accounts_1_expires_at_1"} <= indexes


def test_an_old_database_gets_the_very_shape_of_a_new_one(
    old_database: Database[Document], database: Database[Document]
) -> None:
    run.ensure_schema(old_database)

    def shape(made: Database[Document]) -> Document:
        return {
            each["name"]: (each["options"].get("validator"), made[each["name"]].index_information())
            for each in made.list_collections()
        }

    assert shape(old_database) == shape(database)


def test_a_process_of_the_old_release_that_still_posts_is_noticed(old_database: Database[Document]) -> None:
    run.upgrade(old_database)
    entry = old_database.ledger_entries.find_one({}, {"_id": 0, "sequence": 0})
    assert entry is not None
    newest = ObjectId()
    old_database.ledger_entries.insert_one({**entry, "_id": newest, "sequence": 2**40})

    with pytest.raises(Refused, match="old release posted"):
        run.finish(old_database)

    assert record.windows(old_database)[0].finished_at is None
    old_database.ledger_entries.delete_one({"_id": newest})
    assert run.finish(old_database)


def test_the_old_releases_own_init_after_the_upgrade_is_made_good_again(old_database: Database[Document]) -> None:
    run.ensure_schema(old_database)
    # What the first release's `db init` does.
    old_database["schema"].update_one({"_id": "version"}, {"$set": {"version": 1}})
    old_database.command("collMod", "known_clients", validator={})

    with pytest.raises(NotReady, match="db upgrade"):
        check_schema(old_database)
    assert numbers(run.upgrade(old_database)) == of_phase(Phase.EXPAND)
    assert numbers(run.finish(old_database)) == of_phase(Phase.CONTRACT)

    (known_clients,) = old_database.list_collections(filter={"name": "known_clients"})
    assert known_clients["options"]["validator"]
    assert run.state(old_database).is_up_to_date


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ({"version": SCHEMA_VERSION - 1}, "Run `flask --app wsgi db upgrade`"),
        ({"version": SCHEMA_VERSION + 1, "oldest": SCHEMA_VERSION + 1}, "Start the newer program"),
        ({"version": SCHEMA_VERSION + 1}, "Start the newer program"),
    ],
)
def test_a_program_refuses_a_schema_that_is_not_for_it(
    empty_database: Database[Document], found: Document, advice: str
) -> None:
    empty_database["schema"].insert_one({"_id": "version", **found})

    with pytest.raises(NotReady, match=advice) as refused:
        check_schema(empty_database)

    assert "\n" not in str(refused.value)


def test_a_program_goes_on_serving_while_the_next_version_is_prepared(empty_database: Database[Document]) -> None:
    run.create(empty_database)

    assert numbers(run.upgrade(empty_database, migrations=version_3())) == [101]
    check_schema(empty_database)

    run.finish(empty_database, migrations=version_3())
    with pytest.raises(NotReady, match="Start the newer program"):
        check_schema(empty_database)
    with pytest.raises(Refused, match="Use the newer program"):
        run.upgrade(empty_database)


def test_an_upgrade_waits_for_the_end_of_the_one_before(old_database: Database[Document]) -> None:
    later = version_3()
    assert numbers(run.upgrade(old_database, migrations=later)) == of_phase(Phase.EXPAND)
    with pytest.raises(Refused, match="db finish"):
        run.upgrade(old_database, migrations=later)

    run.finish(old_database, migrations=later)

    assert numbers(run.upgrade(old_database, migrations=later)) == [101]


def test_documents_without_a_schema_are_left_alone(empty_database: Database[Document]) -> None:
    empty_database.users.insert_one(dict(USER))

    with pytest.raises(Refused, match="documents in 'users'"):
        run.create(empty_database)
    with pytest.raises(Refused, match="db init"):
        run.upgrade(empty_database)

    assert empty_database.list_collection_names(filter={"name": {"$ne": "leases"}}) == ["users"]


def test_of_several_hosts_one_upgrades_and_the_others_wait_and_say_so(
    old_database: Database[Document], replica_set: ReplicaSet
) -> None:
    may_go_on, is_at_work = threading.Event(), threading.Event()

    def hold_on(step: Step) -> None:
        is_at_work.set()
        assert may_go_on.wait(TIMEOUT_S)
        mark(step)

    held = (Migration(1, 2, Phase.EXPAND, "hold on", hold_on), *MIGRATIONS[1:])
    first = threading.Thread(target=run.upgrade, args=(old_database,), kwargs={"migrations": held})
    first.start()
    assert is_at_work.wait(TIMEOUT_S)
    # Another host.
    program = (
        "import sys; from pymongo import MongoClient; from app.mongo.migrations import run\n"
        "class Watch(run._Nobody):\n"
        "    def waits(self, holder): print('waits for', holder, flush=True)\n"
        "client = MongoClient(sys.argv[1], tz_aware=True)\n"
        "print(len(run.upgrade(client[sys.argv[2]], Watch())), flush=True)\n"
    )
    arguments = [sys.executable, "-c", program, replica_set.admin_uri, old_database.name]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == f"waits for {leases.shown(leases.own_name())}\n"
        assert run.state(old_database).running == leases.shown(leases.own_name())
        may_go_on.set()
        first.join(TIMEOUT_S)
        assert other.stdout.read() == "0\n", "the first one did it"
        assert other.wait(TIMEOUT_S) == 0
    assert old_database.users.count_documents({"vouched": 3}) == old_database.users.count_documents({})
    assert run.state(old_database).running is None


def test_an_upgrade_that_is_killed_goes_on_where_it_was(
    empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    run.create(empty_database)
    empty_database.users.insert_many(
        [{**USER, "_id": ObjectId(), "email": f"{number}@fincore.example", "vouched": 0} for number in range(MANY)]
    )
    program = (
        "import sys; from pymongo import MongoClient\n"
        "from app.mongo.migrations import run\n"
        "from tests.integration.test_migrations import version_3, walk_and_hang\n"
        "client = MongoClient(sys.argv[1], tz_aware=True)\n"
        "run.upgrade(client[sys.argv[2]], migrations=version_3(work=walk_and_hang))\n"
    )
    arguments = [sys.executable, "-c", program, replica_set.admin_uri, empty_database.name]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "there\n"
        killed.kill()
    assert "position" in record.find_migrations(empty_database)[101]
    assert record.find_version(empty_database)["version"] == 2  # type: ignore[index]
    # Its lease ends by itself; nobody need wait for that here.
    empty_database.leases.update_one({"_id": run.LEASE}, {"$set": {"until": datetime(2026, 1, 1, tzinfo=UTC)}})
    watch = Told()

    assert numbers(run.upgrade(empty_database, watch, version_3())) == [101]

    seen = {each["vouched"] for each in empty_database.users.find({"name": USER["name"]})}
    assert seen == {1, 2}, "no user was left out"
    assert empty_database.users.count_documents({"vouched": 2}) == WALKED_AT_ONCE, (
        "only the batch under way is done again"
    )
    assert 0 < watch.steps["101: walk"] < MANY
    assert run.state(empty_database).version == 3


def test_whoever_lost_the_lease_stops(empty_database: Database[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    run.create(empty_database)
    monkeypatch.setattr(run, "LEASE_DURATION", timedelta(seconds=1))

    def lose(step: Step) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        step.database.leases.update_one({"_id": run.LEASE}, {"$set": {"holder": "another", "until": later}})
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            step.keep(1)
            time.sleep(0.05)  # until the lease is to be extended

    with pytest.raises(leases.LeaseLost):
        run.upgrade(empty_database, migrations=(*MIGRATIONS, Migration(101, 3, Phase.EXPAND, "lose", lose)))

    assert record.find_version(empty_database)["version"] == 2  # type: ignore[index]


def test_a_step_may_take_longer_than_any_other_operation(
    empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    run.create(empty_database)
    empty_database.users.insert_one(dict(USER))

    def take_long(step: Step) -> None:
        assert step.database.users.find_one({"$where": "sleep(1500) || true"})

    later = (*MIGRATIONS, Migration(101, 3, Phase.EXPAND, "take long", take_long))
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True, timeoutMS=1_000) as limited:
        assert numbers(run.upgrade(limited[empty_database.name], migrations=later)) == [101]
