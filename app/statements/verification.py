"""Compares a statement that a client sends with the true one. Without I/O.

Values are compared, not their spelling. A program that reads a statement and writes it again may write `…:00.000Z` as
`…:00Z` and `0` as `0.0`, may reorder members, and may leave out members that are null.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Json = Mapping[str, Any]

INTEGER_MAX = 2**63
TEXT_LENGTH_MAX = 300
NAME_LENGTH_MAX = 100
# These members are not compared, because the owner may have renamed the account since.
UNCHECKED = ("name",)

_MOMENTS = frozenset({"from", "to", "createdAt"})
_HEXADECIMAL = frozenset(
    {"accountId", "id", "transactionId", "counterparty", "lastHash", "previousHash", "hash", "recordHash"}
)
# RFC 3339. The digits of a fraction beyond microseconds are a group of their own.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:(?<=\.\d{6})(\d+))?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a statement and the ledger: in the entry `sequence`, or outside the entries if None."""

    sequence: int | None
    field: str
    expected: Any
    found: Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison.

    `genuine` means that everything in the statement is right, except what is `unchecked`; `complete` that no entry of
    its period is missing. `joined_later` is how many entries follow its last one, perhaps because they were added after
    it was drawn up.
    """

    genuine: bool
    complete: bool
    joined_later: int
    unchecked: Sequence[str]
    fault: Difference | None


def compare(claimed: Json, true_head: Json, true_entries: Iterable[tuple[Json, bool]], joined: range) -> Verdict:
    """Compare a statement with the true one of the same account, period and end, both as JSON.

    Each true entry comes with whether its hash is right and continues the chain. If not, the journal was changed, and
    nobody can tell what is genuine. `joined` has the sequences of entries that follow this end in the same period.
    """
    missing: Difference | None = None
    wrong: Difference | None = None
    for difference in _entry_differences(claimed["entries"], true_entries):
        if difference.field == "sequence" and difference.found is None:
            missing = missing or difference
        else:
            wrong = wrong or difference
        if missing and wrong:
            break
    if wrong is None:
        wrong = next(_head_differences(claimed, true_head), None)
    if missing is None and joined:
        missing = Difference(joined.start, "sequence", joined.start, None)
    firsts = [difference for difference in (missing, wrong) if difference is not None]
    first = min(firsts, key=lambda difference: (difference.sequence is None, difference.sequence), default=None)
    return Verdict(
        genuine=wrong is None, complete=missing is None, joined_later=len(joined), unchecked=UNCHECKED, fault=first
    )


def last_sequence(claimed: Json) -> int | None:
    """Return the highest sequence in a statement, or None."""
    named = [_integer(claimed.get("lastSequence")), *map(_number, claimed["entries"])]
    return max((number for number in named if number is not None), default=None)


def last_hash(claimed: Json) -> bytes | None:
    """Return the statement's `lastHash`, or None if it has no valid one."""
    try:
        return bytes.fromhex(claimed.get("lastHash", ""))
    except (TypeError, ValueError):
        return None


def _entry_differences(claimed: Sequence[Json], true_entries: Iterable[tuple[Json, bool]]) -> Iterator[Difference]:
    """Yield the differences, in the order of the claimed entries. Missing entries are reported at their places."""
    waiting = iter(claimed)
    shown = next(waiting, None)
    for true, is_sealed in true_entries:
        sequence: int = true["sequence"]
        while shown is not None and _is_before(shown, sequence):
            yield Difference(_number(shown), "sequence", sequence, _shown_sequence(shown))
            shown = next(waiting, None)
        if not is_sealed:
            yield Difference(sequence, "hash", "an intact journal", true["hash"])
        if shown is not None and _number(shown) == sequence:
            yield from _differences(sequence, shown, true)
            shown = next(waiting, None)
        else:
            yield Difference(sequence, "sequence", sequence, None)
    while shown is not None:
        yield Difference(_number(shown), "sequence", None, _shown_sequence(shown))
        shown = next(waiting, None)


def _head_differences(claimed: Json, true: Json) -> Iterator[Difference]:
    omitted = {*UNCHECKED, "entries"}
    if claimed.get("number") is None:
        # A statement that was drawn up before the account had a number does not name it.
        omitted.add("number")
    compared = {name: value for name, value in claimed.items() if name not in omitted}
    yield from _differences(None, compared, {name: true[name] for name in true if name not in omitted})
    for name in UNCHECKED:
        if not isinstance(claimed.get(name), str | None):
            yield Difference(None, name, None, _printable(claimed[name]))


def _differences(sequence: int | None, claimed: Json, true: Json) -> Iterator[Difference]:
    for name, expected in true.items():
        found = claimed.get(name)
        if not _is_same(name, expected, found):
            yield Difference(sequence, name, expected, _printable(found))
    for name in sorted(claimed.keys() - true.keys()):
        if _says_version_1(name, claimed[name]):
            continue
        yield Difference(sequence, _cut(name, NAME_LENGTH_MAX), None, _printable(claimed[name]))


def _says_version_1(name: str, found: Any) -> bool:
    """Tell whether a member that entries of hash version 1 lack has the value by which typed clients write that."""
    return (name == "hashVersion" and (found is None or _integer(found) == 1)) or (
        name == "recordHash" and found is None
    )


def _is_same(name: str, expected: Any, found: Any) -> bool:
    """Tell whether a member has the expected value, in any spelling."""
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, int):
        # bool is excluded, because in Python True equals 1.
        return isinstance(found, int | Decimal) and not isinstance(found, bool) and bool(found == expected)
    if not isinstance(found, str):
        return False
    if name in _MOMENTS:
        return _moment(found) == _moment(expected)
    if name == "number":
        found = "".join(found.split()).upper()
    return bool((found.lower() if name in _HEXADECIMAL else found) == expected)


def _moment(text: str) -> datetime | None:
    """Return the moment in `text`, or None if it is none, or is finer than microseconds."""
    written = _MOMENT.fullmatch(text)
    if written is None or (written[2] or "").strip("0"):
        return None
    try:
        return datetime.fromisoformat(f"{written[1]}{written[3]}".upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_before(entry: Json, sequence: int) -> bool:
    number = _number(entry)
    return number is None or number < sequence


def _number(entry: Json) -> int | None:
    return _integer(entry.get("sequence"))


def _integer(value: Any) -> int | None:
    """Return a claimed value as an integer if it is one and fits into 64 bits; otherwise None."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not _is_small(value):
        return None
    number = int(value)
    return number if number == value else None


def _is_small(value: int | Decimal) -> bool:
    # abs() would round a Decimal.
    return -INTEGER_MAX < value < INTEGER_MAX


def _shown_sequence(entry: Json) -> Any:
    sequence = _printable(entry.get("sequence"))
    return "an entry without one" if sequence is None else sequence


def _printable(value: Any) -> Any:
    """Return a claimed value in a form that fits into an answer: large numbers and objects become text, cut if long."""
    if isinstance(value, int | Decimal) and _is_small(value):
        return float(value) if isinstance(value, Decimal) else value
    if value is None:
        return None
    return _cut(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), TEXT_LENGTH_MAX
    )


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else f"{text[:length_max]}…"
