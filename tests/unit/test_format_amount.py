"""Amounts as people read them."""

import re

import pytest

from app.money import currencies, exponent, format_amount


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (500, "INR", "₹5.00"),
        (1_230, "EUR", "€12.30"),
        (700, "JPY", "¥700"),
        (5, "USD", "$0.05"),
        (0, "GBP", "£0.00"),
        (-5, "EUR", "-€0.05"),
        (1_234_567, "KWD", "KWD\N{NO-BREAK SPACE}1,234.567"),
        (9_007_199_254_740_991, "INR", "₹90,071,992,547,409.91"),
    ],
)
def test_an_amount_has_its_currencys_symbol_and_digits(amount: int, currency: str, shown: str) -> None:
    assert format_amount(amount, currency) == shown


def test_every_currency_shows_as_many_decimals_as_iso_4217_says() -> None:
    for currency in currencies():
        decimals = re.fullmatch(r"\D+[\d,]+(?:\.(\d+))?", format_amount(123_456, currency))
        assert decimals is not None, currency
        assert len(decimals[1] or "") == exponent(currency), currency
