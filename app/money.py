"""Money: whole minor units of an ISO 4217 currency, never a float."""

import functools
import unicodedata

from babel import Locale, UnknownLocaleError
from babel.languages import get_official_languages
from babel.numbers import get_currency_name, get_currency_precision, get_currency_symbol
from babel.numbers import is_currency as was_ever_a_currency
from iso4217 import Currency

ENGLISH = "en"

# The largest integer that every JSON reader holds exactly (2**53 - 1). It bounds
# amounts and, on both sides of zero, balances.
AMOUNT_MAX = 9_007_199_254_740_991

# Metals, test and fund codes have no minor unit, so nothing can be counted in them.
_EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}
_UNCOUNTABLE = {currency.code for currency in Currency if currency.exponent is None}

# Every currency in which an account could ever be opened, by the digits of its minor unit. A later edition of ISO 4217
# may drop a currency or change its digits, but existing accounts keep their currency and its digits. So currencies are
# only ever added here, never removed.
_KEPT: dict[str, int] = {
    code: digits
    for digits, codes in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
        "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG "
        "HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
        "MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD "
        "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD "
        "XCG YER ZAR ZMW ZWG",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
    for code in codes.split()
}


def is_currency(code: str) -> bool:
    """Tell whether `code` is an ISO 4217 currency that has a minor unit."""
    return code in _EXPONENTS


def exponent(currency: str) -> int:
    """Return how many decimal digits the currency's minor unit has: INR 2, JPY 0, KWD 3.

    Currencies that ISO 4217 has dropped are known too. Raises KeyError for any code that was never a currency or has
    no minor unit.
    """
    digits = _KEPT.get(currency, _EXPONENTS.get(currency))
    if digits is not None:
        return digits
    if currency in _UNCOUNTABLE or not was_ever_a_currency(currency):
        raise KeyError(currency)
    return int(get_currency_precision(currency))


def currencies() -> list[str]:
    """Return every currency in which an account can be opened, in alphabetical order."""
    return sorted(_EXPONENTS)


def decimal_text(amount: int, currency: str) -> str:
    """Return the amount in the currency's main unit, digit for digit: 123456 INR is 1234.56, -5 JPY is -5."""
    digits = exponent(currency)
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}.{fraction:0{digits}d}" if digits else f"{sign}{whole}"


def format_amount(amount: int, currency: str, language: str = ENGLISH) -> str:
    """Return minor units for people to read: 12345678 INR is ₹1,23,456.78, 700 JPY ¥700, -1234567 KWD -KWD 1,234.567.

    In English text the digits before the point are grouped as in the currency's own country; see `format_number`. Other
    languages write all currencies in their own way: 12345678 USD is $1,23,456.78 in Hindi. Only the number of decimals
    is always the currency's.
    """
    before, after = _around(currency, language)
    sign = "-" if amount < 0 else ""
    return f"{sign}{before}{format_number(abs(amount), currency, language)}{after}"


def format_number(amount: int, currency: str, language: str = ENGLISH) -> str:
    """Return the same as `format_amount` without the currency, for columns that name it: 12345678 INR is 1,23,456.78.

    In English the groups are as large as in the currency's own country. The decimal sign is always a point, because
    the text around is English and an amount must not be read in two ways. Groups are separated by the country's own
    sign if its decimal sign is a point too (1’234.56 in Switzerland), otherwise by a comma.

    Digits are 0 to 9 in every language. Indian banks print these in Hindi too: they are the country's official form
    (article 343 of its constitution), and what CLDR gives for Hindi.
    """
    whole, point, fraction = decimal_text(abs(amount), currency).partition(".")
    last, other, separator, decimal_sign = _grouping(currency, language)
    groups = [whole[-last:]]
    rest = whole[:-last]
    while rest:
        groups.append(rest[-other:])
        rest = rest[:-other]
    return f"{'-' if amount < 0 else ''}{separator.join(reversed(groups))}{point and decimal_sign}{fraction}"


def custom(currency: str) -> tuple[int, str, int, int, str, str, str]:
    """Return how amounts of the currency are written, for programs that write them as `format_amount` does.

    These are the digits after the point, the text before the number, the size of the last group and of the others, the
    sign between groups, and the names of one and of many units in English.
    """
    last, other, separator, _ = _grouping(currency, ENGLISH)
    one, many = (get_currency_name(currency, count=count, locale=ENGLISH) for count in (1, 2))
    return exponent(currency), _around(currency, ENGLISH)[0], last, other, separator, one, many


@functools.cache
def _around(currency: str, language: str) -> tuple[str, str]:
    """Return the text before an amount, and the text after it."""
    # Only the symbol and its place are from Babel, because its number of digits differs from ISO 4217 for some
    # currencies.
    symbol = get_currency_symbol(currency, locale=language)
    pattern = Locale(language).currency_formats["standard"]
    before, after = pattern.prefix[0], pattern.suffix[0]
    # A symbol of letters needs a space before the digits, at which no line may break.
    if before.endswith("¤") and unicodedata.category(symbol[-1]) != "Sc":
        before += "\N{NO-BREAK SPACE}"
    return before.replace("¤", symbol), after.replace("¤", symbol)


@functools.cache
def _grouping(currency: str, language: str) -> tuple[int, int, str, str]:
    """Return the size of the group before the point and of all other groups, the sign between them, and the point."""
    if language != ENGLISH:
        locale = Locale(language)
        last, other = locale.currency_formats["standard"].grouping
        return last, other, locale.number_symbols["latn"]["group"], locale.number_symbols["latn"]["decimal"]
    home = _home(currency)
    if home is None:
        return 3, 3, ",", "."
    last, other = home.currency_formats["standard"].grouping
    signs = home.number_symbols["latn"]
    return last, other, signs["group"] if signs["decimal"] == "." else ",", "."


def _home(currency: str) -> Locale | None:
    """Return the language and country of a currency; None if it belongs to several countries or to none."""
    # By ISO 4217 a currency's code starts with its country's code, with X for no country and EU for several.
    territory = currency[:2]
    for language in get_official_languages(territory, de_facto=True):
        try:
            return Locale(language, territory=territory)
        except UnknownLocaleError:
            continue
    return None
