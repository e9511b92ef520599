"""Compares what clients were told with what the database has. It shares no code with the application."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from tests.drills.load import Wish
from tests.mail import Received
from tests.simulator.books import Book, Wrong

Document = dict[str, Any]

KEY_USES = {"CAPTURE", "VOID", "BATCH", "ACCOUNT"}
ITEM_SEPARATOR = "\x1f"
STATUS = {"transfer": "COMPLETED", "decline": "FAILED"}
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{24}(?![0-9a-f])")


@dataclass
class Verdict:
    """What an audit found: wishes whose acknowledged effect is missing or there twice, and whatever else is wrong."""

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


class Auditor:
    """Reads all of a bank's money as an administrator, once, when nothing is under way."""

    def __init__(self, database: Any) -> None:
        self.accounts = {each["_id"]: each for each in database.accounts.find()}
        self.records = {each["_id"]: each for each in database.transactions.find()}
        order = [("account", 1), ("sequence", 1)]
        self.entries: list[Document] = list(database.ledger_entries.find().sort(order))
        self.outbox: list[Document] = list(database.outbox.find())

    def audit(self, wishes: Iterable[Wish]) -> Verdict:
        verdict = Verdict()
        self._judge_journals(verdict)
        self._judge_records(verdict)
        self._judge_wishes(list(wishes), verdict)
        return verdict

    def judge_mail(self, mails: Iterable[Received], users: dict[ObjectId, str], verdict: Verdict) -> None:
        """Insist that each party of each transaction got its letter, and that no letter tells of what is not there.

        `users` maps the ids of users to their e-mail addresses.
        """
        told: dict[str, set[str]] = defaultdict(set)
        known = {str(id_) for id_ in (*self.records, *self.accounts, *users)}
        for mail in mails:
            for id_ in ID.findall(mail.text):
                told[id_].add(mail.recipient)
                if id_ not in known:
                    verdict.wrong.append(f"a letter to {mail.recipient} about {id_}, which was never committed")
        for id_, record in self.records.items():
            for reader in self._readers(record):
                if users[reader] not in told[str(id_)]:
                    verdict.wrong.append(f"{users[reader]} got no letter about {record['kind']} {id_}")

    def judge_events(self, told: Mapping[ObjectId, Sequence[Document]], verdict: Verdict) -> None:
        """Insist that each party of each transaction got its events, once, and none of what is not there.

        `told` has, for the ids of users, what they read of their events.
        """
        about: dict[ObjectId, set[str]] = {}
        for user, events in told.items():
            data = [(each["type"], each["data"]) for each in events]
            seen = Counter(
                (kind, of.get("accountId"), of["transactionId"]) for kind, of in data if "transactionId" in of
            )
            ids = Counter(each["id"] for each in events)
            verdict.doubled += [f"{count} events {what} to {user}" for what, count in seen.items() if count > 1]
            verdict.doubled += [f"the event {id_} to {user} {count} times" for id_, count in ids.items() if count > 1]
            about[user] = {transaction for _, _, transaction in seen}
            for id_ in about[user] - {str(record) for record in self.records}:
                verdict.wrong.append(f"an event about {id_}, which was never committed")
        for id_, record in self.records.items():
            for reader in self._readers(record):
                if reader in about and str(id_) not in about[reader]:
                    verdict.wrong.append(f"{reader} got no event about {record['kind']} {id_}")

    def judge_outbox(self, verdict: Verdict) -> None:
        """Insist that no message tells of a transaction or an account that is not there."""
        for message in self.outbox:
            for id_ in _subjects_in(message):
                if id_ not in self.records and id_ not in self.accounts:
                    verdict.wrong.append(f"a message about {id_}, which was never committed")

    def _judge_journals(self, verdict: Verdict) -> None:
        books = {id_: Book(account) for id_, account in self.accounts.items()}
        for entry in self.entries:
            try:
                books[entry["account"]].extend([entry], self.records, 0)
            except (Wrong, KeyError) as wrong:
                verdict.wrong.append(f"{entry['account']} {entry['sequence']}: {wrong}")
        sums: Counter[str] = Counter()
        for book in books.values():
            sums[book.currency] += book.balance
        verdict.wrong += [f"the balances in {name} come to {total}" for name, total in sums.items() if total]

    def _judge_records(self, verdict: Verdict) -> None:
        legs: dict[ObjectId, Counter[tuple[str, ObjectId]]] = defaultdict(Counter)
        for entry in self.entries:
            if entry["transaction"] is not None:
                legs[entry["transaction"]][entry["type"], entry["account"]] += entry["amount"]
        for id_, record in self.records.items():
            if record["kind"] not in KEY_USES and legs.pop(id_, Counter()) != _legs_due(record):
                verdict.wrong.append(f"half done: {record['kind']} {id_}")
        verdict.wrong += [f"entries without a record: {id_}" for id_ in legs]
        keys = Counter((record["user"], record["idempotency_key"]) for record in self.records.values())
        verdict.doubled += [f"the key {key} was spent {count} times" for (_, key), count in keys.items() if count > 1]

    def _judge_wishes(self, wishes: list[Wish], verdict: Verdict) -> None:
        by_key: dict[str, list[Document]] = defaultdict(list)
        texts = Counter(record.get("description") for record in self.records.values())
        names = Counter(account.get("name") for account in self.accounts.values())
        for record in self.records.values():
            by_key[record["idempotency_key"]].append(record)
        for wish in wishes:
            verdict.wrong += wish.failures
            # The description shows a request that was repeated under a new key.
            if max(texts[wish.key], names[wish.key], texts[f"{wish.key} 0"]) > 1:
                verdict.doubled.append(f"{wish.kind} {wish.key} took effect more than once")
            if wish.is_acknowledged:
                verdict.acknowledged += 1
                if not self._is_there(wish, by_key[wish.key]):
                    verdict.lost.append(f"{wish.kind} {wish.key}: {wish.outcome.content[:200]!r}")  # type: ignore[union-attr]

    def _is_there(self, wish: Wish, found: list[Document]) -> bool:
        """Tell whether the effect that a client was told of is there."""
        assert wish.outcome is not None
        body = wish.outcome.body
        if wish.kind == "open":
            return ObjectId(body["account"]["id"]) in self.accounts
        if not wish.is_done:
            # A refusal leaves a FAILED record, or its subject had ended already.
            return wish.kind != "decline" or any(str(record["_id"]) == body["transactionId"] for record in found)
        if wish.kind == "batch":
            done = [ObjectId(each["transaction"]["id"]) for each in body["results"] if "transaction" in each]
            return all(id_ in self.records and self.records[id_]["status"] == "COMPLETED" for id_ in done)
        record = self.records.get(ObjectId(body["transaction"]["id"]))
        if record is None:
            return False
        if wish.kind == "hold":
            return bool(record["held_amount"] == wish.body["amount"])
        return bool(record["status"] == "COMPLETED" and record["amount"] == wish.body["amount"])

    def _readers(self, record: Document) -> list[ObjectId]:
        """Return the owners who are told of a transaction: of a declined one, only the payer."""
        if record["kind"] in KEY_USES:
            return []
        parties = [record["from_account"]]
        if record["status"] != "FAILED":
            parties.append(record["to_account"])
        return [owner for party in parties if (owner := self.accounts[party].get("user")) is not None]


def _legs_due(record: Document) -> Counter[tuple[str, ObjectId]]:
    payer, payee, status = record["from_account"], record["to_account"], record["status"]
    due: Counter[tuple[str, ObjectId]] = Counter()
    if "held_amount" in record and status != "FAILED":
        due["HOLD", payer] = record["held_amount"]
        if status != "PENDING":
            due["RELEASE", payer] = record["held_amount"]
    if status in ("COMPLETED", "REVERSED"):
        due["DEBIT", payer] = due["CREDIT", payee] = record["amount"]
    return due


def _subjects_in(message: Document) -> Iterable[ObjectId]:
    """Yield the ids of the transactions and accounts that an outbox message is about."""
    if "transaction" in message.get("payload", {}):
        yield message["payload"]["transaction"]
    for news in message.get("news", ()):
        yield from news["subjects"]
