"""A deploy without a pause, under load: this release and the next serve one bank side by side.

The next release is a copy of this one whose schema has one more version, with an index and two migrations. So what is
rehearsed is the way from one schema to another. What the first release in particular does beside this one needs its
code: `tests/rehearsal.py`.
"""

from pathlib import Path

from app.mongo.schema import SCHEMA_VERSION
from tests.drills.auditor import Auditor
from tests.drills.house import Server, open_house
from tests.drills.load import Load
from tests.server import copy_program

# More cost time and show nothing else: at each stage of the deploy there is something of each kind to do.
CLIENTS = 6
THINK_S = 0.3
NEXT = SCHEMA_VERSION + 1
MIGRATIONS = f"""
from app.mongo.migrations.steps import Migration, Phase, Step


def see_all(step: Step) -> None:
    for _ in step.walk("transactions", ["status"]):
        pass


MIGRATIONS = (
    Migration(1_000, {NEXT}, Phase.EXPAND, "see all", see_all, size="transactions"),
    Migration(1_001, {NEXT}, Phase.CONTRACT, "see all again", see_all, size="transactions"),
)
"""


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def make_next_release(place: Path) -> None:
    copy_program(place)
    schema, migrations = place / "app" / "mongo" / "schema.py", place / "app" / "mongo" / "migrations"
    replace(schema, f"\nSCHEMA_VERSION = {SCHEMA_VERSION}\n", f"\nSCHEMA_VERSION = {NEXT}\n")
    schema.write_text(schema.read_text() + '\nINDEXES["accounts"].append(IndexModel([("name", ASCENDING)]))\n')
    (migrations / "version_next.py").write_text(MIGRATIONS)
    replace(
        migrations / "run.py",
        "\nMIGRATIONS: Sequence[Migration] = version_2.MIGRATIONS\n",
        "\nfrom app.mongo.migrations import version_next\n"
        "MIGRATIONS: Sequence[Migration] = (*version_2.MIGRATIONS, *version_next.MIGRATIONS)\n",
    )


def test_a_deploy_loses_no_request(tmp_path: Path) -> None:
    make_next_release(tmp_path / "next")
    with open_house(tmp_path / "bank") as house:
        admin_uri = house.replica_set.admin_uri.replace("/?", "/fincore?")
        new = Server(house.uri, tmp_path / "next", WEB_CONCURRENCY="1")
        load = Load(house, clients=CLIENTS, think_s=THINK_S)
        try:
            with load:
                assert new.flask("db", "status").returncode == 1
                upgraded = new.flask("db", "upgrade", uri=admin_uri)
                assert upgraded.returncode == 0, upgraded.stderr
                new.start()
                house.client.call(house.server.port, new.port)
                assert load.sees_every_kind()
                # Like a proxy: no more requests for the old one, and then SIGTERM.
                house.client.call(new.port)
                house.server.stop()
                finished = new.flask("db", "finish", uri=admin_uri)
                assert finished.returncode == 0, finished.stderr
                assert load.sees_every_kind()
            assert load.unknown + house.client.unanswered == 0, load.reasons
            load.settle()
            with house.database() as database:
                verdict = Auditor(database).audit(load.wishes)
            assert verdict.is_clean, verdict
            assert new.flask("db", "status").returncode == 0
            assert new.flask("ledger", "verify").returncode == 0
        finally:
            new.stop()
