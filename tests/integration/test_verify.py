"""`flask ledger verify` against a ledger that somebody with an administrator's rights has changed."""

import json
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import ledger
from app.ledger import repository, verify
from app.ledger.commands import Capture, ChangeStatus, Expire, Hold, Reversal, Void
from app.ledger.records import AccountStatus, Act
from app.mongo import Document
from tests.support import Bank, Person, new_key

ACT = Act("cli:test", "because")
# kind, account, sequence, transaction: None where a fault has none.
Named = tuple[str, ObjectId | None, int | None, ObjectId | None]


@dataclass
class Ledger:
    """A small ledger: of asha's account the entries opened (0), funded (1), and three transfers to ravi (2, 3, 4)."""

    database: Database[Document]
    asha: ObjectId
    ravi: ObjectId
    sent: list[ObjectId]

    def entry(self, account: ObjectId, sequence: int) -> Document:
        found = self.database.ledger_entries.find_one({"account": account, "sequence": sequence})
        assert found is not None
        return found

    def change(self, account: ObjectId, at: int, **fields: Any) -> None:
        query = {"account": account, "sequence": at}
        self.database.ledger_entries.update_one(query, {"$set": fields}, bypass_document_validation=True)

    def change_transaction(self, number: int, **fields: Any) -> None:
        change(self.database, self.sent[number], fields)


def change(database: Database[Document], transaction: ObjectId, fields: dict[str, Any]) -> None:
    database.transactions.update_one({"_id": transaction}, {"$set": fields}, bypass_document_validation=True)


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    asha, ashas = bank.customer(1_000)
    _, ravis = bank.customer()
    sent = [asha.transfer(ashas, ravis, n, description="Rent").body["transaction"]["id"] for n in (100, 200, 300)]
    return Ledger(database, ObjectId(ashas), ObjectId(ravis), [ObjectId(id_) for id_ in sent])


def faults() -> list[Named]:
    verify._currency.cache_clear()
    found = verify.verify().faults
    assert len({str(fault) for fault in found}) == len(found)
    return [(fault.kind.value, fault.account, fault.sequence, fault.transaction) for fault in found]


def resealed(database: Database[Document], account: ObjectId, first: int) -> None:
    """Give all entries from `first` on hashes that fit again, as a careful forger would."""
    entries = list(database.ledger_entries.find({"account": account}).sort("sequence", 1))
    for before, after in zip(entries[first - 1 :], entries[first:], strict=False):
        entry = replace(repository.to_entry(after), previous_hash=bytes(before["hash"])).sealed()
        after.update(previous_hash=entry.previous_hash, hash=entry.hash)
        database.ledger_entries.replace_one({"_id": after["_id"]}, after, bypass_document_validation=True)


def test_an_untouched_ledger_is_sound(tampered: Ledger) -> None:
    report = verify.verify()

    assert report.faults == []
    assert (report.accounts, report.entries, report.transactions) == (3, 3 + 2 * 4, 4)
    for account in (tampered.asha, tampered.ravi):
        of_account = verify.verify_account(account)
        assert of_account is not None
        assert of_account.is_sound


def test_a_changed_amount(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, amount=201)

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence) for f in found] == [
        ("balance", tampered.asha, 3),
        ("hash", tampered.asha, 3),
        ("entry", tampered.asha, 3),
    ]
    assert (found[0].expected, found[0].found) == (699, 700)
    assert found[1].found == tampered.entry(tampered.asha, 3)["hash"].hex()
    assert str(found[2].expected).startswith("DEBIT 200, INR")
    assert str(found[2].found).startswith("DEBIT 201, INR")


def test_a_changed_balance(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)

    assert faults() == [("balance", tampered.asha, 3, None), ("hash", tampered.asha, 3, None)]


def test_a_changed_balance_at_the_end_shows_in_the_trial_balance_too(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 4, balance=401)

    found = verify.verify().faults

    assert [fault.kind for fault in found] == ["balance", "hash", "trial_balance"]
    assert (found[2].currency, found[2].expected, found[2].found) == ("INR", 0, 1)


@pytest.mark.parametrize(
    ("field", "value", "kinds"),
    [
        ("hash", b"\x01" * 32, ["hash"]),
        ("previous_hash", b"\x01" * 32, ["previous_hash", "hash"]),
        ("held", 5, ["held", "hash"]),
        ("type", "CREDIT", ["balance", "hash", "entry"]),
        ("counterparty", ObjectId(), ["entry"]),
        ("description", "Not rent", ["entry"]),
        ("created_at", datetime(2020, 1, 1, tzinfo=UTC), ["hash", "time", "entry"]),
        ("created_at", datetime(2120, 1, 1, tzinfo=UTC), ["hash", "time", "entry"]),
        ("amount", "200", ["format", "entry"]),
        ("amount", 200.5, ["format", "entry"]),
        ("balance", 2**70 * 1.0, ["format"]),
        ("hash", "text", ["format"]),
        ("created_at", None, ["format", "format"]),
        ("transaction", "text", ["format"]),
    ],
)
def test_any_changed_field_is_named_at_its_entry(tampered: Ledger, field: str, value: Any, kinds: list[str]) -> None:
    tampered.change(tampered.asha, 3, **{field: value})

    found = faults()

    assert [kind for kind, *_ in found][: len(kinds)] == kinds
    for kind, account, sequence, _ in found:
        if kind not in ("format", "trial_balance"):
            # Whoever is dated a century ahead leaves the next one behind.
            assert (account, sequence) in ((tampered.asha, 3), (tampered.asha, 4), (tampered.asha, None)), found


def test_a_forger_who_seals_again_is_found_where_the_old_chain_goes_on(tampered: Ledger) -> None:
    entry = replace(repository.to_entry(tampered.entry(tampered.asha, 3)), amount=201, balance=699).sealed()
    tampered.change(tampered.asha, 3, amount=201, balance=699, hash=entry.hash)

    assert faults() == [
        ("previous_hash", tampered.asha, 4, None),
        ("balance", tampered.asha, 4, None),
        ("entry", tampered.asha, 3, tampered.sent[1]),
    ]


def test_a_forger_of_a_whole_journal_is_found_by_the_other_side(tampered: Ledger) -> None:
    for sequence, changed in ((3, {"amount": 100, "balance": 800}), (4, {"balance": 500})):
        tampered.change(tampered.asha, sequence, **changed)
    resealed(tampered.database, tampered.asha, 3)

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.transaction) for f in found] == [
        ("trial_balance", None, None, None),
        ("entry", tampered.asha, 3, tampered.sent[1]),
    ]
    assert found[0].found == 100


def test_a_missing_entry(tampered: Ledger) -> None:
    tampered.database.ledger_entries.delete_one({"account": tampered.asha, "sequence": 3})

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.transaction) for f in found] == [
        ("sequence", tampered.asha, 4, None),
        ("entry", tampered.asha, None, tampered.sent[1]),
    ]
    assert (found[0].expected, found[0].found) == (3, 4)
    assert (str(found[1].expected)[:9], found[1].found) == ("DEBIT 200", None)


def test_a_missing_last_entry(tampered: Ledger) -> None:
    tampered.database.ledger_entries.delete_one({"account": tampered.asha, "sequence": 4})

    assert faults() == [("trial_balance", None, None, None), ("entry", tampered.asha, None, tampered.sent[2])]


def test_a_missing_journal_and_a_missing_account(tampered: Ledger) -> None:
    idle = tampered.database.accounts.find_one({"_id": tampered.ravi})
    assert idle is not None
    unopened = {**idle, "_id": ObjectId()}
    tampered.database.accounts.insert_one(unopened)
    assert faults() == [("journal", unopened["_id"], 0, None)]

    tampered.database.accounts.delete_one({"_id": unopened["_id"]})
    tampered.database.accounts.delete_one({"_id": tampered.ravi})
    assert ("journal", tampered.ravi, None, None) in faults()


def test_swapped_entries(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 2, sequence=99)
    tampered.change(tampered.asha, 3, sequence=2)
    tampered.change(tampered.asha, 99, sequence=3)

    found = faults()

    assert {(account, sequence) for _, account, sequence, _ in found} == {(tampered.asha, n) for n in (2, 3, 4)}
    assert ("hash", tampered.asha, 2, None) in found
    assert ("hash", tampered.asha, 3, None) in found


@pytest.mark.parametrize("known", [True, False])
def test_a_stray_entry(tampered: Ledger, known: bool) -> None:
    head = repository.to_entry(tampered.entry(tampered.ravi, 3))
    transaction = tampered.sent[2] if known else ObjectId()
    stray = replace(
        head, sequence=4, balance=head.balance + 300, previous_hash=head.hash, transaction=transaction
    ).sealed()
    repository.insert_entries([stray], None)  # type: ignore[arg-type]

    assert faults() == [("trial_balance", None, None, None), ("entry", tampered.ravi, 4, transaction)]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"amount": 201}, [("asha", 3), ("ravi", 2)]),
        ({"status": "FAILED"}, [("asha", 3), ("ravi", 2)]),
        ({"currency": "USD"}, [("asha", 3), ("ravi", 2)]),
        ({"description": "Not rent"}, [("asha", 3), ("ravi", 2)]),
        ({"completed_at": datetime(2020, 1, 1, tzinfo=UTC)}, [("asha", 3), ("ravi", 2)]),
        ({"to_account": ObjectId("1" * 24)}, [("asha", 3), ("ravi", 2)]),
        ({"kind": "CAPTURE"}, [("asha", 3), ("ravi", 2)]),
        ({"kind": "HOLD", "held_amount": 200}, [("asha", None)]),
        ({"accounts": []}, []),
        ({"amount": "200"}, []),
        ({"status": None}, []),
    ],
)
def test_an_edited_transaction(tampered: Ledger, fields: dict[str, Any], where: list[tuple[str, int]]) -> None:
    tampered.change_transaction(1, **fields)

    found = verify.verify().faults

    assert found
    assert {fault.transaction for fault in found} == {tampered.sent[1]}
    places = {(fault.account, fault.sequence) for fault in found if fault.kind == "entry"}
    assert {(getattr(tampered, name), sequence) for name, sequence in where} <= places


def test_a_missing_transaction(tampered: Ledger) -> None:
    tampered.database.transactions.delete_one({"_id": tampered.sent[1]})

    assert sorted(faults(), key=str) == sorted(
        [("entry", tampered.asha, 3, tampered.sent[1]), ("entry", tampered.ravi, 2, tampered.sent[1])], key=str
    )


def test_a_transaction_that_never_was(tampered: Ledger) -> None:
    original = tampered.database.transactions.find_one({"_id": tampered.sent[0]})
    assert original is not None
    invented = {**original, "_id": ObjectId(), "idempotency_key": new_key()}
    tampered.database.transactions.insert_one(invented)

    assert faults() == [
        ("entry", tampered.asha, None, invented["_id"]),
        ("entry", tampered.ravi, None, invented["_id"]),
    ]


def test_an_account_whose_status_is_not_what_its_journal_says(tampered: Ledger) -> None:
    tampered.database.accounts.update_one({"_id": tampered.asha}, {"$set": {"status": "CLOSED"}})

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.expected, f.found) for f in found] == [
        ("status", tampered.asha, 0, "ACTIVE", "CLOSED")
    ]


def test_a_customer_below_zero(tampered: Ledger) -> None:
    """A forger who spends what is not there, on both sides and in the chains, still breaks the law."""
    tampered.change(tampered.asha, 1, amount=500, balance=500)
    for sequence, balance in ((2, 400), (3, 200), (4, -100)):
        tampered.change(tampered.asha, sequence, balance=balance)
    resealed(tampered.database, tampered.asha, 1)

    assert ("overdraft", tampered.asha, 4, None) in faults()


def every_kind_of_movement(bank: Bank) -> dict[str, ObjectId]:
    """Hold, capture, void, let expire, reverse, freeze, unfreeze and close; return some of the ids."""
    asha, ashas = bank.customer(1_000)
    ravi, ravis = bank.customer(500)
    poor, poors = bank.customer()
    payer, payee, system = ObjectId(ashas), ObjectId(ravis), ObjectId(bank.system.id)

    def keyed(user: str | ObjectId) -> dict[str, Any]:
        return {"id": ObjectId(), "user": ObjectId(user), "idempotency_key": new_key(), "fingerprint": {}}

    def hold(amount: int, lifetime: timedelta = timedelta(days=1)) -> ObjectId:
        parties = {"from_account": payer, "to_account": payee, "description": "A deposit"}
        command = Hold(**keyed(asha.id), **parties, amount=amount, lifetime=lifetime)
        return ledger.post([command])[0].unwrap().id

    ids = {name: hold(100) for name in ("pending", "captured", "voided", "reversed")}
    ids["expired"] = hold(100, timedelta(milliseconds=1))
    ledger.post([Capture(**keyed(ravi.id), hold=ids["captured"], amount=60)])[0].unwrap()
    ledger.post([Capture(**keyed(ravi.id), hold=ids["reversed"])])[0].unwrap()
    ledger.post([Void(**keyed(ravi.id), hold=ids["voided"], reason="Not needed")])[0].unwrap()
    ledger.post([Expire(hold=ids["expired"])])[0].raise_error()
    sent = ObjectId(asha.transfer(ashas, ravis, 50).body["transaction"]["id"])
    ids |= {"sent": sent, "account": payer, "closed": ObjectId(poors)}
    for original in (sent, ids["reversed"]):
        ledger.post([Reversal(**keyed(system), original=original, act=ACT)])[0].unwrap()
    poor.transfer(poors, ashas, 1)
    for account, status in ((payer, "FROZEN"), (payer, "ACTIVE"), (ids["closed"], "CLOSED")):
        ledger.post([ChangeStatus(account=account, status=AccountStatus(status), act=ACT)])[0].raise_error()
    asha.transfer(ashas, ravis, 1)
    return ids


def test_holds_reversals_and_status_changes_are_sound(bank: Bank) -> None:
    ids = every_kind_of_movement(bank)

    assert faults() == []
    for name in ("account", "closed"):
        report = verify.verify_account(ids[name])
        assert report is not None
        assert report.faults == []


@pytest.mark.parametrize(
    ("name", "fields", "kinds"),
    [
        ("pending", {"status": "VOIDED"}, {"entry"}),
        ("voided", {"status": "PENDING"}, {"entry"}),
        ("captured", {"held_amount": 99}, {"entry"}),
        ("captured", {"amount": 100}, {"entry"}),
        ("sent", {"status": "COMPLETED"}, {"reversal"}),
        ("sent", {"reversed_by": ObjectId("1" * 24)}, {"reversal"}),
        ("captured", {"status": "REVERSED"}, {"reversal"}),
    ],
)
def test_an_edited_hold_or_reversal(
    bank: Bank, database: Database[Document], name: str, fields: dict[str, Any], kinds: set[str]
) -> None:
    ids = every_kind_of_movement(bank)
    change(database, ids[name], fields)

    assert {kind for kind, *_ in faults()} == kinds


def test_money_that_moved_on_a_frozen_account(bank: Bank, database: Database[Document]) -> None:
    ids = every_kind_of_movement(bank)
    entry = database.ledger_entries.find_one(
        {"account": ids["account"], "type": "STATUS", "description": "ACTIVE", "sequence": {"$gt": 0}}
    )
    assert entry is not None
    database.ledger_entries.update_one({"_id": entry["_id"]}, {"$set": {"description": "FROZEN"}})
    resealed(database, ids["account"], entry["sequence"])

    found = faults()

    assert ("inactive", ids["account"], entry["sequence"] + 1, None) in found
    assert ("status", ids["account"], entry["sequence"], None) in found


def test_one_account_is_checked_with_its_transactions(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)
    tampered.database.ledger_entries.delete_one({"account": tampered.ravi, "sequence": 3})
    report = verify.verify_account(tampered.asha)
    assert report is not None

    assert [(f.kind, f.account, f.sequence) for f in report.faults] == [
        ("balance", tampered.asha, 3),
        ("hash", tampered.asha, 3),
        ("entry", tampered.ravi, None),
    ]
    assert verify.verify_account(ObjectId()) is None


def test_it_finds_no_false_fault_while_money_moves(live_bank: Bank, database: Database[Document]) -> None:
    people: list[tuple[Person, str]] = [live_bank.customer(10_000) for _ in range(4)]
    ended = threading.Event()

    def move(number: int) -> None:
        person, account = people[number]
        while not ended.is_set():
            assert person.transfer(account, people[(number + 1) % 4][1], 1).status in (201, 422)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    reports = [verify.verify() for _ in range(15)]
    ended.set()
    for thread in threads:
        thread.join()

    assert [report.faults for report in reports] == [[]] * 15
    assert reports[-1].entries > reports[0].entries


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["ledger", "verify", *arguments])


def test_the_command_names_faults_and_exits_with_one(app: Flask, tampered: Ledger) -> None:
    sound = run(app)
    tampered.change(tampered.asha, 3, balance=999)
    broken = run(app)
    broken_account = run(app, "--account", str(tampered.asha))

    assert (sound.exit_code, broken.exit_code, broken_account.exit_code) == (0, 1, 1)
    assert "The ledger is sound. Read 11 entries of 3 accounts and 4 transactions" in sound.stdout
    line = f"balance: account {tampered.asha}, sequence 3: expected 700, found 999"
    assert line in broken.stdout
    assert line in broken_account.stdout
    assert run(app, "--account", str(tampered.ravi)).exit_code == 0
    assert run(app, "--account", str(ObjectId())).exit_code == 2
    assert run(app, "--account", "nonsense").exit_code == 2


def test_the_command_reports_as_json(app: Flask, tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)

    report = json.loads(run(app, "--json").stdout)

    assert (report["sound"], report["entries"], report["accounts"], report["transactions"]) == (False, 11, 3, 4)
    assert report["faults"][0] == {
        "kind": "balance",
        "account": str(tampered.asha),
        "sequence": 3,
        "transaction": None,
        "currency": None,
        "expected": 700,
        "found": 999,
    }
