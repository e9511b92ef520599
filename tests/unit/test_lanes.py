"""Which request gets the next thread: each kind has its share, and no queue is endless."""

from collections import Counter

import pytest

from app.http.lanes import WAITING_MAX, WAITING_MAX_S, WAITING_PER_THREAD, Lane, Lanes, lane_of

THREADS = 8
NOW = 1_000.0


def crowded(*lanes: Lane, threads: int = THREADS) -> Lanes[str]:
    """Return lanes in which crowds of these kinds have all threads that they can get, and more of them wait."""
    made = Lanes[str](threads)
    for lane in lanes:
        for number in range(threads + 5):
            made.join(lane, f"{lane.name} {number}", NOW)
    while made.start() is not None:
        pass
    return made


def starts(lanes: Lanes[str]) -> Counter[Lane]:
    started: Counter[Lane] = Counter()
    while (turn := lanes.start()) is not None:
        started[turn[0]] += 1
    return started


def test_a_kind_that_comes_alone_has_as_many_threads_as_were_set_and_goes_in_order() -> None:
    lanes = Lanes[str](THREADS)
    for number in range(THREADS + 2):
        assert lanes.join(Lane.WRITE, f"posting {number}", NOW)

    assert [lanes.start() for _ in range(THREADS)] == [(Lane.WRITE, f"posting {n}") for n in range(THREADS)]
    assert lanes.start() is None
    lanes.end(Lane.WRITE)
    assert lanes.start() == (Lane.WRITE, f"posting {THREADS}")


@pytest.mark.parametrize("threads", [1, 2, THREADS, 64])
@pytest.mark.parametrize("lane", Lane)
def test_each_kind_goes_on_while_crowds_of_all_others_are_stuck(lane: Lane, threads: int) -> None:
    lanes = crowded(*(other for other in Lane if other is not lane), threads=threads)
    assert lanes.join(lane, "another", NOW)

    assert lanes.start() == (lane, "another")


@pytest.mark.parametrize("threads", [1, 2, THREADS, 64])
def test_who_starts_has_a_thread(threads: int) -> None:
    lanes = Lanes[str](threads)
    for lane in Lane:
        for _ in range(threads):
            assert lanes.join(lane, "one of a crowd", NOW)

    assert starts(lanes).total() == lanes.threads


def test_two_crowds_share_the_threads_evenly() -> None:
    lanes = crowded(Lane.WRITE)
    for number in range(2 * THREADS):
        assert lanes.join(Lane.READ, f"read {number}", NOW)
    started = Counter({Lane.WRITE: THREADS}) + starts(lanes)
    for _ in range(THREADS):
        ended = max(started, key=started.__getitem__)
        lanes.end(ended)
        started[ended] -= 1
        started += starts(lanes)

    assert started.keys() == {Lane.WRITE, Lane.READ}
    assert abs(started[Lane.WRITE] - started[Lane.READ]) <= 1


def test_a_full_lane_takes_no_more_and_the_others_do() -> None:
    lanes = Lanes[int](THREADS)
    taken = [lanes.join(Lane.WRITE, number, NOW) for number in range(THREADS * WAITING_PER_THREAD + 1)]

    assert taken == [True] * (THREADS * WAITING_PER_THREAD) + [False]
    assert lanes.join(Lane.READ, 0, NOW)


def test_many_threads_let_no_more_wait() -> None:
    lanes = Lanes[int](512)

    assert sum(lanes.join(Lane.WRITE, number, NOW) for number in range(2 * WAITING_MAX)) == WAITING_MAX


def test_who_has_waited_for_too_long_waits_no_more() -> None:
    lanes = Lanes[str](1)
    assert lanes.join(Lane.WRITE, "stuck", NOW)
    assert lanes.start() == (Lane.WRITE, "stuck")
    assert lanes.join(Lane.WRITE, "first", NOW)
    assert lanes.join(Lane.WRITE, "second", NOW + 1)

    assert lanes.take_late(NOW + WAITING_MAX_S - 0.1) == []
    assert lanes.take_late(NOW + WAITING_MAX_S) == ["first"]
    lanes.end(Lane.WRITE)
    assert lanes.start() == (Lane.WRITE, "second")


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("GET", "/healthz", Lane.ALIVE),
        ("GET", "/readyz", Lane.PROBE),
        ("GET", "/api/admin/status", Lane.ADMIN),
        ("PATCH", "/api/admin/accounts/1/status", Lane.ADMIN),
        ("POST", "/session", Lane.SIGN_IN),
        ("POST", "/api/%61uth/login", Lane.SIGN_IN),
        ("POST", "/session/refresh", Lane.SIGN_IN),
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
