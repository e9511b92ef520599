"""What happens to a message by its reader's choice, and when digests go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.auth.languages import Language
from app.auth.preferences import DEFAULTS, SECURITY, Frequency, Preferences
from app.mail.choices import CLOSES_BEFORE, DIGEST_HOUR, next_digest, obey, type_of
from app.mail.parcels import Parcel
from app.outbox.events import TYPE_OF_KIND, EventType
from app.outbox.messages import Happening, MessageKind, News, OutboxMessage

READER = ObjectId("6560a1b2c3d4e5f601234567")
# A Thursday.
NOW = datetime(2026, 11, 26, 16, tzinfo=UTC)
MOMENTS = st.integers(0, 2 * 365 * 24 * 3600).map(lambda seconds: NOW + timedelta(seconds=seconds))
KINDS = [kind for kind in MessageKind if kind in TYPE_OF_KIND]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "daily", "weekly"),
    [
        ("2026-11-26T16:00", "2026-11-27T03:00", "2026-11-30T03:00"),
        ("2026-11-30T02:58:59", "2026-11-30T03:00", "2026-11-30T03:00"),
        # It is closed, so that nothing is added to it while it goes.
        ("2026-11-30T02:59:00", "2026-12-01T03:00", "2026-12-07T03:00"),
        ("2026-11-30T03:00", "2026-12-01T03:00", "2026-12-07T03:00"),
        ("2026-12-31T23:59", "2027-01-01T03:00", "2027-01-04T03:00"),
    ],
)
def test_digests_go_at_three_and_weekly_ones_on_mondays(now: str, daily: str, weekly: str) -> None:
    assert next_digest(Frequency.DAILY, at(now)) == at(daily)
    assert next_digest(Frequency.WEEKLY, at(now)) == at(weekly)


@given(MOMENTS, st.sampled_from([Frequency.DAILY, Frequency.WEEKLY]))
def test_the_next_digest_is_open_and_not_far_away(now: datetime, frequency: Frequency) -> None:
    digest = next_digest(frequency, now)

    assert CLOSES_BEFORE < digest - now <= timedelta(days=1 if frequency is Frequency.DAILY else 7) + CLOSES_BEFORE
    assert (digest.hour, digest.minute, digest.second, digest.microsecond) == (DIGEST_HOUR, 0, 0, 0)
    assert frequency is Frequency.DAILY or digest.weekday() == 0


def message(kind: str, number: int, news: News | None = None, **payload: Any) -> OutboxMessage:
    subject = ObjectId(f"{number:024x}")
    facts = {"at": NOW, "account": subject, "transaction_kind": "TRANSFER", **payload}
    return OutboxMessage(kind, READER, facts, news or News(Happening.MOVED, subject))


def parcel(told: list[OutboxMessage], **document: Any) -> Parcel:
    return Parcel({"_id": ObjectId(), "kind": "block", "at": NOW, **document}, READER, list(told), key="reader")


def preferring(**kinds: Frequency) -> Preferences:
    return Preferences(
        Language.ENGLISH, {**DEFAULTS, **{EventType(name.replace("_", ".", 1)): kinds[name] for name in kinds}}
    )


def test_the_letter_of_a_reversal_is_chosen_as_such() -> None:
    assert type_of(message("money_sent", 1)) is EventType.MONEY_SENT
    for kind in ("money_sent", "money_received"):
        assert type_of(message(kind, 1, transaction_kind="REVERSAL")) is EventType.TRANSACTION_REVERSED
    declined = message("transfer_declined", 1, transaction_kind="REVERSAL")
    assert type_of(declined) is EventType.TRANSFER_DECLINED
    assert type_of(message("webhook_disabled", 1)) is None


CHOICES = st.fixed_dictionaries({type_: st.sampled_from(Frequency) for type_ in EventType})


@given(st.lists(st.sampled_from(KINDS), max_size=8), CHOICES, MOMENTS, st.none() | MOMENTS)
def test_nothing_is_lost_or_told_twice_and_only_what_is_off_is_dropped(
    kinds: list[MessageKind], chosen: dict[EventType, Frequency], now: datetime, digest_at: datetime | None
) -> None:
    told = [message(kind, number) for number, kind in enumerate(kinds)]
    laid = parcel(told, **({} if digest_at is None else {"digest_at": digest_at}))

    first = obey(laid, Preferences(kinds=chosen), now)

    subjects = [each.news.subject for each in laid.messages if each.news is not None]
    for document in laid.apart:
        assert document["next_attempt_at"] == document["digest_at"] > first
        subjects += [subject for run in document["news"] for subject in run["subjects"]]
    wanted = [
        each for each in told if type_of(each) in SECURITY or chosen[TYPE_OF_KIND[each.kind]] is not Frequency.OFF
    ]
    assert sorted(subjects) == [each.news.subject for each in wanted if each.news is not None]
    assert all(type_of(each) not in SECURITY for each in wanted) or first == now
    assert not wanted or laid.messages


def test_what_is_due_goes_whatever_is_chosen_by_then_unless_it_is_off() -> None:
    told = [message("money_sent", 1), message("money_received", 2), message("hold_placed", 3)]
    weekly = preferring(money_sent=Frequency.WEEKLY, money_received=Frequency.DAILY, hold_placed=Frequency.OFF)
    due, early = parcel(told, digest_at=NOW), parcel(told, digest_at=NOW + timedelta(seconds=1))

    assert obey(due, weekly, NOW) == NOW
    assert (due.messages, due.apart) == (told[:2], [])
    assert obey(early, weekly, NOW) == next_digest(Frequency.DAILY, NOW)
    assert early.messages == told[1:2]
    assert [document["digest_at"] for document in early.apart] == [next_digest(Frequency.WEEKLY, NOW)]


def test_two_sides_of_one_payment_that_part_ways_are_told_apart() -> None:
    news = News(Happening.MOVED, ObjectId())
    more = News(Happening.MOVED, ObjectId())
    told = [
        message(kind, number, each)
        for number, each in enumerate((news, more))
        for kind in ("money_sent", "money_received")
    ]
    laid = parcel(told)

    obey(laid, preferring(money_received=Frequency.WEEKLY), NOW)

    assert [each.kind for each in laid.messages] == ["money_sent", "money_sent"]
    (kept,) = laid.apart
    assert laid.divided
    assert kept["only"] == [each.identity() for each in told if each.kind == "money_received"]


def test_a_document_of_one_side_does_not_come_to_stand_for_both_when_it_is_kept_longer() -> None:
    news, hold = News(Happening.MOVED, ObjectId()), News(Happening.HOLD_PLACED, ObjectId())
    told = [message("money_sent", 1, news), message("account_opened", 2, News(Happening.MOVED, ObjectId()))]
    told.append(message("hold_placed", 3, hold))
    laid = parcel(told, only=[each.identity() for each in told])

    obey(laid, preferring(money_sent=Frequency.DAILY, account_opened=Frequency.DAILY), NOW)

    (kept,) = laid.apart
    assert kept["only"] == [each.identity() for each in told[:2]]
