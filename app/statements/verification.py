"""Whether a statement that somebody shows is what the ledger says. Pure: it is compared with the true one."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

INTEGER_MAX = 2**63
TEXT_LENGTH_MAX = 300
# The owner may have renamed the account since.
_FREE = frozenset({"name", "entries"})


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing in a statement that is not so: of the entry `sequence`, or of the statement as a whole."""

    sequence: int | None
    field: str
    expected: Any
    found: Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """`genuine`: all it says is so. `complete`: it leaves nothing of its period out."""

    genuine: bool
    complete: bool
    fault: Difference | None


def compare(claimed: Json, true_head: Json, true_entries: Iterable[Json], broken: Difference | None) -> Verdict:
    """Compare a statement with the true one of the same account, period and end, both as JSON.

    `broken` is where the true one's own chain of hashes is broken, if it is: then nobody
    can tell any more what is genuine from there on.
    """
    missing: Difference | None = None
    wrong: Difference | None = broken
    for difference in _entry_differences(claimed["entries"], true_entries):
        if difference.field == "sequence" and difference.found is None:
            missing = missing or difference
        else:
            wrong = wrong or difference
        if missing and wrong:
            break
    if wrong is None:
        wrong = next(_differences(None, claimed, true_head), None)
    firsts = [difference for difference in (missing, wrong) if difference is not None]
    first = min(firsts, key=lambda difference: (difference.sequence is None, difference.sequence), default=None)
    return Verdict(genuine=wrong is None, complete=missing is None, fault=first)


def last_sequence(claimed: Json) -> int | None:
    """Return the highest sequence that a statement speaks of, or None."""
    named = [_integer(claimed.get("lastSequence")), *map(_number, claimed["entries"])]
    return max((number for number in named if number is not None), default=None)


def last_hash(claimed: Json) -> bytes | None:
    """Return the hash that a statement ends with, or None if it says none."""
    try:
        return bytes.fromhex(claimed.get("lastHash", ""))
    except (TypeError, ValueError):
        return None


def _entry_differences(claimed: Sequence[Json], true_entries: Iterable[Json]) -> Iterator[Difference]:
    """Yield what differs, in the order of the claimed entries, with what is left out at its place."""
    waiting = iter(claimed)
    shown = next(waiting, None)
    for true in true_entries:
        sequence: int = true["sequence"]
        while shown is not None and _is_before(shown, sequence):
            yield Difference(_number(shown), "sequence", sequence, _shown_sequence(shown))
            shown = next(waiting, None)
        if shown is not None and shown.get("sequence") == sequence:
            yield from _differences(sequence, shown, true)
            shown = next(waiting, None)
        else:
            yield Difference(sequence, "sequence", sequence, None)
    while shown is not None:
        yield Difference(_number(shown), "sequence", None, _shown_sequence(shown))
        shown = next(waiting, None)


def _is_before(entry: Json, sequence: int) -> bool:
    number = _number(entry)
    return number is None or number < sequence


def _number(entry: Json) -> int | None:
    return _integer(entry.get("sequence"))


def _integer(value: Any) -> int | None:
    """Return a claimed integer if it is one that the ledger could have said and that an answer can repeat."""
    return value if type(value) is int and abs(value) < INTEGER_MAX else None


def _shown_sequence(entry: Json) -> Any:
    sequence = _printable(entry.get("sequence"))
    return "an entry without one" if sequence is None else sequence


def _printable(value: Any) -> Any:
    """Return a claimed value as an answer can repeat it: not everything that can be read can be written."""
    if value is None or (isinstance(value, int | float) and abs(value) < INTEGER_MAX):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}…"


def _differences(sequence: int | None, claimed: Json, true: Json) -> Iterator[Difference]:
    for name in [*true, *sorted(claimed.keys() - true.keys())]:
        expected, found = true.get(name), claimed.get(name)
        # In Python, True is 1 and 1.0 is 1; in a statement they are not.
        if name not in _FREE and (expected != found or type(expected) is not type(found)):
            yield Difference(sequence, name, expected, _printable(found))
