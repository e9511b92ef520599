"""Writes lines of glyphs into a PDF as text that can be read, searched and copied. Embeds only the glyphs it shows."""

import zlib
from collections.abc import Iterable, Iterator
from struct import unpack_from
from typing import Any, NamedTuple

import uharfbuzz as hb
from reportlab.lib.colors import Color
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFObjectReference, PDFStream, PDFString
from reportlab.pdfgen.canvas import Canvas

from app.statements.typefaces import Typeface, Weight, sans
from app.statements.typesetting import Cluster, Glyph, Line, Run, is_simple, line_width, set_line

# The tables of a font that a PDF reader needs, and those from which the shapes of a weight are made. Tables with rules
# for joining and spacing are left out, because a reader does not shape the text again.
_TABLES = {"glyf", "loca", "head", "hhea", "hmtx", "maxp", "CFF "} | {"CFF2", "fvar", "gvar", "avar", "HVAR", "MVAR"}
_CAP_HEIGHT, _STEM = 714, {Weight.REGULAR: 90, Weight.BOLD: 150}
_SYMBOLIC = 4
_MAPPINGS_AT_ONCE = 100
# A code has two bytes, so a font has at most 65,535 codes. Pairs of a glyph and a text may use this many, because there
# is no limit to such pairs. The rest is enough for glyphs without text: these fonts have at most 10,000.
CODES_WITH_TEXT_MAX = 40_000
# PDF readers accept no more letters than this for one code.
CODE_TEXT_MAX = 8
CLUSTERS_KEPT = 5_000
# In thousandths of the size. Marks that are shifted further are left out: no script stacks marks so high, and they
# would be drawn over the rows of other entries.
MARK_SHIFT_MAX = 500


class Scribe:
    """Writes lines on the pages of one document."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._document: Any = canvas._doc  # type: ignore[attr-defined] # no public way to it
        # Every page lists this dictionary in its resources.
        self.forms = PDFDictionary()
        self._marks: dict[tuple[str, int], str] = {}
        self._fonts: dict[str, _EmbeddedFont] = {}
        self._simple = {weight: _SimpleCodes(self._font(sans(weight)), weight) for weight in Weight}

    def write(self, x: float, y: float, line: Line | str, weight: Weight, size: float, color: Color) -> None:
        """Write a line whose left end is at (x, y)."""
        self._canvas.setFillColor(color)
        if isinstance(line, str):
            line = Line(line)
        runs: tuple[Run, ...] = ()
        if is_simple(line.text):
            codes = self._simple[weight]
            shown = f"/{codes.font.name} {size:.4g} Tf <{''.join(map(codes.__getitem__, line.text))}> Tj"
        else:
            runs = set_line(line, weight)
            shown = " ".join(self._runs(runs, size))
        drawn = [f"BT 1 0 0 1 {x:.2f} {y:.2f} Tm {shown} ET", *self._draw_marks(x, y, runs, size)]
        self._canvas._code.extend(drawn)  # type: ignore[attr-defined] # its own methods take only its own fonts

    def _font(self, typeface: Typeface) -> "_EmbeddedFont":
        if typeface.name not in self._fonts:
            font = _EmbeddedFont(typeface, f"T{len(self._fonts) + 1}")
            self._fonts[typeface.name] = font
            # The library calls `addObjects` of these fonts once all pages are drawn.
            self._document.delayedFonts.append(font)
        return self._fonts[typeface.name]

    def _runs(self, runs: Iterable[Run], size: float) -> Iterator[str]:
        chosen = None
        for run in runs:
            font = self._font(run.typeface)
            if font is not chosen:
                yield f"/{font.name} {size:.4g} Tf"
                chosen = font
            for cluster in run.clusters:
                yield font.shown(cluster, size, is_leftward=run.is_leftward)

    def _draw_marks(self, x: float, y: float, runs: Iterable[Run], size: float) -> Iterator[str]:
        # Marks are drawn as shapes, not written as text, because a mark has no text of its own. Readers take a glyph
        # without text for a gap between words, or show its code.
        for run in runs:
            scale = size / 1_000 * run.typeface.per_mille
            for cluster in run.clusters:
                for mark in cluster.marks:
                    if abs(mark.up) > MARK_SHIFT_MAX:
                        continue
                    at_x, at_y = x + mark.right * size / 1_000, y + mark.up * size / 1_000
                    form = self._form(run.typeface, mark.number)
                    yield f"q {scale:.5f} 0 0 {scale:.5f} {at_x:.2f} {at_y:.2f} cm /{form} Do Q"
                x += cluster.advance * size / 1_000

    def _form(self, typeface: Typeface, glyph: int) -> str:
        """Return the name of the form with the glyph's outline. Each outline is in the document only once."""
        key = typeface.name, glyph
        if key not in self._marks:
            self._marks[key] = name = f"M{len(self._marks) + 1}"
            pen = _Pen()
            typeface.font.draw_glyph_with_pen(glyph, pen)
            reach = 3 * typeface.face.upem
            stream = _stream(
                " ".join([*pen.operators, "f"]).encode(),
                Type=PDFName("XObject"),
                Subtype=PDFName("Form"),
                BBox=PDFArray([-reach, -reach, reach, reach]),
            )
            self.forms[name] = self._document.Reference(stream, name)
        return self._marks[key]


class _Shown(NamedTuple):
    """The glyph and the text that a code of a font stands for."""

    glyph: int
    text: str
    width: float


class _EmbeddedFont:
    """A typeface in a document.

    A glyph has a separate code for each text that it stands for, so that the right text is copied. In CFF fonts a
    glyph has only one code. Where it stands for another text, `ActualText` in the page says so.
    """

    def __init__(self, typeface: Typeface, name: str) -> None:
        self.name = name
        self._typeface = typeface
        self._is_cff = "CFF2" in typeface.face.table_tags
        self._blank = typeface.font.get_nominal_glyph(ord(" "))
        self._codes: dict[_Shown, int] = {}
        self._glyphs: dict[int, _Shown] = {}
        self._operators: dict[tuple[Cluster, float, bool], str] = {}

    def code(self, glyph: int, text: str, *, advance: float | None = None, is_one_of_few: bool = False) -> int:
        """Return the code for a glyph that stands for this text.

        The code's text is cut to CODE_TEXT_MAX. It is empty if the font already has CODES_WITH_TEXT_MAX codes, unless
        `is_one_of_few`. In CFF fonts the code is the glyph's number, with the first text that the glyph stood for.
        """
        width = self._width(glyph) if advance is None or self._is_cff else advance
        text = text[:CODE_TEXT_MAX]
        if self._is_cff:
            self._glyphs.setdefault(glyph, _Shown(glyph, text, width))
            return glyph
        shown = _Shown(glyph, text, width)
        if shown not in self._codes:
            if len(self._codes) >= CODES_WITH_TEXT_MAX and not is_one_of_few:
                shown = _Shown(glyph, "", self._width(glyph))
            code = self._codes.setdefault(shown, len(self._codes) + 1)
            self._glyphs[code] = shown
        return self._codes[shown]

    def shown(self, cluster: Cluster, size: float, *, is_leftward: bool) -> str:
        """Return the operators that show a cluster."""
        key = cluster, size, is_leftward
        if key not in self._operators:
            if len(self._operators) >= CLUSTERS_KEPT:
                self._operators.clear()
            self._operators[key] = self._show(cluster, size, is_leftward=is_leftward)
        return self._operators[key]

    def _show(self, cluster: Cluster, size: float, *, is_leftward: bool) -> str:
        parts, says = [], ""
        for glyph, text in self._shared_out(cluster, is_leftward=is_leftward):
            code = self.code(glyph.number, text, advance=glyph.advance)
            shown = self._glyphs[code]
            says = shown.text + says if is_leftward else says + shown.text
            after = glyph.advance - glyph.right - shown.width
            is_plain = abs(glyph.right) < 0.01 and abs(after) < 0.01
            moves = f"<{code:04X}> Tj" if is_plain else f"[{_number(-glyph.right)} <{code:04X}> {_number(-after)}] TJ"
            parts.append(f"{glyph.up * size / 1_000:.3f} Ts {moves} 0 Ts" if glyph.up else moves)
        if says == cluster.text:
            return " ".join(parts)
        return f"/Span <</ActualText <FEFF{_utf16(cluster.text)}>>> BDC {' '.join(parts)} EMC"

    def _shared_out(self, cluster: Cluster, *, is_leftward: bool) -> Iterator[tuple[Glyph, str]]:
        """Yield each glyph of a cluster with a part of its text, so that all glyphs together have the whole text.

        A glyph may get another letter than the one it shows. What matters is that copied text is in the written
        order, and that every glyph has text, because readers take one without for a gap.
        """
        glyphs, text = cluster.glyphs, cluster.text
        if not is_leftward or self._is_cff:
            last = len(glyphs) - 1
            for at, glyph in enumerate(glyphs):
                yield glyph, text[at:] if at == last else text[at]
            return
        # Readers reverse text that runs leftward, even within one glyph. So each glyph gets one letter. The remaining
        # letters (such as points on Hebrew letters) get blanks without width, which PDFium omits and poppler keeps.
        for letter in reversed(text[len(glyphs) :]):
            yield Glyph(self._blank, 0.0, 0.0, 0.0), letter
        for glyph, letter in zip(glyphs, reversed(text[: len(glyphs)]), strict=True):
            yield glyph, letter

    def _width(self, glyph: int) -> float:
        # The font's own advance width for the glyph, in thousandths of the size.
        return float(self._typeface.font.get_glyph_h_advance(glyph)) * self._typeface.per_mille

    def addObjects(self, document: Any) -> None:  # noqa: N802 -- the library's name for it
        """Add the font to the document, with only the glyphs that were shown."""
        typeface = self._typeface
        font_name = PDFName(f"{_tag(self._glyphs.items())}+{typeface.name}")
        program, head, hhea = self._subset()
        x_low, y_low, x_high, y_high = (value * typeface.per_mille for value in unpack_from(">4h", head, 36))
        ascent, descent = (value * typeface.per_mille for value in unpack_from(">2h", hhea, 4))
        descriptor = {
            "Type": PDFName("FontDescriptor"),
            "FontName": font_name,
            "Flags": _SYMBOLIC,
            "FontBBox": PDFArray([round(value) for value in (x_low, y_low, x_high, y_high)]),
            "ItalicAngle": 0,
            "Ascent": round(ascent),
            "Descent": round(descent),
            "CapHeight": _CAP_HEIGHT,
            "StemV": _STEM[typeface.weight],
            "FontFile3" if self._is_cff else "FontFile2": self._add(document, "file", program),
        }
        descendant = {
            "Type": PDFName("Font"),
            "Subtype": PDFName("CIDFontType0" if self._is_cff else "CIDFontType2"),
            "BaseFont": font_name,
            "CIDSystemInfo": PDFDictionary(
                {"Registry": PDFString("Adobe"), "Ordering": PDFString("Identity"), "Supplement": 0}
            ),
            "FontDescriptor": self._add(document, "descriptor", PDFDictionary(descriptor)),
            "W": PDFArray(self._widths()),
        }
        if not self._is_cff:
            descendant["CIDToGIDMap"] = self._add(document, "glyphs", _stream(self._glyph_numbers()))
        font = {
            "Type": PDFName("Font"),
            "Subtype": PDFName("Type0"),
            "BaseFont": font_name,
            "Encoding": PDFName("Identity-H"),
            "DescendantFonts": PDFArray([self._add(document, "descendant", PDFDictionary(descendant))]),
            "ToUnicode": self._add(document, "letters", _stream(self._letters())),
        }
        document.idToObject["BasicFonts"].dict[self.name] = self._add(document, "font", PDFDictionary(font))

    def _add(self, document: Any, part: str, thing: Any) -> PDFObjectReference:
        reference: PDFObjectReference = document.Reference(thing, f"{self.name}.{part}")
        return reference

    def _subset(self) -> tuple[PDFStream, bytes, bytes]:
        """Return the font program with only the glyphs that are shown, and its tables `head` and `hhea`."""
        face, wanted = self._typeface.face, hb.SubsetInput()
        wanted.glyph_set.update({shown.glyph for shown in self._glyphs.values()})
        wanted.pin_axis_location(face, "wght", float(self._typeface.weight))
        dropped = set(face.table_tags) - _TABLES
        wanted.drop_table_tag_set.update({int.from_bytes(tag.encode()) for tag in dropped})
        wanted.flags = (
            hb.SubsetFlags.RETAIN_GIDS
            | hb.SubsetFlags.NO_HINTING
            | hb.SubsetFlags.NO_LAYOUT_CLOSURE
            | hb.SubsetFlags.DOWNGRADE_CFF2
        )
        subset = wanted.subset(face)
        head, hhea = (bytes(subset.reference_table(tag).data) for tag in ("head", "hhea"))
        if self._is_cff:
            program = bytes(subset.reference_table("CFF ").data)
            return _stream(program, Subtype=PDFName("CIDFontType0C")), head, hhea
        program = bytes(subset.blob.data)
        return _stream(program, Length1=len(program)), head, hhea

    def _widths(self) -> list[Any]:
        widths: list[Any] = []
        for code, shown in sorted(self._glyphs.items()):
            widths += [code, PDFArray([_number(shown.width)])]
        return widths

    def _glyph_numbers(self) -> bytes:
        numbers = bytearray(2)
        for _, shown in sorted(self._glyphs.items()):
            numbers += shown.glyph.to_bytes(2)
        return bytes(numbers)

    def _letters(self) -> bytes:
        """Return the text of each code as a PDF `ToUnicode` map."""
        mappings = [
            f"<{code:04X}> <{_utf16(shown.text)}>" for code, shown in sorted(self._glyphs.items()) if shown.text
        ]
        parts = [mappings[at : at + _MAPPINGS_AT_ONCE] for at in range(0, len(mappings), _MAPPINGS_AT_ONCE)]
        blocks = (f"{len(part)} beginbfchar\n{chr(10).join(part)}\nendbfchar" for part in parts)
        return "\n".join(
            [
                "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
                "/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def",
                "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
                "1 begincodespacerange <0000> <FFFF> endcodespacerange",
                *blocks,
                "endcmap CMapName currentdict /CMap defineresource pop end end",
            ]
        ).encode()


class _SimpleCodes(dict[str, str]):
    """The codes of simple characters, in hexadecimal digits. Each is made when it is first needed."""

    def __init__(self, font: _EmbeddedFont, weight: Weight) -> None:
        self.font = font
        self._shapes = sans(weight).font

    def __missing__(self, character: str) -> str:
        code = self.font.code(self._shapes.get_nominal_glyph(ord(character)), character, is_one_of_few=True)
        self[character] = digits = f"{code:04X}"
        return digits


def text_width(line: Line | str, weight: Weight, size: float) -> float:
    """Return the width of a line at this font size, in points."""
    return line_width(Line(line) if isinstance(line, str) else line, weight) * size / 1_000


class _Pen:
    """Writes an outline as PDF operators. PDF has no quadratic curves, so they become cubic ones."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self._at = (0.0, 0.0)

    def moveTo(self, to: tuple[float, float]) -> None:  # noqa: N802 -- these are names of the pen protocol
        self._go("m", to)

    def lineTo(self, to: tuple[float, float]) -> None:  # noqa: N802
        self._go("l", to)

    def curveTo(self, *points: tuple[float, float]) -> None:  # noqa: N802
        self._go("c", *points)

    def qCurveTo(self, by: tuple[float, float], to: tuple[float, float]) -> None:  # noqa: N802
        first, second = (
            (end[0] + 2 * (by[0] - end[0]) / 3, end[1] + 2 * (by[1] - end[1]) / 3) for end in (self._at, to)
        )
        self._go("c", first, second, to)

    def closePath(self) -> None:  # noqa: N802
        self.operators.append("h")

    def _go(self, operator: str, *points: tuple[float, float]) -> None:
        self.operators.append(f"{' '.join(f'{x:.0f} {y:.0f}' for x, y in points)} {operator}")
        self._at = points[-1]


def _stream(content: bytes, **entries: Any) -> PDFStream:
    return PDFStream(PDFDictionary({**entries, "Filter": PDFName("FlateDecode")}), zlib.compress(content))


def _utf16(text: str) -> str:
    return text.encode("utf-16-be").hex().upper()


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tag(glyphs: Iterable[object]) -> str:
    """Return the six letters that distinguish this subset from other subsets of the same font."""
    number = zlib.crc32(repr(sorted(map(repr, glyphs))).encode())
    return "".join(chr(ord("A") + number // 26**place % 26) for place in range(6))
