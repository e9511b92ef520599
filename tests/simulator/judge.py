"""An independent model of the bank in plain Python. It sees every commit and every answer, and shares no code with the
ledger: what the laws say is written here a second time.
"""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from bson import ObjectId

from tests.simulator.books import Book, Wrong, insist
from tests.simulator.queries import Document
from tests.simulator.requests import STAFF, Request
from tests.simulator.server import Delta

# Fields of a transaction that may change once it is recorded.
MUTABLE = {"status", "amount", "failure", "completed_at", "reversed_by"}
# One block may capture a hold and reverse the capture.
STATUS_CHANGES = {
    ("PENDING", "COMPLETED"),
    ("PENDING", "VOIDED"),
    ("COMPLETED", "REVERSED"),
    ("PENDING", "REVERSED"),
}
SETTLEMENTS = {"COMPLETED": "CAPTURE", "REVERSED": "CAPTURE", "VOIDED": "VOID"}
# The kinds of records on which a key is spent without a transaction of its own.
KEY_USES = {"CAPTURE", "VOID", "BATCH", "ACCOUNT"}
ITEM_SEPARATOR = "\x1f"


class Judge:
    """Raises Wrong as soon as anything happens that the laws forbid."""

    collections = ("ledger_entries", "transactions", "accounts", "outbox", "audit_log")

    def __init__(self) -> None:
        self.is_durable: Callable[[int], bool] = lambda _number: True
        self.books: dict[ObjectId, Book] = {}
        self.records: dict[ObjectId, Document] = {}
        # What each (user, key) was spent on: the record's id, and the commit that recorded it.
        self.spent: dict[tuple[ObjectId, str], tuple[ObjectId, int]] = {}
        self._asked: dict[tuple[ObjectId, str], Request] = {}
        # How many records exist for what one request asked for.
        self._effects: Counter[str] = Counter()
        self._first_answers: dict[tuple[ObjectId, str], Any] = {}
        self._fresh_answers: Counter[tuple[ObjectId, str]] = Counter()
        self._open_holds: dict[ObjectId, dict[ObjectId, None]] = defaultdict(dict)
        # For each hold that is over, the commit that ended it.
        self._ended: dict[ObjectId, int] = {}
        self._letters = self._acts = self._entries = 0

    insist = staticmethod(insist)

    def asked(self, request: Request) -> None:
        self._asked[request.user, request.key] = request

    def committed(self, delta: Delta) -> None:
        """Judge a block as a whole, as it becomes visible."""
        new: dict[str, list[Document]] = defaultdict(list)
        changed: dict[str, list[tuple[Document, Document]]] = defaultdict(list)
        for name, before, after in delta.changes:
            if before is None:
                new[name].append(after)
            else:
                changed[name].append((before, after))
        insist(not changed["ledger_entries"], "an entry was changed")
        insist(not changed["audit_log"], "an audit record was changed")
        insist(not changed["reversals"], "who reversed what was changed")
        for account in new["accounts"]:
            self.books[account["_id"]] = Book(account)
        entries = sorted(new["ledger_entries"], key=lambda entry: (entry["account"], entry["sequence"]))
        records = {record["_id"]: record for record in new["transactions"]}
        records |= {after["_id"]: after for _, after in changed["transactions"]}
        for account, journal in _by(entries, "account").items():
            insist(account in self.books, "an entry without an account")
            self.books[account].extend(journal, ChainMap(records, self.records), delta.number)
        self._judge_sums(entries)
        insist(_marks_of(new["transactions"]) == _pairs(new["reversals"]), "a reversal without its mark")
        self._judge_records(delta, new["transactions"], changed["transactions"], entries)
        self._judge_statuses(changed["accounts"])
        self._judge_witnesses(new, records, entries)
        self._entries += len(entries)

    def answered(self, request: Request, answer: Any) -> None:
        """Judge what a client is told, at the moment when the bank says it."""
        if answer.ask_again or request.call == "status":
            return
        key = (request.user, request.key)
        spent = self.spent.get(key)
        if answer.refusal is not None and answer.transaction is None and spent is None:
            # The refusal left no trace, and the key is not spent.
            return
        insist(spent is not None, "told of an outcome that is not recorded", request, answer)
        assert spent is not None
        record_id, number = spent
        insist(self.is_durable(number), "told of an outcome that a majority does not have", request)
        if answer.refusal is not None and answer.transaction is None and not answer.is_repeat:
            record = self.records[record_id]
            # Another delivery of the same request may have spent the key after this one was refused without a trace.
            if "failure" not in record:
                return
        self._fresh_answers[key] += not answer.is_repeat
        insist(self._fresh_answers[key] <= 1, "two deliveries of one request were each told that it was the first")
        said = (
            answer.refusal,
            answer.transaction,
            answer.account,
            [(each.refusal, each.transaction) for each in answer.results],
        )
        first = self._first_answers.setdefault(key, said)
        insist(first == said, "a repeat was told another outcome", request, first, said)
        self._judge_answer(request, answer, self.records[record_id])

    def at_rest(self, documents: dict[str, list[Document]]) -> None:
        """Close the books: what the database has must be what was judged, no more and no less."""
        insist(
            len(documents["ledger_entries"]) == self._entries,
            "an entry is missing",
            len(documents["ledger_entries"]),
            self._entries,
        )
        insist({each["_id"] for each in documents["transactions"]} == self.records.keys(), "a record is missing")
        for account in documents["accounts"]:
            book = self.books[account["_id"]]
            insist(account["status"] == book.status, "an account's status is not its journal's")
            held = sum(self.records[hold]["held_amount"] for hold in self._open_holds.get(account["_id"], ()))
            insist(book.held == held, "what is held is not what the open holds come to", account["_id"])
        for currency in {book.currency for book in self.books.values()}:
            total = sum(book.balance for book in self.books.values() if book.currency == currency)
            insist(total == 0, "the balances do not sum to zero", currency, total)

    def _judge_sums(self, entries: Iterable[Document]) -> None:
        moved: Counter[str] = Counter()
        for entry in entries:
            sign = {"CREDIT": 1, "DEBIT": -1}.get(entry["type"], 0)
            moved[self.books[entry["account"]].currency] += sign * entry["amount"]
        insist(not any(moved.values()), "a block made or destroyed money", dict(moved))

    def _judge_records(
        self,
        delta: Delta,
        new: list[Document],
        changed: list[tuple[Document, Document]],
        entries: list[Document],
    ) -> None:
        legs = _by((entry for entry in entries if entry["transaction"] is not None), "transaction")
        uses = {record["transaction"]: record for record in new if record["kind"] in ("CAPTURE", "VOID")}
        for record in new:
            self._judge_key(record, delta.number)
        self.records |= {after["_id"]: after for _, after in changed}
        for record in new:
            if record["kind"] in KEY_USES:
                insist(record["_id"] not in legs, "a key's use has entries")
                continue
            self._judge_new(record, legs.pop(record["_id"], []), delta)
        for before, after in changed:
            if before == after:
                continue
            same = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= MUTABLE
            insist(same, "a record was changed where it must not be", before, after)
            insist((before["status"], after["status"]) in STATUS_CHANGES, "a status cannot change so", before, after)
            if after["status"] == "REVERSED":
                self._judge_reversed(before, after)
            ends = legs.pop(after["_id"], [])
            if before["status"] == "PENDING":
                self._judge_settled(after, ends, uses.get(after["_id"]), delta)
            else:
                insist(not ends, "the reversal of a transaction added entries to it")
        insist(not legs, "entries without a record", list(legs))

    def _judge_key(self, record: Document, number: int) -> None:
        key = (record["user"], record["idempotency_key"])
        insist(key not in self.spent, "a key was spent twice", key)
        self.spent[key] = (record["_id"], number)
        self.records[record["_id"]] = record
        request = self._asked.get((key[0], key[1].partition(ITEM_SEPARATOR)[0]))
        insist(request is not None, "a record of what nobody asked for", record)

    def _judge_new(self, record: Document, legs: list[Document], delta: Delta) -> None:
        key, _, item = record["idempotency_key"].partition(ITEM_SEPARATOR)
        request = self._asked[record["user"], key]
        if record["kind"] == "REVERSAL":
            original = self.records[request.subject]  # type: ignore[index]
            asked = (original["to_account"], original["from_account"], original["amount"])
        else:
            asked = request.items[int(item)] if item else (request.payer, request.payee, request.amount)
            self._effects[record["description"]] += 1
            insist(self._effects[record["description"]] == 1, "what was asked for once was done twice", record)
        insist(
            (record["from_account"], record["to_account"], record["amount"]) == asked, "not what was asked for", record
        )
        due: Counter[tuple[str, ObjectId]] = Counter()
        match record["status"]:
            case "COMPLETED":
                due = Counter({("DEBIT", asked[0]): asked[2], ("CREDIT", asked[1]): asked[2]})
            case "PENDING":
                due = Counter({("HOLD", asked[0]): asked[2]})
                self._open_holds[asked[0]][record["_id"]] = None
            case "FAILED":
                self._judge_decline(record, delta)
            case _:
                raise Wrong(f"a new record cannot be {record['status']}")
        insist(_sums(legs) == due, "half done: the entries are not the record's", record, legs)

    def _judge_decline(self, record: Document, delta: Delta) -> None:
        """Insist that there was a reason: as the block saw it, or after what came before it in the same block."""
        payer, payee = self.books[record["from_account"]], self.books[record["to_account"]]
        match record["failure"]["code"]:
            case "insufficient_funds":
                least = payer.least_available(delta.read_at)
                overdue = sum(
                    self.records[hold]["held_amount"]
                    for hold in self._open_holds[record["from_account"]]
                    if self.records[hold]["status"] == "PENDING"
                    and self.records[hold]["expires_at"] <= delta.begun
                    and self.spent[self._key_of(hold)][1] <= delta.read_at
                )
                insist(least + overdue < record["amount"], "declined for lack of funds that were there", record, least)
            case "account_not_active":
                idle = payer.was_idle(delta.read_at) or payee.was_idle(delta.read_at)
                insist(idle, "declined although both accounts were active", record)
            case code:
                raise Wrong(f"declined as {code}")

    def _judge_settled(self, hold: Document, legs: list[Document], use: Document | None, delta: Delta) -> None:
        payer, held = hold["from_account"], hold["held_amount"]
        due = Counter({("RELEASE", payer): held})
        ended = max(entry["created_at"] for entry in legs) if legs else None
        insist(ended is not None, "a hold ended without an entry", hold)
        if hold["status"] != "VOIDED":
            insist(0 < hold["amount"] <= held, "more was captured than was held", hold)
            due += Counter({("DEBIT", payer): hold["amount"], ("CREDIT", hold["to_account"]): hold["amount"]})
        insist(_sums(legs) == due, "half settled: the entries are not the hold's", hold, legs)
        if "failure" in hold:
            insist(hold["failure"]["code"] == "hold_expired" and use is None, "a hold failed", hold)
            insist(hold["expires_at"] <= ended, "a hold expired before its time", hold)
        else:
            insist(use is not None and use["kind"] == SETTLEMENTS[hold["status"]], "nobody settled this hold", hold)
        self._open_holds[payer].pop(hold["_id"])
        self._ended[hold["_id"]] = delta.number

    def _judge_reversed(self, before: Document, after: Document) -> None:
        reversal = self.records.get(after["reversed_by"])
        insist(reversal is not None and reversal["reverses"] == before["_id"], "reversed by nothing", after)

    def _judge_statuses(self, changed: list[tuple[Document, Document]]) -> None:
        for before, after in changed:
            same = {name: value for name, value in before.items() if name not in ("status", "incoming_holds", "name")}
            insist(same.items() <= after.items(), "an account was changed where it must not be", after)
            book = self.books[after["_id"]]
            insist(book.status == after["status"], "a status changed without an entry", after)

    def _judge_witnesses(
        self, new: dict[str, list[Document]], records: dict[ObjectId, Document], entries: list[Document]
    ) -> None:
        """Insist that letters and audit records are committed with what they tell of."""
        told = {id_ for letter in new["outbox"] for id_ in _ids_in(letter)}
        moved = {id_ for id_, record in records.items() if record["kind"] not in KEY_USES}
        # A treasury has no owner to be told anything, and nobody else is told about its declines.
        untold = {
            id_
            for id_ in moved
            if records[id_]["status"] == "FAILED" and not self.books[records[id_]["from_account"]].is_customer
        }
        reversed_ = {record["reverses"] for record in records.values() if "reverses" in record}
        insist(moved - reversed_ - untold <= told, "nobody is told of what was committed", moved - told)
        known = {id_ for id_ in told if id_ in self.records}
        insist(known <= moved | reversed_, "a letter about what another block did", known - moved)
        strays = [id_ for letter in new["outbox"] for id_ in _transactions_in(letter) if id_ not in self.records]
        insist(not strays, "a letter about what was never committed", strays)
        acts = [entry for entry in entries if entry["type"] == "STATUS" and entry["sequence"]]
        moves = [r for r in records.values() if r["kind"] in ("FUNDING", "REVERSAL") and r["status"] == "COMPLETED"]
        uses = [
            r
            for r in records.values()
            if r["kind"] in ("CAPTURE", "VOID") and "failure" not in r and r["user"] == STAFF
        ]
        insist(len(new["audit_log"]) == len(acts) + len(moves) + len(uses), "acts are not in the audit log")

    def _judge_answer(self, request: Request, answer: Any, record: Document) -> None:
        if request.call in ("transfer", "funding", "hold", "reverse"):
            insist(answer.transaction in (None, record["_id"]), "told of another transaction", request, answer)
            failed = record["status"] == "FAILED"
            insist(
                (answer.refusal is not None) == failed, "told done for a decline, or declined for done", request, answer
            )
        elif request.call == "open" and answer.account is not None:
            insist(answer.account in self.books, "told of an account that is not there", request)
        elif request.call == "batch" and answer.refusal is None:
            insist(len(answer.results) == len(request.items), "a batch without its results", request)
            done = [each.transaction for each in answer.results if each.transaction is not None]
            insist(all(id_ in self.records for id_ in done), "a batch's transfer is not there", request)
            done = [each for each in answer.results if each.refusal is not None]
            insist(not (request.is_atomic and done), "an atomic batch is half done", request)

    def _key_of(self, id_: ObjectId) -> tuple[ObjectId, str]:
        record = self.records[id_]
        return record["user"], record["idempotency_key"]


def _by(documents: Iterable[Document], name: str) -> dict[Any, list[Document]]:
    groups: dict[Any, list[Document]] = defaultdict(list)
    for document in documents:
        groups[document[name]].append(document)
    return groups


def _sums(legs: Iterable[Document]) -> Counter[tuple[str, ObjectId]]:
    sums: Counter[tuple[str, ObjectId]] = Counter()
    for entry in legs:
        sums[entry["type"], entry["account"]] += entry["amount"]
    return sums


def _ids_in(value: Any) -> Iterable[ObjectId]:
    if isinstance(value, ObjectId):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _ids_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _ids_in(each)


def _marks_of(records: Iterable[Document]) -> set[tuple[ObjectId, ObjectId]]:
    """Return which of these records reverse what, and did."""
    reversals = (each for each in records if each["kind"] == "REVERSAL" and each["status"] == "COMPLETED")
    return {(each["reverses"], each["_id"]) for each in reversals}


def _pairs(marks: Iterable[Document]) -> set[tuple[ObjectId, ObjectId]]:
    return {(mark["_id"], mark["by"]) for mark in marks}


def _transactions_in(value: Any) -> Iterable[ObjectId]:
    """Yield what stands under the name `transaction`, at any depth, and what the news of a block are about."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "transaction" and isinstance(each, ObjectId):
                yield each
            elif name == "subjects" and not value["event"].startswith("account_"):
                yield from each
            else:
                yield from _transactions_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _transactions_in(each)
