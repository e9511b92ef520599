"""Looking up whose account a number is, and saving payees."""

import unicodedata
from collections.abc import Collection, Iterator
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from app import clock, ledger, mongo
from app.account_numbers import AccountNumber
from app.auth.service import recipients
from app.errors import PayeeNotFound, ValidationFailed
from app.fields import is_visible
from app.ledger.records import Account, AccountKind, AccountStatus
from app.mongo import Document
from app.outbox import messages
from app.outbox import repository as outbox
from app.payees import repository

# Bounds the cost of the list, which reads the accounts of all payees.
PAYEES_PER_USER_MAX = 500
# How many characters, as people count them, are shown of the first name, and of a name that is one word.
FIRST_NAME_LENGTH_MAX = 20
ONE_WORD_LENGTH_MAX = 4
# No script puts more marks on one letter. More of them are meant to cover the text around it.
MARKS_MAX = 4
_CUT = "…"
_JOINERS = "\u200c\u200d"


def look_up(number: AccountNumber) -> Document:
    """Return the account's currency, and its holder as a payer may see them; raises PayeeNotFound.

    Accounts that cannot be paid to are not found: those of the bank, and closed ones. Frozen ones are found, because a
    freeze concerns the owner alone. The reads are the same whether the account is found or not.
    """
    account_id = ledger.ids_of([number])[number]
    (shown,) = _as_seen([Document(account=account_id, number=number)])
    if shown["closed"]:
        raise PayeeNotFound
    return shown


def list_payees(*, user_id: ObjectId) -> list[Document]:
    """Return the payees that the user has saved, oldest first, also those whose accounts are closed by now."""
    return _as_seen(repository.find_payees_of(user_id))


def save_payee(*, user_id: ObjectId, number: AccountNumber, name: str) -> tuple[Document, bool]:
    """Save a payee under a name of the user's own; return it, and whether it was saved under this name before.

    Raises PayeeNotFound as `look_up` does, and ValidationFailed if the number is saved under another name or the user
    has saved PAYEES_PER_USER_MAX. Saves at the same moment do not see each other, so there may be a few more.
    """
    found = look_up(number)
    payee = {
        "_id": ObjectId(),
        "user": user_id,
        "account": found["account"],
        "number": str(number),
        "name": name,
        "created_at": clock.now(),
    }

    def block(session: ClientSession) -> bool:
        if repository.count_payees_of(user_id, session, limit=PAYEES_PER_USER_MAX) >= PAYEES_PER_USER_MAX:
            return False
        repository.insert_payee(payee, session)
        outbox.insert([messages.payee_added(payee, found["currency"])], session)
        return True

    try:
        if mongo.atomically(block):
            return {**found, **payee}, False
    except DuplicateKeyError:
        pass
    # Read only after a refusal: the index decides, and the document that it found is there.
    saved = repository.find_payee_by_number(user_id, number)
    if saved is None:
        most = f"A user saves at most {PAYEES_PER_USER_MAX} payees. Delete one that you no longer pay."
        raise ValidationFailed("You have saved as many payees as a user may.", errors={"body": [most]})
    if saved["name"] != name:
        raise ValidationFailed(
            "You have saved this number already.", errors={"number": [f"Saved already, as {saved['name']}."]}
        )
    return {**found, **saved}, True


def rename_payee(payee_id: ObjectId, *, user_id: ObjectId, name: str) -> Document:
    """Rename the user's payee and return it; raises PayeeNotFound if they have no such payee."""
    payee = repository.rename(payee_id, user_id, name)
    if payee is None:
        raise PayeeNotFound
    return _as_seen([payee])[0]


def delete_payee(payee_id: ObjectId, *, user_id: ObjectId) -> None:
    """Delete the user's payee; raises PayeeNotFound if they have no such payee."""
    if not repository.delete(payee_id, user_id):
        raise PayeeNotFound


def _as_seen(payees: Collection[Document]) -> list[Document]:
    """Return the payees with the `currency` and the `holder` of their accounts, and whether they are `closed`."""
    accounts = ledger.accounts({payee["account"] for payee in payees}) if payees else {}
    owners = {account.user for account in accounts.values() if account.user is not None}
    # A lookup that finds nothing asks for somebody too, so that it does not answer faster.
    people = recipients(owners or {payee["account"] for payee in payees})
    return [{**payee, **_holder(accounts.get(payee["account"]), people)} for payee in payees]


def _holder(account: Account | None, people: dict[ObjectId, Any]) -> Document:
    if account is None or account.kind is AccountKind.TREASURY or account.user not in people:
        return {"currency": "" if account is None else account.currency, "holder": "", "closed": True}
    return {
        "currency": account.currency,
        "holder": shortened(people[account.user].name),
        "closed": account.status is AccountStatus.CLOSED,
    }


def shortened(name: str) -> str:
    """Return a name shortened so that friends recognise it and strangers learn little: `Asha R.`.

    Of several words, the first one and the initial of the last remain. Of a single word, or of a first word that looks
    like an address or a telephone number, the first half remains, at most ONE_WORD_LENGTH_MAX characters.
    """
    parts = (list(_characters(word)) for word in unicodedata.normalize("NFC", name).split())
    words = [word for word in parts if word]
    if not words:
        return _CUT
    first, *others = words
    initial = next((character for word in reversed(others) for character in word if character[0].isalnum()), None)
    if initial is None or "@" in first or sum(character.isdigit() for character in first) > ONE_WORD_LENGTH_MAX:
        return "".join(first[: max(1, min(len(first) // 2, ONE_WORD_LENGTH_MAX))]) + _CUT
    shown = "".join(first[:FIRST_NAME_LENGTH_MAX]) + (_CUT if len(first) > FIRST_NAME_LENGTH_MAX else "")
    return f"{shown} {initial}."


def _characters(word: str) -> Iterator[str]:
    """Yield the characters as people count them: each with its marks and with joiners to the next one."""
    character = ""
    for code_point in word:
        is_mark = unicodedata.category(code_point).startswith("M")
        if character and (is_mark or code_point in _JOINERS):
            character += code_point if len(character) <= MARKS_MAX else ""
        elif is_visible(code_point):
            if character:
                yield character
            character = code_point
    if character:
        yield character
