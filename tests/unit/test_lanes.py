"""Who gets the next thread: everybody their share, and nobody a place in an endless queue."""

import pytest

from app.http.lanes import AHEAD, WAITING_PER_THREAD, Lane, Lanes, lane_of

THREADS = 8
STARTED_MAX = THREADS + AHEAD


def crowded() -> Lanes[str]:
    """Return lanes whose threads all have postings, with more postings behind them."""
    lanes = Lanes[str](THREADS)
    for number in range(STARTED_MAX):
        assert lanes.join(Lane.WRITE, f"posting {number}")
        assert lanes.start() == (Lane.WRITE, f"posting {number}")
    for number in range(5):
        assert lanes.join(Lane.WRITE, f"waiting {number}")
    assert lanes.start() is None
    return lanes


def test_a_kind_that_comes_alone_has_all_threads_and_goes_in_order() -> None:
    lanes = crowded()
    lanes.end(Lane.WRITE)

    assert lanes.start() == (Lane.WRITE, "waiting 0")
    assert lanes.start() is None


@pytest.mark.parametrize("lane", [Lane.READ, Lane.SIGN_IN, Lane.PROBE])
def test_another_kind_gets_the_next_thread_before_the_crowd(lane: Lane) -> None:
    lanes = crowded()
    assert lanes.join(lane, "another")
    lanes.end(Lane.WRITE)

    assert lanes.start() == (lane, "another")


def test_two_crowds_share_the_threads_evenly() -> None:
    lanes = crowded()
    for number in range(STARTED_MAX):
        assert lanes.join(Lane.READ, f"read {number}")
    started = []
    for _ in range(STARTED_MAX // 2):
        lanes.end(Lane.WRITE)
        turn = lanes.start()
        assert turn is not None
        started.append(turn[0])

    assert started == [Lane.READ] * (STARTED_MAX // 2)
    lanes.end(Lane.READ)
    assert lanes.start() == (Lane.READ, f"read {STARTED_MAX // 2}")
    lanes.end(Lane.WRITE)
    assert lanes.start() == (Lane.WRITE, "waiting 0")


def test_a_full_lane_takes_no_more_and_the_others_do() -> None:
    lanes = Lanes[int](THREADS)
    taken = [lanes.join(Lane.WRITE, number) for number in range(THREADS * WAITING_PER_THREAD + 1)]

    assert taken == [True] * (THREADS * WAITING_PER_THREAD) + [False]
    assert lanes.join(Lane.READ, 0)


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("GET", "/healthz", Lane.PROBE),
        ("GET", "/api/accounts", Lane.READ),
        ("HEAD", "/api/accounts", Lane.READ),
        ("POST", "/api/auth/login", Lane.SIGN_IN),
        ("GET", "/api/auth/me", Lane.SIGN_IN),
        ("POST", "/api/transactions/create", Lane.WRITE),
        ("BREW", "/nothing", Lane.WRITE),
    ],
)
def test_the_head_of_a_request_says_its_lane(method: str, path: str, lane: Lane) -> None:
    assert lane_of(method, path) is lane
