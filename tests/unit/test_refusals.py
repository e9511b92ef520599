"""The log about a crowd that is refused: enough to notice it, and not a line for each request."""

from http import HTTPStatus
from typing import Any

import pytest
import structlog

from app.http import refusals
from app.http.refusals import TELL_EVERY_S, Refusals
from app.telemetry.metrics import REQUESTS
from tests.logs import let_tell
from tests.unit.clock import Clock

CROWD = 1_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    let_tell(monkeypatch, refusals)
    clock = Clock(0.0)
    monkeypatch.setattr(refusals, "time", clock)
    return clock


def refused() -> float:
    return float(REQUESTS.labels("none", "none", "503")._value.get())


def crowd(refusals: Refusals, reason: str = "too many requests", count: int = CROWD) -> None:
    for number in range(count):
        refusals.note(HTTPStatus.SERVICE_UNAVAILABLE, reason, address="192.0.2.1", request_id=str(number))


def test_a_crowd_writes_a_line_a_second_and_each_is_counted(clock: Clock) -> None:
    noting, before = Refusals(), refused()

    with structlog.testing.capture_logs() as logged:
        crowd(noting)
        clock.now += TELL_EVERY_S
        crowd(noting)

    assert [line.get("more", 0) for line in logged] == [0, CROWD - 1]
    assert all(line["address"] == "192.0.2.1" and line["request_id"] == "0" for line in logged)
    assert refused() == before + 2 * CROWD


def test_how_many_there_were_is_told_when_the_crowd_has_gone(clock: Clock) -> None:
    noting = Refusals()
    crowd(noting)
    told: list[list[Any]] = []

    for _ in range(3):
        with structlog.testing.capture_logs() as logged:
            noting.tell(clock.now)
        told.append([line["more"] for line in logged])
        clock.now += TELL_EVERY_S

    assert told == [[], [CROWD - 1], []]


def test_a_crowd_hides_no_other_reason(clock: Clock) -> None:
    noting = Refusals()
    crowd(noting)

    with structlog.testing.capture_logs() as logged:
        crowd(noting, "incomplete", count=1)

    assert [line["reason"] for line in logged] == ["incomplete"]
