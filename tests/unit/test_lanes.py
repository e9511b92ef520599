"""Who gets the next thread: everybody their share, and nobody a place in an endless queue."""

from collections import Counter

import pytest

from app.http.lanes import AHEAD, WAITING_PER_THREAD, Lane, Lanes, lane_of

THREADS = 8
# All threads but the one that is kept from each kind.
LANE_MAX = THREADS - 1


def crowded() -> Lanes[str]:
    """Return lanes with as many postings as may have threads, and more of them waiting."""
    lanes = Lanes[str](THREADS)
    for number in range(LANE_MAX):
        assert lanes.join(Lane.WRITE, f"posting {number}")
        assert lanes.start() == (Lane.WRITE, f"posting {number}")
    for number in range(5):
        assert lanes.join(Lane.WRITE, f"waiting {number}")
    assert lanes.start() is None
    return lanes


def test_a_kind_that_comes_alone_has_nearly_all_threads_and_goes_in_order() -> None:
    lanes = crowded()
    lanes.end(Lane.WRITE)

    assert lanes.start() == (Lane.WRITE, "waiting 0")
    assert lanes.start() is None


@pytest.mark.parametrize("lane", [Lane.READ, Lane.SIGN_IN, Lane.PROBE])
def test_another_kind_need_not_wait_for_the_crowd(lane: Lane) -> None:
    lanes = crowded()
    assert lanes.join(lane, "another")

    assert lanes.start() == (lane, "another")
    assert lanes.start() is None


def test_two_crowds_share_the_threads_evenly() -> None:
    lanes = crowded()
    for number in range(2 * THREADS):
        assert lanes.join(Lane.READ, f"read {number}")
        assert lanes.join(Lane.WRITE, f"later {number}")
    started = Counter({Lane.WRITE: LANE_MAX})
    while (turn := lanes.start()) is not None:
        started[turn[0]] += 1
    for _ in range(THREADS):
        ended = max(started, key=started.__getitem__)
        lanes.end(ended)
        started[ended] -= 1
        turn = lanes.start()
        assert turn is not None
        started[turn[0]] += 1

    assert started == {Lane.WRITE: (THREADS + AHEAD) // 2, Lane.READ: (THREADS + AHEAD) // 2}


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_however_few_threads_there_are_each_kind_goes_on(threads: int) -> None:
    lanes = Lanes[str](threads)
    assert lanes.join(Lane.WRITE, "posting")
    assert lanes.start() == (Lane.WRITE, "posting")
    assert lanes.join(Lane.READ, "read")
    assert lanes.start() == (Lane.READ, "read")


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
