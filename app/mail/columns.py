"""Lays out the text part of a letter, which mail programs show in a monospaced font."""

import unicodedata


def width(text: str) -> int:
    """Return how many columns the text takes in a terminal.

    A mark above or below a letter takes none, a Chinese character two. A vowel sign beside its letter counts as one,
    although some programs join it with the letter: a short line is better than one that is too long.
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def wrapped(text: str, columns: int) -> str:
    """Return the text wrapped into lines of at most this many columns. A longer word is not broken."""
    lines: list[list[str]] = [[]]
    left = columns
    for word in text.split(" "):
        needed = width(word) + bool(lines[-1])
        if needed > left and lines[-1]:
            lines.append([])
            left, needed = columns, needed - 1
        lines[-1].append(word)
        left -= needed
    return "\n".join(" ".join(line) for line in lines)


def padded(text: str, columns: int) -> str:
    """Return the text padded with blanks to this many columns."""
    return text + " " * (columns - width(text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
