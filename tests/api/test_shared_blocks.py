"""Requests that come together share a block: the ledger knows of each that may post from its start to its end."""

import pytest

from app import ledger
from tests.people import Bank

NOTHING = "f" * 24


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the ledger is told: that a thread is about to post, or that it is not any more."""
    told: list[bool] = []
    group = ledger._chosen()
    expect, expect_no_more = group.expect, group.expect_no_more

    def expected() -> None:
        told.append(True)
        expect()

    def no_more() -> None:
        told.append(False)
        expect_no_more()

    monkeypatch.setattr(group, "expect", expected)
    monkeypatch.setattr(group, "expect_no_more", no_more)
    return told


@pytest.mark.parametrize(
    "path",
    [
        "create",
        "initial-funds",
        "batch",
        "hold",
        f"{NOTHING}/capture",
        f"{NOTHING}/void",
        f"{NOTHING}/reverse",
    ],
)
@pytest.mark.parametrize("has_token", [True, False])
def test_a_request_that_may_post_is_expected_until_it_is_refused(
    bank: Bank, expected: list[bool], path: str, has_token: bool
) -> None:
    caller = bank.register() if has_token else bank.anonymous
    assert caller.post(f"/api/transactions/{path}", {}).status in {401, 403, 422}

    assert expected == [True, False]


def test_a_read_is_not_expected_to_post(bank: Bank, expected: list[bool]) -> None:
    person, _account = bank.customer(100)
    expected.clear()

    assert person.get("/api/transactions").status == 200

    assert expected == []


def test_a_dry_run_is_not_expected_to_post_while_it_is_worked_out(bank: Bank, expected: list[bool]) -> None:
    (person, account), (_, other) = bank.customer(100), bank.customer()
    expected.clear()

    answer = person.post(
        "/api/transactions/create?dryRun=true",
        {"fromAccount": account, "toAccount": other, "amount": 1, "idempotencyKey": "k"},
    )

    assert answer.status == 200
    assert expected == [True, False, False]
