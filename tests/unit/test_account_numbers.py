"""Account numbers: how they are made, and which spellings of one are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import account_numbers
from app.account_numbers import AccountNumber, WrongCheckDigits, grouped, new_number, read_number
from tests.chance import Draws

NUMBER = "FC13483920175634"


def test_a_new_number_has_the_form_that_is_promised_and_reads_as_itself() -> None:
    made = {new_number() for _ in range(200)}

    assert len(made) == 200
    for number in made:
        assert len(number) == 16
        assert number[:2] == "FC"
        assert number[2:].isascii()
        assert number[2:].isdigit()
        assert read_number(number) == number


def test_the_check_digits_are_those_of_an_iban() -> None:
    # The whole number with its first four places at the end, letters as numbers from 10, is 1 modulo 97.
    moved = NUMBER[4:] + NUMBER[:4]

    assert int("".join(str(int(place, 36)) for place in moved)) % 97 == 1


@pytest.mark.parametrize(
    "written",
    [
        "FC13 4839 2017 5634",
        "fc13483920175634",
        " Fc13\u00a04839\u202f2017\t5634\n",
        "F C 1 3 4 8 3 9 2 0 1 7 5 6 3 4",
    ],
)
def test_blanks_and_case_are_forgiven(written: str) -> None:
    number = read_number(written)

    assert number == NUMBER
    assert isinstance(number, AccountNumber)


@given(place=st.integers(2, 15), digit=st.sampled_from("0123456789"))
def test_a_wrong_digit_is_found_wherever_it_is(place: int, digit: str) -> None:
    written = NUMBER[:place] + digit + NUMBER[place + 1 :]

    if written == NUMBER:
        assert read_number(written) == NUMBER
    else:
        with pytest.raises(WrongCheckDigits, match=f"check digits {written[2:4]} "):
            read_number(written)


@given(place=st.integers(4, 14))
def test_two_digits_that_changed_places_are_found(place: int) -> None:
    written = NUMBER[:place] + NUMBER[place + 1] + NUMBER[place] + NUMBER[place + 2 :]

    if written != NUMBER:
        with pytest.raises(WrongCheckDigits):
            read_number(written)


def test_a_number_has_one_pair_of_check_digits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # 98 and 01 give the same sum, and so do 97 and 00, and 02 and 99.
    monkeypatch.setattr(account_numbers, "randbelow", Draws(*range(1_000)))
    made = {number[2:4]: number for number in (new_number() for _ in range(1_000))}

    assert set(made) == {f"{check:02}" for check in range(2, 99)}
    for check, alias in (("98", "01"), ("97", "00"), ("02", "99")):
        with pytest.raises(WrongCheckDigits):
            read_number(made[check].replace(f"FC{check}", f"FC{alias}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FC",
        "6560a1b2c3d4e5f601234567",
        "FC1348392017563",
        "FC134839201756345",
        "GB13483920175634",
        "FC١٣٤٨٣٩٢٠١٧٥٦٣٤",
        "FC13-4839-2017-5634",
        "FC1348392017563４",
        "ＦＣ13483920175634",
    ],
)
def test_what_is_no_number_is_not_taken_for_one(text: str) -> None:
    assert read_number(text) is None


def test_people_read_it_in_groups_and_ids_stay_as_they_are() -> None:
    assert grouped(NUMBER) == "FC13 4839 2017 5634"
    assert grouped("6560a1b2c3d4e5f601234567") == "6560a1b2c3d4e5f601234567"
