"""How much a round claims."""

from typing import Any

from bson import ObjectId

from app.mail.parcels import Parcel
from app.mail.rounds import within


def parcel(kind: str = "digest", **document: Any) -> Parcel:
    return Parcel({"_id": ObjectId(), "kind": kind, **document}, ObjectId())


def test_a_round_has_whole_letters_up_to_its_limit() -> None:
    small, large = [parcel(size=2)], [parcel(size=2), parcel(size=2)]

    assert within(4, [small, large, small]) == [small]
    assert within(6, [small, large, small]) == [small, large]


def test_a_letter_that_is_too_large_for_any_round_is_cut_when_its_turn_has_come() -> None:
    urgent, huge = [parcel("password_changed")], [parcel(size=3), parcel(size=2), parcel(size=1)]

    assert within(5, [huge, urgent]) == [huge[:2]]
    assert within(2, [urgent, huge]) == [urgent, huge[:1]], "A document is not divided."
    assert within(5, [[parcel(size=1)], huge])[1:] == []
