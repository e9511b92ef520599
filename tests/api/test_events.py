"""Events: programs get each one once, in the order of each account's journal."""

from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.events import events, read, types
from tests.mail import told
from tests.people import Bank, Person


def hold(payer: Person, from_account: str, to_account: str) -> str:
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": 200, "idempotencyKey": str(ObjectId())}
    answer = payer.post("/api/transactions/hold", body)
    assert answer.status == 201, answer.content
    hold_id: str = answer.body["transaction"]["id"]
    return hold_id


def test_a_transfer_is_an_event_of_each_party_and_tells_nothing_of_the_other(
    parties: tuple[Person, str, Person, str],
) -> None:
    payer, from_account, payee, to_account = parties
    transaction = payer.transfer(from_account, to_account, 400).body["transaction"]

    sent, received = events(payer)[-1], events(payee)[-1]

    assert sent == {
        "id": sent["id"],
        "type": "money.sent",
        "createdAt": transaction["createdAt"],
        "data": {
            "accountId": from_account, "transactionId": transaction["id"], "amount": 400, "currency": "INR"
        },
    }  # fmt: skip
    assert received == {
        "id": received["id"],
        "type": "money.received",
        "createdAt": transaction["createdAt"],
        "data": {
            "accountId": to_account, "transactionId": transaction["id"], "amount": 400, "currency": "INR"
        },
    }  # fmt: skip
    assert sent["id"] != received["id"]
    assert events(payer)[-1] == sent


def test_everything_that_a_letter_tells_is_an_event(
    parties: tuple[Person, str, Person, str], bank: Bank, database: Database[Document]
) -> None:
    payer, from_account, payee, to_account = parties
    payer.transfer(from_account, to_account, 5_000)
    captured, voided = (hold(payer, from_account, to_account) for _ in range(2))
    payee.post(f"/api/transactions/{captured}/capture", {"amount": 150, "idempotencyKey": "capture"})
    payee.post(f"/api/transactions/{voided}/void", {"idempotencyKey": "void"})
    for status in ("FROZEN", "ACTIVE"):
        body = {"status": status, "reason": "asked"}
        assert bank.system.patch(f"/api/admin/accounts/{from_account}/status", body).status == 200
    payer.patch(f"/api/accounts/{from_account}", {"name": "Daily"})
    payer.patch(f"/api/accounts/{from_account}", {"name": "Daily"})
    payer.post(f"/api/accounts/{payer.open_account()}/close", {})

    assert types(payer) == [
        "user.welcome", "account.opened", "money.received", "transfer.declined", "hold.placed", "hold.placed",
        "hold.captured", "hold.voided", "account.frozen", "account.unfrozen", "account.renamed", "account.opened",
        "account.closed",
    ]  # fmt: skip
    assert types(payee) == [
        "user.welcome", "account.opened", "hold.placed", "hold.placed", "hold.captured", "hold.voided",
    ]  # fmt: skip
    # Each letter has one event, and only a change of an account's name has no letter.
    letters = [message for message in told(database) if message.user == ObjectId(payer.id)]
    assert len([each for each in letters if each.kind != "account_renamed"]) == len(types(payer)) - 1


def test_an_event_names_what_was_held_and_why_it_was_declined(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    payer.transfer(from_account, to_account, 5_000)
    held = hold(payer, from_account, to_account)
    payee.post(f"/api/transactions/{held}/capture", {"amount": 150, "idempotencyKey": "capture"})

    declined, _, captured = (event["data"] for event in events(payer)[-3:])

    assert declined["failureCode"] == "insufficient_funds"
    assert (captured["amount"], captured["heldAmount"]) == (150, 200)


def test_a_reversal_is_three_events_of_each_party(parties: tuple[Person, str, Person, str], bank: Bank) -> None:
    payer, from_account, payee, to_account = parties
    original = payer.transfer(from_account, to_account, 400).body["transaction"]["id"]
    body = {"idempotencyKey": "back", "reason": "paid twice"}
    reversal = bank.system.post(f"/api/transactions/{original}/reverse", body).body["transaction"]["id"]

    of_payer, of_payee = events(payer)[-2:], events(payee)[-2:]

    assert [(each["type"], each["data"]["transactionId"]) for each in of_payer] == [
        ("money.received", reversal),
        ("transaction.reversed", original),
    ]
    assert [(each["type"], each["data"]["transactionId"]) for each in of_payee] == [
        ("money.sent", reversal),
        ("transaction.reversed", original),
    ]
    assert of_payee[1]["data"]["reversedBy"] == reversal
    assert len({each["id"] for each in of_payer + of_payee}) == 4


def test_a_payment_to_oneself_is_an_event_of_both_accounts(bank: Bank) -> None:
    person, first = bank.customer(1_000)
    second = person.open_account()
    person.transfer(first, second, 300)

    assert [(each["type"], each["data"]["accountId"]) for each in events(person)[-2:]] == [
        ("money.sent", first),
        ("money.received", second),
    ]


def test_security_events_say_nothing_but_that_they_happened(bank: Bank) -> None:
    person = bank.register()
    bank.anonymous.post("/api/auth/password/forgot", {"email": person.user["email"]})

    assert [(each["type"], each["data"]) for each in events(person)] == [
        ("user.welcome", {}),
        ("user.password_reset", {}),
    ]


def test_small_pages_are_the_same_as_a_large_one(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    items = [{"fromAccount": from_account, "toAccount": to_account, "amount": 1} for _ in range(7)]
    payer.post("/api/transactions/batch", {"idempotencyKey": "seven", "transfers": items})
    payer.transfer(from_account, payer.open_account(), 5)

    whole = events(payer, limit=200)

    assert len(whole) == len({event["id"] for event in whole}) == 3 + 7 + 1 + 2
    for limit in (1, 2, 3):
        assert events(payer, limit=limit) == whole
    assert events(payer, limit=2, types="money.received,account.opened") == [
        event for event in whole if event["type"] in ("money.received", "account.opened")
    ]


def test_a_cursor_outlives_what_types_are_asked_for_and_is_ones_own(bank: Bank) -> None:
    person, account = bank.customer(1_000)
    other = bank.register()
    place = read(person, types="user.password_changed")["nextAfter"]
    bank.fund(account, 5)

    assert [event["type"] for event in read(person, after=place)["events"]] == ["money.received"]
    assert other.get(f"/api/events?after={place}").code == "invalid_cursor"
    assert person.get("/api/events?after=abc").code == "invalid_cursor"
    assert person.get("/api/events?types=money.lost").status == 422
    assert person.get("/api/events?wait=26").status == 422


def test_nobody_sees_the_events_of_others(bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    payer.transfer(from_account, to_account, 400)

    assert types(bank.register()) == ["user.welcome"]
    assert types(bank.system) == []
    assert bank.anonymous.get("/api/events").status == 401
