"""Runs a drill: rounds of load with a fault in each, and an audit after each."""

import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bson import ObjectId

from local.processes import holds_within
from tests.drills.auditor import Auditor, Verdict
from tests.drills.drills import Drill
from tests.drills.house import House, open_house
from tests.drills.load import Load

SERVICE_TIMEOUT_S = 60.0
# How long the load continues after the bank serves again.
AFTERWARDS_S = 2.0
JITTER_S = 0.5
MAIL_TIMEOUT_S = 90.0
# Fewer requests if each makes letters.
THINK_S, THINK_WITH_MAIL_S = 0.15, 0.4


class NotRun(Exception):
    """This machine does not let the drill be run."""


@dataclass
class Result:
    """What came of a drill. `pauses_s` has, for each round, the longest time in which nobody got an outcome."""

    name: str
    pauses_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    unknown: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    not_run: str = ""

    @property
    def rounds(self) -> int:
        return len(self.pauses_s)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def row(self) -> dict[str, Any]:
        """Return the result as a row of the table."""
        return {
            "drill": self.name,
            "rounds": self.rounds,
            "acknowledged": self.acknowledged,
            "asked_again": self.unknown,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "other_faults": len(self.wrong),
            "pause_s": round(max(self.pauses_s, default=0.0), 1),
            "at": datetime.now(UTC).strftime("%Y-%m-%d"),
            **({"not_run": self.not_run} if self.not_run else {}),
        }


def run(
    drills: Sequence[Drill], rounds: int, *, seconds_max: float = 3600.0, breakage: str | None = None
) -> list[Result]:
    """Hold drills in turn on one bank, which suits the first of them, and return what came of each.

    No round begins after `seconds_max`, and none after a fault was found, which may be that of an earlier round.
    """
    results = [Result(drill.name) for drill in drills]
    over = time.monotonic() + seconds_max
    with bank_for(drills[0], **broken(breakage)) as house:
        mails = drills[0].mails
        think_s = THINK_WITH_MAIL_S if mails else THINK_S
        load = Load(house, think_s=think_s, keeps_keys=breakage != "retry_without_key")
        for _ in range(rounds):
            for drill, result in zip(drills, results, strict=True):
                if all(each.is_clean for each in results) and time.monotonic() < over:
                    one_round(drill, house, load, result)
        close(house, load, results[-1], mails=mails)
    return results


def broken(breakage: str | None) -> dict[str, Any]:
    """Return what makes `run` open a bank that is broken in this way; see `launcher`."""
    return {"application": "tests.drills.launcher:app", "DRILL_BREAKAGES": breakage} if breakage else {}


def one_round(drill: Drill, house: House, load: Load, result: Result, *, scale: float = 1.0) -> None:
    """Strike a bank under load, see it serve again, and audit all that was asked for so far; `scale` is of outages."""
    asked_before = len(load.wishes)
    unknown_before = load.unknown + house.client.unanswered
    load.passing = drill.passing
    with load:
        # The load has just got some answers. The fault must meet blocks in any state.
        time.sleep(random.uniform(0.0, JITTER_S))
        struck_at = time.monotonic()
        drill.strike(house, scale)
        before = len(load.acknowledged_at)
        if not holds_within(SERVICE_TIMEOUT_S, lambda: len(load.acknowledged_at) > before + load.clients):
            result.wrong.append(f"not in service {SERVICE_TIMEOUT_S:.0f} s after the fault")
        time.sleep(AFTERWARDS_S * scale)
        result.pauses_s.append(load.longest_pause_s(struck_at, time.monotonic()))
    drill.mend(house)
    unknown = load.unknown + house.client.unanswered - unknown_before
    result.unknown += unknown
    if drill.is_seamless and unknown:
        result.wrong.append(f"{unknown} requests failed: {sorted(load.reasons)}")
    result.acknowledged += sum(wish.is_acknowledged for wish in load.wishes[asked_before:])
    load.settle()
    with house.database() as database:
        auditor = Auditor(database)
    verdict = auditor.audit(load.wishes)
    auditor.judge_outbox(verdict)
    _add(verdict, result)


def close(house: House, load: Load, result: Result, *, mails: bool) -> None:
    """Have the operator's own check look, read all events and, with `mails`, wait for every letter."""
    check = house.server.flask("ledger", "verify")
    if check.returncode != 0:
        result.wrong.append(f"flask ledger verify: {check.stdout[-500:]}{check.stderr[-500:]}")
    with house.database() as database:
        auditor, verdict = Auditor(database), Verdict()
    auditor.judge_events(load.events(), verdict)
    result.doubled += verdict.doubled
    result.wrong += verdict.wrong
    if not mails:
        return
    with house.database() as database:
        # Letters that a server refused for now are due again later; the drill does not wait for that.
        database.outbox.update_many({"state": "PENDING"}, {"$min": {"next_attempt_at": datetime.now(UTC)}})
        holds_within(MAIL_TIMEOUT_S, lambda: database.outbox.find_one({"state": "PENDING"}) is None)
    judge_letters(house, load, result)


def judge_letters(house: House, load: Load, result: Result) -> None:
    """Audit once more, with the letters that have come."""
    with house.database() as database:
        auditor = Auditor(database)
        users: dict[ObjectId, str] = {user["_id"]: user["email"] for user in database.users.find()}
    verdict = auditor.audit(load.wishes)
    auditor.judge_mail(list(house.smtp.received), users, verdict)
    _add(verdict, result)


def _add(verdict: Verdict, result: Result) -> None:
    # Each audit looks at all wishes so far, so that a later loss of an earlier one shows, too.
    result.lost = verdict.lost
    result.doubled += [each for each in verdict.doubled if each not in result.doubled]
    result.wrong += [each for each in verdict.wrong if each not in result.wrong]


@contextmanager
def bank_for(drill: Drill, **more: Any) -> Iterator[House]:
    """Open a bank as the drill wants it; raises NotRun if this machine does not allow that."""
    with (
        directory_for(drill) as directory,
        open_house(
            directory,
            size=drill.size,
            is_proxied=drill.is_proxied,
            mails=drill.mails,
            **more,
        ) as house,
    ):
        yield house


@contextmanager
def directory_for(drill: Drill) -> Iterator[Path]:
    """Yield where the database keeps its data: on a small file system of its own if the drill wants that."""
    with TemporaryDirectory(prefix="fincore-drill-", ignore_cleanup_errors=True) as directory:
        if drill.disk_mb is None:
            yield Path(directory)
            return
        place = Path(directory) / "small"
        place.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={drill.disk_mb}m,mode=700", "none", str(place)]
        if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
            raise NotRun("a small file system of its own needs the right to mount one")
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
