"""Writes statements as JSON and CSV in small pieces, so that no statement is in memory as a whole."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, TypeVar

import orjson

from app.fields import rfc3339
from app.http.compiled import dumper_of
from app.ledger.records import EntryType
from app.money import decimal_text
from app.mongo import Document
from app.statements.schemas import EntrySchema, StatementHeadSchema
from app.statements.service import Statement

WRITTEN_AT_ONCE = 500
# Without this mark, Excel reads the file in the local code page and garbles every character beyond ASCII.
_BYTE_ORDER_MARK = "\ufeff"
# Text that a spreadsheet takes for a formula at the start of a cell, in ASCII or in East Asian full-width characters.
# Where the decimal sign is a comma, spreadsheets separate cells by semicolons. They then also cut this file inside
# quoted text, so a formula could start after any semicolon, bar or tab.
_FORMULA_BEGINNING = re.compile(r"""(^|[;|\t])((?:[^\S\t]|")*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])""")
_CSV_HEADER = (
    "Sequence", "Date (UTC)", "Time (UTC)", "Type", "Description", "Counterparty", "Transaction",
    "Debit", "Credit", "Held or released", "Balance", "Available", "Currency", "Hash",
)  # fmt: skip

Item = TypeVar("Item")

_HEAD = StatementHeadSchema()
_dump_entry = dumper_of(EntrySchema())


def head_as_json(statement: Statement) -> dict[str, Any]:
    """Return the statement without its entries, its sums as plain integers."""
    sums = {"totalCredits": statement.total_credits, "totalDebits": statement.total_debits}
    return {**_HEAD.dump(statement), **sums}


def sealed_entries_as_json(statement: Statement) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the entries one by one, each with whether its hash is right and continues the chain."""
    for documents in _chunks(statement.sealed_entries()):
        entries = [_dump_entry(document) for document, _ in documents]
        yield from zip(entries, (is_sealed for _, is_sealed in documents), strict=True)


def as_json(statement: Statement) -> Iterator[bytes]:
    """Yield the statement as the JSON of `StatementSchema`."""
    head: bytes = orjson.dumps(_HEAD.dump(statement))
    yield head.removesuffix(b"}") + b',"entries":['
    separator = b""
    for documents in _chunks(statement.entries()):
        # The brackets of each chunk's list are removed, so that all chunks make one list.
        yield separator + orjson.dumps([_dump_entry(document) for document in documents])[1:-1]
        separator = b","
    yield b"]}\n"


def as_csv(statement: Statement) -> Iterator[bytes]:
    """Yield a header and one line per entry (RFC 4180, UTF-8). Amounts are decimals of the main unit."""
    currency = statement.account["currency"]
    lines = chain([_CSV_HEADER], (_csv_line(document, currency) for document in statement.told_entries()))
    beginning = _BYTE_ORDER_MARK
    while some := list(islice(lines, WRITTEN_AT_ONCE)):
        text = io.StringIO()
        csv.writer(text).writerows(some)
        yield (beginning + text.getvalue()).encode()
        beginning = ""


def inert(text: str) -> str:
    """Return the text with an apostrophe before each part that a spreadsheet would take for a formula."""
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
