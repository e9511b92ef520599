"""A short form of each drill, and a bank that is broken on purpose, which must not pass.

A bank takes longer to start than a drill on it, so the drills share two: one with a single member, on a disk that can
be filled if this machine allows that, and one with three members. Whatever a drill loses shows in the audits of the
next ones too, and at the end.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.drills.drills import DRILLS, TOGETHER
from tests.drills.house import House, open_house
from tests.drills.load import Load
from tests.drills.rounds import NotRun, Result, broken, close, directory_for, judge_letters, one_round

# The outages are a fifth of those of `make drill`.
SHORT = 0.2
# Half as many clients as those of `make drill`. What strikes at one moment must meet some of what they have under way;
# what lasts for a while meets enough of it in any case.
CLIENTS = 8
THINK_S = 0.4
THINK_WHERE_IT_LASTS_S = 0.8
# The more requests there are, the sooner a broken bank shows.
THINK_WHERE_BROKEN_S = 0.3
# How many rounds a broken bank may pass undetected. Mostly it is none or one.
ROUNDS_MAX = 6
OF_THREE_MEMBERS, OF_ONE_MEMBER, _ = TOGETHER
DISK_FULL = DRILLS["disk-full"]
LASTING = ("wire", "smtp", "clock", "reloaded")
# Faults of one kind that need no restart share a round.
OF_ONE_KIND = ("wire", "smtp", "clock")
IN_ONE_ROUND = [[name for name in OF_ONE_MEMBER if name.startswith(kind)] for kind in OF_ONE_KIND] + [
    [name] for name in OF_ONE_MEMBER if not name.startswith(OF_ONE_KIND)
]

Stage = tuple[House, Load]


@pytest.fixture(autouse=True)
def _leaves_no_process() -> None:
    """Nothing: many drills leave the bank that they share with new processes. It ends with the last of them."""


@contextmanager
def stage(directory: Path, *, size: int) -> Iterator[Stage]:
    """A bank under load on which one drill after another is held, and which is closely looked at in the end."""
    mails = size == 1
    with open_house(directory, size=size, is_proxied=True, mails=mails) as house:
        load = Load(house, clients=CLIENTS, think_s=THINK_S)
        yield house, load
        result = Result("the end")
        close(house, load, result, mails=mails)
        assert_nothing_is_lost(result)


@pytest.fixture(scope="module")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(directory_for(DISK_FULL))
        except NotRun:
            directory = tmp_path_factory.mktemp("one")
        yield stack.enter_context(stage(directory, size=1))


@pytest.fixture(scope="module")
def three_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("three"), size=3) as each:
        yield each


def assert_nothing_is_lost(result: Result) -> None:
    assert result.is_clean, [*result.lost, *result.doubled, *result.wrong]


def hold(on: Stage, *names: str) -> None:
    """Hold drills in one round, one after another."""
    drills = [DRILLS[name] for name in names]

    def strike(house: House, scale: float) -> None:
        for drill in drills:
            drill.strike(house, scale)

    house, load = on
    load.think_s = THINK_WHERE_IT_LASTS_S if names[0].startswith(LASTING) else THINK_S
    result = Result(" ".join(names))
    one_round(replace(drills[0], strike=strike), house, load, result, scale=SHORT)
    assert_nothing_is_lost(result)
    assert result.acknowledged > 0


@pytest.mark.parametrize("names", IN_ONE_ROUND, ids=" ".join)
def test_nothing_is_lost_or_doubled(names: list[str], one_member: Stage) -> None:
    hold(one_member, *names)


def test_nothing_is_lost_or_doubled_when_the_disk_is_full(one_member: Stage) -> None:
    if Path(one_member[0].replica_set.directory).is_mount():
        hold(one_member, DISK_FULL.name)
    else:
        # Only root may mount a small file system to fill.
        assert os.geteuid() != 0


@pytest.mark.parametrize("name", OF_THREE_MEMBERS)
def test_nothing_is_lost_or_doubled_with_the_primary(name: str, three_members: Stage) -> None:
    hold(three_members, name)


def test_each_way_in_which_a_bank_is_broken_is_found(tmp_path: Path) -> None:
    found: list[str] = []
    signs = {
        "messages are written outside the block": "a message about",
        "letters leave before the commit": "a letter to too-early@fincore.example",
        "clients retry without their key": "took effect more than once",
    }
    breakages = broken("witness_outside,mail_before_commit")
    with open_house(tmp_path, is_proxied=True, mails=True, **breakages) as house:
        load = Load(house, think_s=THINK_WHERE_BROKEN_S, keeps_keys=False)
        for _ in range(ROUNDS_MAX):
            result = Result("broken")
            one_round(DRILLS["kill-mongod"], house, load, result)
            judge_letters(house, load, result)
            found += [*result.doubled, *result.wrong]
            if all(any(sign in each for each in found) for sign in signs.values()):
                return

    raise AssertionError({name: [each for each in found if sign in each][:3] for name, sign in signs.items()})
