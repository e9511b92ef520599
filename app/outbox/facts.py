"""Works out from the ledger which messages the news in outbox documents stand for."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from bson import ObjectId

from app.ledger import documents, repository
from app.ledger.records import Identity
from app.mongo import Document, database
from app.outbox import messages
from app.outbox.messages import OF_ACCOUNTS, News, OutboxMessage
from app.outbox.news import news_in

log = structlog.get_logger(__name__)

IDENTITIES_KEPT_MAX = 100_000

# Who owns an account, its kind, its currency and its number never change, so they are read once.
_identities: dict[ObjectId, Identity] = {}


@dataclass(slots=True)
class Told:
    """The messages of one document, in order, and the news of which none could be made, with the reason."""

    messages: list[OutboxMessage] = field(default_factory=list)
    unclear: list[tuple[News, Exception]] = field(default_factory=list)


def work_out(found: Sequence[Document]) -> dict[ObjectId, Told]:
    """Return the messages of the documents, by their ids. A reader's document is for its own reader only.

    It makes one query for each collection, however many documents there are.
    """
    news = {document["_id"]: news_in(document) for document in found}
    of_all = [each for of_one in news.values() for each in of_one]
    transactions, entries = _read({each.subject for each in of_all if each.event not in OF_ACCOUNTS})
    identities = _identities_of(_accounts_of(of_all, transactions))
    told_by = {}
    for document in found:
        told = told_by[document["_id"]] = Told()
        if "payload" in document:
            told.messages.append(OutboxMessage(document["kind"], document["user"], document["payload"]))
        for each in news[document["_id"]]:
            try:
                told.messages += _about(each, transactions, entries, identities)
            except Exception as error:  # noqa: BLE001 -- whatever is wrong with it, the other news are sent
                told.unclear.append((each, error))
        if "user" in document:
            told.messages = [message for message in told.messages if _is_for(message, document)]
    return told_by


def work_out_each(news: Sequence[News], reader: ObjectId) -> list[list[OutboxMessage]]:
    """Return the messages of each piece of news to this reader. News of which none can be made are logged."""
    transactions, entries = _read({each.subject for each in news if each.event not in OF_ACCOUNTS})
    identities = _identities_of(_accounts_of(news, transactions))
    told = []
    for each in news:
        try:
            about = _about(each, transactions, entries, identities)
        except Exception as error:
            log.error("event_unclear", subject=str(each.subject), exc_info=error)
            about = []
        told.append([message for message in about if message.user == reader])
    return told


def _accounts_of(news: Iterable[News], transactions: Mapping[ObjectId, Document]) -> set[ObjectId]:
    accounts = {each.subject for each in news if each.event in OF_ACCOUNTS}
    for transaction in transactions.values():
        accounts |= {transaction["from_account"], transaction["to_account"]}
    return accounts


def _is_for(message: OutboxMessage, document: Document) -> bool:
    is_account = "account" not in document or message.payload["account"] == document["account"]
    is_meant = "only" not in document or message.identity() in document["only"]
    return message.user == document["user"] and is_account and is_meant


def _about(
    news: News,
    transactions: Mapping[ObjectId, Document],
    entries: Mapping[ObjectId, Sequence[Document]],
    identities: Mapping[ObjectId, Identity],
) -> list[OutboxMessage]:
    """Return the messages about a piece of news; raises KeyError if the ledger does not have its subject."""
    if news.event in OF_ACCOUNTS:
        return messages.about_account(news, identities[news.subject])
    transaction = documents.to_transaction(transactions[news.subject])
    own = [documents.to_entry(entry) for entry in entries.get(transaction.id, ())]
    return messages.about_transaction(news, transaction, own, identities)


def _read(ids: Collection[ObjectId]) -> tuple[dict[ObjectId, Document], dict[ObjectId, list[Document]]]:
    """Return the documents of these transactions, and of their entries."""
    if not ids:
        return {}, {}
    transactions = {document["_id"]: document for document in database().transactions.find({"_id": {"$in": list(ids)}})}
    entries: dict[ObjectId, list[Document]] = defaultdict(list)
    for document in database().ledger_entries.find({"transaction": {"$in": list(ids)}}):
        entries[document["transaction"]].append(document)
    return transactions, entries


def _identities_of(accounts: Collection[ObjectId]) -> Mapping[ObjectId, Identity]:
    known = {account: identity for account in accounts if (identity := _identities.get(account)) is not None}
    missing = [account for account in accounts if account not in known]
    if missing:
        # An account of version 1 has its identity in its own document only.
        own = database().accounts.find({"_id": {"$in": missing}})
        sealed = repository.find_identities(missing)
        fresh = {each["_id"]: documents.trusted_identity(each, sealed.get(each["_id"])) for each in own}
        if len(_identities) + len(fresh) > IDENTITIES_KEPT_MAX:
            _identities.clear()
        # An account that the previous release has just opened gets its number during the upgrade.
        _identities.update({account: identity for account, identity in fresh.items() if identity.number is not None})
        known |= fresh
    return known
