"""Which media type a client prefers."""

import time

import pytest

from app.http.accept import preferred

JSON, CSV, PDF = "application/json", "text/csv", "application/pdf"


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("text/csv", CSV),
        ("text/csv; charset=utf-8", CSV),
        ("text/csv;header=present;q=0.5, application/json;q=0.4", CSV),
        ("application/pdf;version=1.7, text/csv;q=0.1", PDF),
        ("TEXT/CSV;Q=1.000", CSV),
        ('text/csv;note="a, b; q=0", application/json;q=0.9', CSV),
        (r'text/csv;note="\", application/pdf"', CSV),
        ("text/csv;q=0.5, application/pdf", PDF),
        ("application/json;q=0.2, text/*;q=0.3", CSV),
        ("*/*", JSON),
        ("application/json, text/plain, */*", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("*/*, text/csv", CSV),
        ("application/pdf, text/csv", PDF),
        ("text/csv, application/pdf", CSV),
        ("*/*, application/json;q=0", CSV),
        ("application/*, application/json;q=0.1", PDF),
        ("text/csv;q=0", None),
        ("text/csv;q=nonsense, application/pdf;q=0.1", PDF),
        ("text/csv;q=1.5, application/pdf;q=0.1", PDF),
        ("text/csv ; q = 0.5 , application/pdf;q=0.4", CSV),
        (",,text/csv,", CSV),
        ("image/png", None),
        ("", None),
        (";;;", None),
        ('"', None),
    ],
)
def test_the_clients_preference_is_obeyed(header: str, chosen: str | None) -> None:
    assert preferred(header, [JSON, CSV, PDF]) == chosen


@pytest.mark.parametrize("header", ['\\"' * 4_000, '"' * 8_000, 'a;"' * 2_600, "," * 8_000])
def test_no_header_takes_long_to_read(header: str) -> None:
    begun = time.process_time()
    preferred(header, [JSON, CSV, PDF])

    assert time.process_time() - begun < 1
