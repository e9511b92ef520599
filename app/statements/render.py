"""Statements as JSON and CSV, entry by entry: what is written is never held as a whole."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, TypeVar

import orjson

from app.fields import rfc3339
from app.ledger.records import EntryType
from app.money import decimal_text
from app.mongo import Document
from app.statements.schemas import EntrySchema, StatementHeadSchema
from app.statements.service import Statement

WRITTEN_AT_ONCE = 500
# Without it, Excel takes a file for one in the local code page and garbles every letter beyond ASCII.
_BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet takes for a formula at the begin of a cell, in its own and in East Asian full-width characters.
# Where the decimal sign is a comma, it separates cells by semicolons. It then cuts a file like this one at those, and
# quotes, which do not begin a cell there, do not keep a text together.
_FORMULA_BEGINNING = re.compile(r"""(^|[;|\t])((?:[^\S\t]|")*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])""")
_CSV_HEADER = (
    "Sequence", "Date (UTC)", "Time (UTC)", "Type", "Description", "Counterparty", "Transaction",
    "Debit", "Credit", "Held or released", "Balance", "Available", "Currency", "Hash",
)  # fmt: skip

Item = TypeVar("Item")

_HEAD = StatementHeadSchema()
_ENTRIES = EntrySchema(many=True)


def head_as_json(statement: Statement) -> dict[str, Any]:
    """Return the statement without its entries, its sums as plain integers."""
    sums = {"totalCredits": statement.total_credits, "totalDebits": statement.total_debits}
    return {**_HEAD.dump(statement), **sums}


def sealed_entries_as_json(statement: Statement) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the entries one by one, each with whether it is what was sealed and follows from the one before."""
    for documents in _chunks(statement.sealed_entries()):
        entries = _ENTRIES.dump([document for document, _ in documents])
        yield from zip(entries, (is_sealed for _, is_sealed in documents), strict=True)


def as_json(statement: Statement) -> Iterator[bytes]:
    """Yield the statement as the contract has it."""
    head: bytes = orjson.dumps(_HEAD.dump(statement))
    yield head.removesuffix(b"}") + b',"entries":['
    separator = b""
    for documents in _chunks(statement.entries()):
        # The brackets of the list go, so that the lists of all chunks make one.
        yield separator + orjson.dumps(_ENTRIES.dump(documents))[1:-1]
        separator = b","
    yield b"]}\n"


def as_csv(statement: Statement) -> Iterator[bytes]:
    """Yield one line for each entry below a header (RFC 4180, UTF-8), amounts as decimals of the main unit."""
    currency = statement.account["currency"]
    lines = chain([_CSV_HEADER], (_csv_line(document, currency) for document in statement.entries()))
    beginning = _BYTE_ORDER_MARK
    while some := list(islice(lines, WRITTEN_AT_ONCE)):
        text = io.StringIO()
        csv.writer(text).writerows(some)
        yield (beginning + text.getvalue()).encode()
        beginning = ""


def inert(text: str) -> str:
    """Return a text no part of which a spreadsheet takes for a formula: after an apostrophe it shows it as it is."""
    return _FORMULA_BEGINNING.sub(r"\1'\2", text)


def _csv_line(entry: Document, currency: str) -> tuple[str, ...]:
    amount = decimal_text(entry["amount"], currency)
    entry_type = entry["type"]
    date, time = rfc3339(entry["created_at"]).rstrip("Z").split("T")
    return (
        str(entry["sequence"]),
        date,
        time,
        entry_type,
        inert(entry["description"] or ""),
        str(entry["counterparty"] or ""),
        str(entry["transaction"] or ""),
        amount if entry_type == EntryType.DEBIT else "",
        amount if entry_type == EntryType.CREDIT else "",
        amount if entry_type in (EntryType.HOLD, EntryType.RELEASE) else "",
        decimal_text(entry["balance"], currency),
        decimal_text(entry["balance"] - entry["held"], currency),
        currency,
        entry["hash"].hex(),
    )


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    while chunk := list(islice(items, WRITTEN_AT_ONCE)):
        yield chunk
