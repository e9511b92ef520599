"""Amounts as people read them."""

import re

import pytest
from iso4217 import Currency

from app import money
from app.money import currencies, decimal_text, exponent, format_amount, format_number, is_currency


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
        (9_007_199_254_740_991, "INR", "₹9,00,71,99,25,47,409.91"),
    ],
)
def test_an_amount_has_its_currencys_symbol_and_digits(amount: int, currency: str, shown: str) -> None:
    assert format_amount(amount, currency) == shown


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (1_234_567_890, "INR", "1,23,45,678.90"),
        (-10_000_000, "INR", "-1,00,000.00"),
        (99_999, "INR", "999.99"),
        (100_000, "INR", "1,000.00"),
        (1_234_567_890, "NPR", "1,23,45,678.90"),
        (1_234_567_890, "BDT", "1,23,45,678.90"),
        (1_234_567_890, "PKR", "12,345,678.90"),
        (1_234_567_890, "USD", "12,345,678.90"),
        # At home these have a comma before the minor unit; beside English words it would be read as thousands.
        (1_234_567_890, "EUR", "12,345,678.90"),
        (1_234_567_890, "SEK", "12,345,678.90"),
        (1_234_567_890, "BRL", "12,345,678.90"),
        (-1_234_567_890, "CHF", "-12’345’678.90"),
        (1_234_567_890, "JPY", "1,234,567,890"),
        (1_234_567_890, "KWD", "1,234,567.890"),
        (1_234_567_890, "CLF", "123,456.7890"),
        (1_234_567_890, "XAF", "1,234,567,890"),
    ],
)
def test_digits_are_grouped_as_at_the_currencys_home(amount: int, currency: str, shown: str) -> None:
    assert format_number(amount, currency) == shown
    assert format_amount(amount, currency).endswith(shown.lstrip("-"))


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (0, "INR", "₹0.00"),
        (500, "INR", "₹5.00"),
        (10_000_000, "INR", "₹1,00,000.00"),
        (9_007_199_254_740_991, "INR", "₹9,00,71,99,25,47,409.91"),
        # One way of grouping in one text, whatever the currency.
        (12_345_678, "USD", "$1,23,456.78"),
        (12_345_678, "CHF", "CHF\N{NO-BREAK SPACE}1,23,456.78"),
        (1_234_567, "JPY", "JP¥12,34,567"),
        (123_456_789, "KWD", "KWD\N{NO-BREAK SPACE}1,23,456.789"),
        (1_234_567_890, "CLF", "CLF\N{NO-BREAK SPACE}1,23,456.7890"),
        (-500, "INR", "-₹5.00"),
    ],
)
def test_in_hindi_amounts_of_all_currencies_are_grouped_as_in_india(amount: int, currency: str, shown: str) -> None:
    assert format_amount(amount, currency, "hi") == shown


@pytest.mark.parametrize(
    ("language", "shown"), [("de", "1.234,56\N{NO-BREAK SPACE}€"), ("ta", "€1,234.56"), ("mr", "€1,234.56")]
)
def test_any_language_that_may_come_writes_amounts_its_own_way_in_latin_digits(language: str, shown: str) -> None:
    assert format_amount(123_456, "EUR", language) == shown


@pytest.mark.parametrize("language", ["en", "hi"])
def test_every_currency_shows_as_many_decimals_as_iso_4217_says_and_every_digit(language: str) -> None:
    for currency in currencies():
        decimals = re.fullmatch(r"\D+[\d,’]+(?:\.(\d+))?", format_amount(123_456, currency, language))
        assert decimals is not None, currency
        assert len(decimals[1] or "") == exponent(currency), currency
        number = format_number(-9_007_199_254_740_991, currency, language)
        assert re.sub(r"[,’]", "", number) == decimal_text(-9_007_199_254_740_991, currency)


@pytest.mark.parametrize(
    ("currency", "decimals", "shown"), [("KWD", "1.234", "KWD\N{NO-BREAK SPACE}1.234"), ("INR", "12.34", "₹12.34")]
)
def test_a_currency_that_iso_4217_drops_still_prints(
    monkeypatch: pytest.MonkeyPatch, currency: str, decimals: str, shown: str
) -> None:
    monkeypatch.delitem(money._EXPONENTS, currency)

    assert not is_currency(currency)
    assert currency not in currencies()
    assert decimal_text(1_234, currency) == decimals
    assert format_amount(1_234, currency) == shown


@pytest.mark.parametrize(("currency", "digits"), [("HRK", 2), ("BGN", 2), ("ITL", 0)])
def test_a_currency_of_the_past_prints(currency: str, digits: int) -> None:
    assert not is_currency(currency)
    assert exponent(currency) == digits
    assert format_amount(1_234, currency).endswith(f"{1_234 / 10**digits:,.{digits}f}")


def test_every_currency_on_offer_is_kept_for_good_with_its_digits() -> None:
    """A new edition of ISO 4217 fails here until its currencies are added to those that are kept."""
    offered = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}

    assert {code: money._KEPT.get(code) for code in offered} == offered
