"""Repositories that need no session: the same tests on mongomock, which is fast, and on the real server, so that the
fake cannot drift unnoticed. Uniqueness, collation and atomic blocks are the real server's alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import NotPrimaryError

from app import mongo
from app.accounts import repository as accounts
from app.admin import repository
from app.admin.service import search_for
from app.auth import repository as auth
from app.auth.service import find_user, name_key
from app.mongo import Document
from local.replica_set import ReplicaSet

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


@pytest.fixture(params=["mongomock", "mongodb"])
def store(
    request: pytest.FixtureRequest, replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database[Document]]:
    """An empty database of either kind, which the repositories use."""
    if request.param == "mongodb":
        database = request.getfixturevalue("database")
        database.users.delete_many({})
        yield database
        return
    mongo.close()
    fake: Database[Document] = mongomock.MongoClient(tz_aware=True)["fincore"]
    # It knows cursors and no commands, so it is a server that steps down each time that it gets one.
    monkeypatch.setattr(mongomock.Database, "command", _stepping_down)
    mongo.use(fake)
    yield fake
    mongo.close()


def _stepping_down(*_arguments: Any, **_options: Any) -> None:
    raise NotPrimaryError("mongomock")


def numbered(n: int) -> ObjectId:
    return ObjectId(f"{n:024x}")


def pages(find: Any, position: Any, limit: int) -> list[Any]:
    """Follow a list to its end and return the ids in it."""
    seen: list[Any] = []
    after = None
    while found := find(after=after, limit=limit):
        seen += [item["_id"] for item in found]
        after = position(found[-1])
    return seen


class TestUsers:
    def put(self, store: Database[Document], n: int, name: str, email: str | None = None) -> Document:
        user: Document = {
            "_id": numbered(n),
            "email": email or f"user-{n}@fincore.example",
            "name": name,
            "name_key": name_key(name),
            "password_hash": "x",
            "role": "USER",
            "created_at": NOW,
        }
        store.users.insert_one(user)
        return user

    def search(self, text: str, limit: int = 50) -> list[Any]:
        return pages(
            lambda **part: repository.search_users(search_for(text), **part),
            lambda user: repository.search_position(search_for(text), user),
            limit,
        )

    def test_a_user_is_found_by_id_and_by_address(self, store: Database[Document]) -> None:
        user = self.put(store, 1, "Asha Rao")

        assert auth.find_user(numbered(1)) == user
        assert auth.find_user(numbered(2)) is None
        assert auth.find_user_by_email("user-1@fincore.example") == user
        assert auth.find_user_by_email("USER-1@fincore.example") is None
        assert (find_user("user-1@fincore.example") or {})["_id"] == numbered(1)
        assert (find_user(str(numbered(1))) or {})["_id"] == numbered(1)
        assert find_user("nobody@fincore.example") is None

    def test_users_are_listed_newest_first(self, store: Database[Document]) -> None:
        for n in range(1, 8):
            self.put(store, n, "Person")

        for limit in (1, 3, 7, 50):
            ids = pages(repository.find_users, lambda user: (user["created_at"], user["_id"]), limit)
            assert ids == [numbered(n) for n in range(7, 0, -1)]

    def test_a_search_goes_by_id_then_name_then_address(self, store: Database[Document]) -> None:
        self.put(store, 3, "Zed", "ash@fincore.example")
        self.put(store, 2, "ASHOK Mehta", "mehta@fincore.example")
        self.put(store, 1, "asha rao", "ash-rao@fincore.example")
        self.put(store, 4, "Natasha", "n@fincore.example")
        self.put(store, 5, str(numbered(4)), "five@fincore.example")

        assert self.search("Ash") == [numbered(1), numbered(2), numbered(3)]
        assert self.search(str(numbered(4))) == [numbered(4), numbered(5)]
        assert self.search("nobody") == []

    def test_a_search_takes_every_character_as_it_is(self, store: Database[Document]) -> None:
        self.put(store, 1, "a.b*c+(d)[e]{f}|g^h$i\\j k-l#m~n&o")
        self.put(store, 2, "axbyyc", "a.b@fincore.example")

        assert self.search("a.b*c+(d)[e]{f}|g^h$i\\j k-l#m~n&o") == [numbered(1)]
        assert self.search("a.b") == [numbered(1), numbered(2)]
        assert self.search("a.b@") == [numbered(2)]
        for pattern in ("a.*", "^a", "[ab]", ".", "a|b", "(?i)A"):
            assert self.search(pattern) == []

    def test_a_search_shows_everybody_once(self, store: Database[Document]) -> None:
        for n, name in enumerate(["Per", "Perso", "Person", "Person", "Person", "person a", "PERSON", "Zed"], 1):
            self.put(store, n, name, f"perso{n}@fincore.example")

        whole = self.search("perso")
        assert len(whole) == len(set(whole)) == 8
        assert whole[-2:] == [numbered(1), numbered(8)]
        for limit in (1, 2, 3):
            assert self.search("perso", limit) == whole

    def test_the_system_user_is_found_by_role(self, store: Database[Document]) -> None:
        assert repository.find_first_user("SYSTEM") is None
        self.put(store, 1, "Asha")
        system = self.put(store, 2, "Fincore")
        store.users.update_one({"_id": numbered(2)}, {"$set": {"role": "SYSTEM"}})

        assert repository.find_first_user("SYSTEM") == {**system, "role": "SYSTEM"}


class TestAccounts:
    def put(self, store: Database[Document], n: int, **more: Any) -> Document:
        account: Document = {
            "_id": numbered(n),
            "kind": "CUSTOMER",
            "name": None,
            "currency": "INR",
            "status": "ACTIVE",
            "created_at": NOW,
            **more,
        }
        store.accounts.insert_one(account)
        return account

    def test_accounts_are_filtered_and_listed_newest_first(self, store: Database[Document]) -> None:
        asha = ObjectId()
        self.put(store, 1, kind="TREASURY")
        for n in range(2, 8):
            self.put(store, n, user=asha if n % 2 else ObjectId(), status="FROZEN" if n > 5 else "ACTIVE")

        def ids(limit: int = 2, **filters: Any) -> list[Any]:
            return pages(
                lambda **part: repository.find_accounts(filters, **part)[0],
                lambda account: (account["created_at"], account["_id"]),
                limit,
            )

        assert ids() == [numbered(n) for n in range(7, 0, -1)]
        assert ids(user=asha) == [numbered(7), numbered(5), numbered(3)]
        assert ids(user=asha, status="FROZEN") == [numbered(7)]
        assert ids(kind="TREASURY", currency="INR") == [numbered(1)]
        assert ids(currency="EUR") == []
        assert repository.find_accounts({"kind": "TREASURY"}, after=None, limit=1)[0][0]["user"] is None

    def test_a_user_has_their_own_accounts_oldest_first_and_renames_only_those(self, store: Database[Document]) -> None:
        asha, other = ObjectId(), ObjectId()
        for n, user in enumerate((asha, other, asha), 1):
            self.put(store, n, user=user)

        assert [account["_id"] for account in accounts.find_accounts_of(asha)] == [numbered(1), numbered(3)]
        before = accounts.find_account(numbered(1))
        assert accounts.rename(numbered(1), asha, "Savings") == before
        assert (accounts.find_account(numbered(1)) or {})["name"] == "Savings"
        assert accounts.rename(numbered(2), asha, "Mine") is None
        assert accounts.find_account(numbered(2)) == store.accounts.find_one({"_id": numbered(2)})
        assert accounts.find_account(numbered(9)) is None


class TestAuditLog:
    def test_records_are_filtered_and_listed_newest_first(self, store: Database[Document]) -> None:
        asha, subject = ObjectId(), ObjectId()
        for n in range(1, 7):
            actor: Any = asha if n % 2 else "cli:root"
            store.audit_log.insert_one(
                {"_id": numbered(n), "at": NOW, "actor": actor, "action": "x", "subject": subject if n > 2 else "mail"}
            )

        def ids(limit: int = 2, **filters: Any) -> list[Any]:
            return pages(
                lambda **part: repository.find_audit_records(filters, **part)[0],
                lambda record: (record["at"], record["_id"]),
                limit,
            )

        assert ids() == [numbered(n) for n in range(6, 0, -1)]
        assert ids(actor=asha) == [numbered(5), numbered(3), numbered(1)]
        assert ids(actor="cli:root", subject=subject) == [numbered(6), numbered(4)]
        assert ids(subject={"$ne": None}) == []

    def test_records_since_a_time_come_oldest_first(self, store: Database[Document]) -> None:
        times = [NOW + timedelta(seconds=10 * n) for n in range(4)]
        ids = [ObjectId.from_datetime(at) for at in times]
        for n in (2, 0, 3, 1):
            store.audit_log.insert_one(
                {"_id": ids[n], "at": times[n], "actor": "cli:root", "action": "x", "subject": f"s{n % 2}"}
            )

        assert [r["_id"] for r in repository.find_audit_records_since(times[1], {})] == ids[1:]
        assert [r["_id"] for r in repository.find_audit_records_since(times[1], {"subject": "s0"})] == [ids[2]]


class TestBlocklist:
    def test_a_revocation_is_one_row_that_lasts_as_long_as_the_longest_token(self, store: Database[Document]) -> None:
        auth.insert_revocation("session-1", NOW)
        auth.insert_revocation("session-1", NOW + timedelta(days=1))
        auth.insert_revocation("session-2", NOW)

        rows = {row["_id"]: row["expires_at"] for row in store.revoked_tokens.find()}
        assert rows == {"session-1": NOW + timedelta(days=1), "session-2": NOW}
