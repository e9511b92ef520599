"""Dataclasses that are made quickly behave like those that `dataclass` makes, in every other way."""

import inspect
from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.ledger.commands import Hold, Transfer
from app.ledger.records import Account, Entry, Outcome, Transaction
from app.ledger.state import Decision
from app.ledger.values import made_quickly


@dataclass(frozen=True, slots=True)
class Plain:
    first: int
    second: str = "b"


@made_quickly
@dataclass(frozen=True, slots=True)
class Quick:
    first: int
    second: str = "b"


@made_quickly
@dataclass(frozen=True, slots=True, kw_only=True)
class Named(Quick):
    third: int | None = None
    fourth: int


def test_it_takes_the_same_arguments() -> None:
    assert inspect.signature(Quick) == inspect.signature(Plain)
    assert (Quick(1), Quick(1, "c"), Quick(second="c", first=1)) == (Quick(1, "b"), Quick(1, "c"), Quick(1, "c"))
    named = Named(1, fourth=4)
    assert (named.first, named.second, named.third, named.fourth) == (1, "b", None, 4)


@pytest.mark.parametrize("arguments", [{}, {"first": 1, "other": 2}], ids=["missing", "unknown"])
def test_it_refuses_the_same_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Quick(**arguments)
    with pytest.raises(TypeError):
        Named(1, "b", None, 4)  # type: ignore[call-arg]


def test_it_is_frozen_and_can_be_replaced_compared_and_hashed() -> None:
    one = Quick(1)

    with pytest.raises(FrozenInstanceError):
        one.first = 2  # type: ignore[misc]
    assert replace(one, first=2) == Quick(2)
    assert {one, Quick(1)} == {one}
    assert repr(one) == "Quick(first=1, second='b')"


@pytest.mark.parametrize("made", [Account, Entry, Transaction, Outcome, Decision, Transfer, Hold])
def test_each_field_gets_its_own_value(made: type[Any]) -> None:
    values = {name: ObjectId() for name in inspect.signature(made).parameters}

    one = made(**values)

    assert {name: getattr(one, name) for name in values} == values


def test_the_defaults_of_a_subclass_are_its_own() -> None:
    hold = Hold(
        id=ObjectId(), user=ObjectId(), idempotency_key="k", fingerprint={}, salt=b"", from_account=ObjectId(),
        to_account=ObjectId(), amount=1, lifetime=timedelta(days=1),
    )  # fmt: skip

    assert hold.kind.value == "HOLD"
    assert isinstance(hold, Transfer)
