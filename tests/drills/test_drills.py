"""A short form of each drill, and drills on banks that are broken on purpose, which must not pass."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.drills.drills import DRILLS, TOGETHER
from tests.drills.house import House, open_house
from tests.drills.load import Load
from tests.drills.rounds import NotRun, Result, broken, close, one_round, run

# The outages are a fifth of those of `make drill`.
SHORT = 0.2
THINK_S = 0.3
# How many rounds a broken bank may get through unseen. Mostly it is one.
ROUNDS_MAX = 4
OF_THREE_MEMBERS, OF_ONE_MEMBER, *_ = TOGETHER
OF_TWO_HOSTS = [name for name, drill in DRILLS.items() if drill.second is not None]

Stage = tuple[House, Load]


@contextmanager
def stage(directory: Path, *, size: int) -> Iterator[Stage]:
    """A bank under load on which one drill after another is held, and which is closely looked at in the end."""
    mails = size == 1
    with open_house(directory, size=size, is_proxied=True, mails=mails) as house:
        load = Load(house, think_s=THINK_S)
        yield house, load
        result = Result("the end")
        close(house, load, result, mails=mails)
        assert result.is_clean, [*result.lost, *result.doubled, *result.wrong]


@pytest.fixture(scope="module")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("one"), size=1) as each:
        yield each


@pytest.fixture(scope="module")
def three_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("three"), size=3) as each:
        yield each


def assert_nothing_is_lost(result: Result) -> None:
    assert result.is_clean, [*result.lost, *result.doubled, *result.wrong]
    assert result.acknowledged > 0


@pytest.mark.parametrize("name", OF_ONE_MEMBER)
def test_nothing_is_lost_or_doubled(name: str, one_member: Stage) -> None:
    result = Result(name)
    one_round(DRILLS[name], *one_member, result, scale=SHORT)
    assert_nothing_is_lost(result)


@pytest.mark.parametrize("name", OF_THREE_MEMBERS)
def test_nothing_is_lost_or_doubled_with_the_primary(name: str, three_members: Stage) -> None:
    result = Result(name)
    one_round(DRILLS[name], *three_members, result, scale=SHORT)
    assert_nothing_is_lost(result)


@pytest.mark.parametrize("name", OF_TWO_HOSTS)
def test_nothing_is_lost_or_doubled_where_a_clock_is_wrong(name: str) -> None:
    assert_nothing_is_lost(*run([DRILLS[name]], 1))


def test_nothing_is_lost_or_doubled_when_the_disk_is_full() -> None:
    drill = DRILLS["disk-full"]
    try:
        (result,) = run([drill], 1)
    except NotRun:
        # Only root may mount a small file system to fill.
        assert os.geteuid() != 0
    else:
        assert_nothing_is_lost(result)


@pytest.mark.parametrize(
    ("breakage", "name", "shown_by"),
    [
        ("witness_outside", "kill-mongod", "never committed"),
        ("mail_before_commit", "kill-mongod", "never committed"),
    ],
)
def test_a_broken_bank_does_not_pass(breakage: str, name: str, shown_by: str) -> None:
    (result,) = run([DRILLS[name]], ROUNDS_MAX, **broken(breakage))

    assert any(shown_by in wrong for wrong in result.wrong), result


def test_clients_that_retry_without_their_key_are_found_out() -> None:
    (result,) = run([DRILLS["smtp-down"]], 1, keeps_keys=False)

    assert result.doubled
