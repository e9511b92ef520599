"""Money: currencies, and how many digits their minor units have."""

import pytest

from app.money import AMOUNT_MAX, currencies, exponent, is_currency


@pytest.mark.parametrize(("currency", "digits"), [("INR", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_a_minor_unit_has_the_digits_of_iso_4217(currency: str, digits: int) -> None:
    assert exponent(currency) == digits


@pytest.mark.parametrize("code", ["XAU", "XAG", "XDR", "XTS", "XXX"])
def test_what_has_no_minor_unit_is_no_currency_to_keep(code: str) -> None:
    assert not is_currency(code)
    assert code not in currencies()


@pytest.mark.parametrize("code", ["", "inr", "IN", "INRR", "ABC", "₹", "INR "])
def test_other_text_is_no_currency(code: str) -> None:
    assert not is_currency(code)


def test_the_exponent_of_no_currency_is_not_guessed() -> None:
    with pytest.raises(KeyError):
        exponent("XAU")


def test_the_currencies_are_all_and_in_order() -> None:
    codes = currencies()

    assert codes == sorted(set(codes))
    assert len(codes) > 150
    assert all(is_currency(code) for code in codes)
    assert {"INR", "EUR", "USD", "GBP", "JPY"} <= set(codes)


def test_the_largest_amount_is_the_last_integer_that_a_double_still_tells_apart() -> None:
    assert int(float(AMOUNT_MAX)) == AMOUNT_MAX
    assert float(AMOUNT_MAX + 1) == float(AMOUNT_MAX + 2)
