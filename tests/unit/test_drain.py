"""How fast a queue drains: what is learned from blocks, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.drain import Drain


def drain_after(*blocks: tuple[int, float]) -> Drain:
    drain = Drain()
    for transfers, took_s in blocks:
        drain.note(transfers, took_s)
    return drain


@pytest.mark.parametrize(
    ("transfers", "took_s"), [(1, 0.004), (1, 0.2), (20, 0.05), (200, 0.1), (500, 0.13), (500, 3.0)]
)
def test_what_blocks_of_one_size_take_is_learned(transfers: int, took_s: float) -> None:
    drain = drain_after(*[(transfers, took_s)] * 200)
    assert drain.seconds(14, 14 * transfers) == pytest.approx(14 * took_s, rel=0.1)


def test_both_parts_are_learned_from_blocks_of_different_sizes() -> None:
    blocks = [(size, 0.03 + 0.0002 * size) for size in (1, 500)] * 300
    drain = drain_after(*blocks)
    assert [drain.block_s, drain.unit_s] == pytest.approx([0.03, 0.1], rel=0.05)


@pytest.mark.parametrize("size", [1, 17, 20, 32, 100])
def test_small_blocks_that_wait_long_say_little_about_large_ones(size: int) -> None:
    drain = drain_after(*[(size, 0.2)] * 200)
    assert drain.seconds(14, 14 * 500) < 14 * (0.2 + 0.7)


@pytest.mark.parametrize("small", [1, 17, 20, 32, 100])
def test_small_blocks_that_wait_between_large_ones_do_not_make_these_look_slow(small: int) -> None:
    drain = drain_after(*[(small, 0.3), (500, 0.26)] * 1_000)
    assert drain.seconds(15, 15 * 500) < 15 * 0.4


@pytest.mark.parametrize("size", [1, 17, 20, 32, 100, 500])
def test_one_block_that_was_held_up_does_not_refuse_fifteen_others(size: int) -> None:
    """After blocks of 500 in 0.24 s, one took 2.5 s, and callers were refused that had time enough."""
    drain = drain_after(*[(size, 0.24 if size == 500 else 0.008)] * 50, (size, 2.5))
    assert drain.seconds(15, 15 * 500) < 10


def test_a_ledger_that_has_become_slow_is_noticed_within_five_blocks() -> None:
    drain = drain_after(*[(500, 0.24)] * 50, *[(500, 3.0)] * 5)
    assert drain.seconds(15, 15 * 500) > 10


@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 100))))
def test_an_estimate_is_never_negative(blocks: list[tuple[int, float]]) -> None:
    drain = drain_after(*blocks)
    assert drain.block_s >= 0
    assert drain.unit_s >= 0
