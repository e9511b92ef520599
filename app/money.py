"""Money: whole minor units of an ISO 4217 currency, never a float."""

import functools
import unicodedata

from babel.numbers import get_currency_symbol
from iso4217 import Currency

# The largest integer that every JSON reader holds exactly (2**53 - 1). It bounds
# amounts and, on both sides of zero, balances.
AMOUNT_MAX = 9_007_199_254_740_991

# Metals, test and fund codes have no minor unit, so nothing can be counted in them.
_EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}


def is_currency(code: str) -> bool:
    """Tell whether `code` is an ISO 4217 currency that has a minor unit."""
    return code in _EXPONENTS


def exponent(currency: str) -> int:
    """Return how many decimal digits the currency's minor unit has: INR 2, JPY 0, KWD 3."""
    return _EXPONENTS[currency]


def currencies() -> list[str]:
    """Return every currency an account can be opened in, in alphabetical order."""
    return sorted(_EXPONENTS)


def decimal_text(amount: int, currency: str) -> str:
    """Return the amount in the currency's main unit, digit for digit: 123456 INR is 1234.56, -5 JPY is -5."""
    digits = exponent(currency)
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}.{fraction:0{digits}d}" if digits else f"{sign}{whole}"


def format_amount(amount: int, currency: str) -> str:
    """Return minor units for people to read: 500 INR is ₹5.00, 700 JPY ¥700, -1234567 KWD -KWD 1,234.567."""
    digits = exponent(currency)
    whole, fraction = divmod(abs(amount), 10**digits)
    number = f"{whole:,}.{fraction:0{digits}}" if digits else f"{whole:,}"
    return f"{'-' if amount < 0 else ''}{_prefix(currency)}{number}"


@functools.cache
def _prefix(currency: str) -> str:
    # Only the symbol is Babel's: its digits differ from ISO 4217 for some currencies.
    symbol = get_currency_symbol(currency, locale="en")
    # Letters before digits need a space between them, which must not become a line break.
    return symbol if unicodedata.category(symbol[-1]) == "Sc" else f"{symbol}\N{NO-BREAK SPACE}"
