"""Draws statements as PDF, page by page while the entries are read."""

import zlib
from collections.abc import Sequence
from typing import IO, Any

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfdoc import PDFDictionary, PDFName, PDFResourceDictionary, PDFStream
from reportlab.pdfgen.canvas import Canvas

from app.account_numbers import grouped as grouped_number
from app.ledger.records import EntryType
from app.money import format_amount, format_number
from app.mongo import Document
from app.statements import queries
from app.statements.embedding import Scribe, text_width
from app.statements.service import Statement, named
from app.statements.typefaces import Weight
from app.statements.typesetting import Line, wrapped

SPARKLINE_POINTS = 120

_TEXT, _BOLD = Weight.REGULAR, Weight.BOLD
_INK, _ACCENT, _FAINT = HexColor(0x1B2330), HexColor(0x12355B), HexColor(0x667085)
_RULE, _SHADE, _FILL = HexColor(0xD5DBE3), HexColor(0xF5F7FA), HexColor(0xE3EAF3)

_WIDTH, _HEIGHT = A4
_LEFT, _RIGHT = 18 * mm, A4[0] - 18 * mm
_BOTTOM = 20 * mm
_DATE_X, _TEXT_X = _LEFT + 2 * mm, _LEFT + 25 * mm
_OUT_X, _IN_X, _BALANCE_X = _RIGHT - 58 * mm, _RIGHT - 31 * mm, _RIGHT - 2 * mm
_AMOUNT_WIDTH = 26 * mm
_TEXT_WIDTH = _OUT_X - _AMOUNT_WIDTH - _TEXT_X
_LINE, _DETAIL_LINE, _PADDING = 10.0, 8.0, 4.5
_PAGE_COUNT = "pageCount"


def draw(statement: Statement, file: IO[bytes]) -> None:
    """Draw the whole document, and then write it into a file."""
    _Document(statement, file).draw()


class _Document:
    """Draws one statement. `y` is the height on the page where the next element goes."""

    def __init__(self, statement: Statement, file: IO[bytes]) -> None:
        self._statement = statement
        self._currency: str = statement.account["currency"]
        # With `invariant`, a statement always gives the same bytes, whenever it is drawn.
        self._canvas = Canvas(file, pagesize=A4, invariant=1, pageCompression=1)
        self._account = grouped_number(named(statement.account))
        self._canvas.setTitle(f"Account statement {self._account}")
        self._canvas.setAuthor("Fincore")
        self._scribe = Scribe(self._canvas)
        self._page = 0
        self._resources: Any = None
        self._row = 0
        self.y = 0.0

    def draw(self) -> None:
        self._begin_page()
        self._draw_parties()
        self._draw_summary()
        self._draw_sparkline()
        self._draw_table_head()
        self._draw_carried("Opening balance", self._statement.opening_balance)
        for entry in self._statement.told_entries():
            self._draw_entry(entry)
        self._make_room(22 * mm)
        self._draw_carried("Closing balance", self._statement.closing_balance)
        self._draw_proof()
        self._end_page()
        self._define_page_count()
        self._canvas.save()

    def _begin_page(self) -> None:
        if self._page:
            self._end_page()
        self._page += 1
        canvas = self._canvas
        canvas.setFillColor(_ACCENT)
        canvas.rect(0, _HEIGHT - 5 * mm, _WIDTH, 5 * mm, stroke=0, fill=1)
        self._text(_LEFT, _HEIGHT - 18 * mm, "Fincore", weight=_BOLD, size=17, color=_ACCENT)
        self._text_right(_RIGHT, _HEIGHT - 15.5 * mm, "Account statement", weight=_BOLD, size=10)
        self._text_right(_RIGHT, _HEIGHT - 20 * mm, self._period(), size=8, color=_FAINT)
        self._rule(_HEIGHT - 24 * mm, _ACCENT, 0.8)
        self._rule(_BOTTOM - 5 * mm, _RULE, 0.5)
        self._text(_LEFT, _BOTTOM - 10 * mm, f"Account {self._account}", size=7, color=_FAINT)
        # The number of pages is not known yet. Each page refers to a form that is defined after the last page.
        self._text_right(_RIGHT - 8 * mm, _BOTTOM - 10 * mm, f"Page {self._page} of", size=7, color=_FAINT)
        canvas.saveState()
        canvas.translate(_RIGHT - 7 * mm, _BOTTOM - 10 * mm)
        canvas.doForm(_PAGE_COUNT)
        canvas.restoreState()
        self.y = _HEIGHT - 33 * mm

    def _end_page(self) -> None:
        """Close the page and compress it now, because the library compresses only when it saves all pages.

        All pages share one list of resources. The library would give each page its own copy.
        """
        self._canvas.showPage()
        page = self._canvas._doc.idToObject[f"Page{self._page}"]  # type: ignore[attr-defined] # no public way to it
        if self._resources is None:
            self._resources = PDFResourceDictionary()
            self._resources.basicFonts()
            self._resources.basicProcs()
            self._resources.XObject = self._scribe.forms
            self._scribe.forms.dict.update(page.XObjects.dict)
        page.Resources = self._resources
        content = zlib.compress(page.stream.encode("latin-1"))
        page.Contents = PDFStream(PDFDictionary({"Filter": PDFName("FlateDecode")}), content)
        page.stream = None

    def _define_page_count(self) -> None:
        self._canvas.beginForm(_PAGE_COUNT, 0, -5, 7 * mm, 10)
        self._text(0, 0, str(self._page), size=7, color=_FAINT)
        self._canvas.endForm()

    def _draw_parties(self) -> None:
        account = self._statement.account
        name = account.get("name") or f"{self._currency} account"
        for line in wrapped(name, _BOLD, (_RIGHT - _LEFT) * 1_000 / 13, lines_max=2):
            self._text(_LEFT, self.y, line, weight=_BOLD, size=13)
            self.y -= 6 * mm
        self._text(_LEFT, self.y, f"{self._account}  ·  {self._currency}", size=8.5, color=_FAINT)
        self.y -= 7 * mm

    def _draw_summary(self) -> None:
        statement, height = self._statement, 17 * mm
        self.y -= height
        self._canvas.setFillColor(_SHADE)
        self._canvas.roundRect(_LEFT, self.y, _RIGHT - _LEFT, height, 2 * mm, stroke=0, fill=1)
        figures = (
            ("Opening balance", self._money(statement.opening_balance)),
            ("Money in", self._money(statement.total_credits)),
            ("Money out", self._money(statement.total_debits)),
            ("Closing balance", self._money(statement.closing_balance)),
        )
        width = (_RIGHT - _LEFT) / len(figures)
        for number, (label, figure) in enumerate(figures):
            x = _LEFT + (number + 1) * width - 5 * mm
            is_last = number == len(figures) - 1
            size = min(11.0, 11.0 * (width - 7 * mm) / text_width(figure, _BOLD, 11))
            self._text_right(x, self.y + height - 6 * mm, label, size=7.5, color=_FAINT)
            color = _ACCENT if is_last else _INK
            self._text_right(x, self.y + 4.5 * mm, figure, weight=_BOLD, size=size, color=color)
        self.y -= 6 * mm

    def _draw_sparkline(self) -> None:
        statement = self._statement
        points = queries.sample_balances(statement.account["_id"], statement.span, SPARKLINE_POINTS)
        if len(points) < 2:
            return
        height = 16 * mm
        self.y -= height
        balances = [balance for _, balance in points]
        low, high = min(balances), max(balances)
        left, right = _LEFT, _RIGHT - 30 * mm
        xs = _scaled([round(at.timestamp() * 1_000) for at, _ in points], left, right)
        ys = _scaled(balances, self.y + 1.5 * mm, self.y + height - 1.5 * mm)
        self._draw_steps(xs, ys)
        self._text_right(_RIGHT, self.y + height - 3 * mm, self._money(high), size=7, color=_FAINT)
        self._text_right(_RIGHT, self.y + 1 * mm, self._money(low), size=7, color=_FAINT)
        self._text_right(_RIGHT, self.y + height / 2 - 1 * mm, "Balance", size=7, color=_FAINT)
        self.y -= 6 * mm

    def _draw_steps(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        # A balance stays the same until the next entry, so the line goes in steps.
        canvas = self._canvas
        area, line = canvas.beginPath(), canvas.beginPath()
        area.moveTo(xs[0], self.y)
        area.lineTo(xs[0], ys[0])
        line.moveTo(xs[0], ys[0])
        for x, previous, y in zip(xs[1:], ys, ys[1:], strict=False):
            for path in (area, line):
                path.lineTo(x, previous)
                path.lineTo(x, y)
        area.lineTo(xs[-1], self.y)
        area.close()
        canvas.setFillColor(_FILL)
        canvas.drawPath(area, stroke=0, fill=1)
        canvas.setStrokeColor(_ACCENT)
        canvas.setLineWidth(1)
        canvas.drawPath(line, stroke=1, fill=0)
        canvas.setFillColor(_ACCENT)
        canvas.circle(xs[-1], ys[-1], 1.6, stroke=0, fill=1)

    def _draw_table_head(self) -> None:
        self.y -= 7 * mm
        self._canvas.setFillColor(_ACCENT)
        self._canvas.rect(_LEFT, self.y, _RIGHT - _LEFT, 7 * mm, stroke=0, fill=1)
        baseline, white = self.y + 2.4 * mm, HexColor(0xFFFFFF)
        self._text(_DATE_X, baseline, "Date (UTC)", weight=_BOLD, size=7.5, color=white)
        self._text(_TEXT_X, baseline, "Description", weight=_BOLD, size=7.5, color=white)
        for x, label in ((_OUT_X, "Out"), (_IN_X, "In"), (_BALANCE_X, f"Balance ({self._currency})")):
            self._text_right(x, baseline, label, weight=_BOLD, size=7.5, color=white)
        self._row = 0

    def _draw_carried(self, label: str, balance: int) -> None:
        self._make_room(7 * mm)
        self.y -= 7 * mm
        baseline = self.y + 2.4 * mm
        self._text(_TEXT_X, baseline, label, weight=_BOLD, size=8)
        self._amount(_BALANCE_X, baseline, balance, _BOLD)
        self._rule(self.y, _RULE, 0.5)

    def _draw_entry(self, entry: Document) -> None:
        lines = wrapped(_title(entry), _TEXT, _TEXT_WIDTH * 1_000 / 8, lines_max=3)
        detail = _detail(entry, self._money(entry["amount"]))
        height = _PADDING * 2 + _LINE * len(lines) + _DETAIL_LINE
        self._make_room(height)
        self._row += 1
        self.y -= height
        if self._row % 2 == 0:
            self._canvas.setFillColor(_SHADE)
            self._canvas.rect(_LEFT, self.y, _RIGHT - _LEFT, height, stroke=0, fill=1)
        baseline = self.y + height - _PADDING - 7
        at = entry["created_at"]
        self._text(_DATE_X, baseline, f"{at:%Y-%m-%d}", size=8)
        self._text(_DATE_X, baseline - _LINE, f"{at:%H:%M:%S}", size=6.5, color=_FAINT)
        if entry["type"] == EntryType.DEBIT:
            self._amount(_OUT_X, baseline, entry["amount"])
        if entry["type"] == EntryType.CREDIT:
            self._amount(_IN_X, baseline, entry["amount"])
        self._amount(_BALANCE_X, baseline, entry["balance"])
        for line in lines:
            self._text(_TEXT_X, baseline, line, size=8)
            baseline -= _LINE
        self._text(_TEXT_X, baseline + 1, detail, size=6, color=_FAINT)

    def _draw_proof(self) -> None:
        statement = self._statement
        self.y -= 7 * mm
        if not statement.span.is_empty:
            span = f"Entries {statement.span.first:,} to {statement.span.last:,} of the account's journal."
            self._text(_LEFT, self.y, span, size=7, color=_FAINT)
            self.y -= 4 * mm
        if statement.last_hash is not None:
            self._text(_LEFT, self.y, f"SHA-256 {statement.last_hash.hex()}", size=6.5, color=_FAINT)

    def _make_room(self, height: float) -> None:
        if self.y - height < _BOTTOM:
            self._begin_page()
            self._draw_table_head()

    def _period(self) -> str:
        return f"{self._statement.from_time:%Y-%m-%d %H:%M} to {self._statement.to_time:%Y-%m-%d %H:%M} UTC"

    def _money(self, amount: int) -> str:
        return format_amount(amount, self._currency)

    def _amount(self, x: float, y: float, amount: int, weight: Weight = _TEXT) -> None:
        """Write an amount that ends at `x`, in a smaller size if it would not fit its column."""
        text = format_number(amount, self._currency)
        size = min(8.0, 8.0 * _AMOUNT_WIDTH / text_width(text, weight, 8))
        self._text_right(x, y, text, weight=weight, size=size)

    def _text(
        self, x: float, y: float, text: Line | str, *, weight: Weight = _TEXT, size: float = 8, color: Color = _INK
    ) -> None:
        self._scribe.write(x, y, text, weight, size, color)

    def _text_right(
        self, x: float, y: float, text: str, *, weight: Weight = _TEXT, size: float = 8, color: Color = _INK
    ) -> None:
        self._text(x - text_width(text, weight, size), y, text, weight=weight, size=size, color=color)

    def _rule(self, y: float, color: Color, width: float) -> None:
        self._canvas.setStrokeColor(color)
        self._canvas.setLineWidth(width)
        self._canvas.line(_LEFT, y, _RIGHT, y)


def _title(entry: Document) -> str:
    if entry["type"] == EntryType.STATUS:
        return f"Account {entry['description'].lower()}" if entry["sequence"] else "Account opened"
    return (
        entry["description"]
        or {
            EntryType.CREDIT: "Received",
            EntryType.DEBIT: "Sent",
            EntryType.HOLD: "Set aside",
            EntryType.RELEASE: "No longer set aside",
        }[EntryType(entry["type"])]
    )


def _detail(entry: Document, amount: str) -> str:
    parties = {EntryType.CREDIT: "from", EntryType.DEBIT: "to", EntryType.HOLD: "for", EntryType.RELEASE: "for"}
    if entry["type"] == EntryType.STATUS:
        return f"No. {entry['sequence']}"
    held = "" if entry["type"] in (EntryType.CREDIT, EntryType.DEBIT) else f"{entry['type'].title()} of {amount} "
    other = grouped_number(str(entry["counterparty"]))
    return f"No. {entry['sequence']} · {held}{parties[EntryType(entry['type'])]} {other}"


def _scaled(values: Sequence[int], low: float, high: float) -> list[float]:
    """Return the values scaled to the range from `low` to `high`. If all are equal, return the middle for each."""
    first, last = min(values), max(values)
    if first == last:
        return [(low + high) / 2] * len(values)
    return [low + (value - first) * (high - low) / (last - first) for value in values]
