"""Writes how the page writes each currency: `python -m clients.currencies`, or `make currencies`."""

import json

from app import money
from app.web.assets import CUSTOMS


def table() -> str:
    """Return the custom of every currency as JSON, one on each line."""
    lines = (f"{json.dumps(code)}:{_compact(money.custom(code))}" for code in money.currencies())
    return "{" + ",\n".join(lines) + "}\n"


def _compact(custom: object) -> str:
    return json.dumps(custom, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    CUSTOMS.write_text(table(), "utf-8")
