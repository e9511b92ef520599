"""Account numbers: how people name an account. `FC`, two check digits, twelve random digits.

The check digits are those of ISO 7064 mod 97-10, calculated as in an IBAN. They reveal every single wrong digit, and
nearly every swap of two digits. A number belongs to one account for ever.
"""

import re
from functools import lru_cache
from secrets import randbelow

from stdnum.iso7064 import mod_97_10

PREFIX = "FC"
RANDOM_DIGITS = 12
GROUP_LENGTH = 4
# The numbers of a request are checked twice, and a batch may have a thousand.
CHECKED_KEPT_MAX = 10_000
# As people may write it: in groups, in small letters.
PATTERN = r"\s*[Ff]\s*[Cc](\s*[0-9]){14}\s*"
_NUMBER = re.compile(r"FC[0-9]{14}")


class AccountNumber(str):
    """An account's number with the right check digits, without blanks and in capitals."""

    __slots__ = ()


class WrongCheckDigits(ValueError):
    """The text looks like an account number, but its check digits are wrong."""

    def __init__(self, written: str) -> None:
        super().__init__(
            f"The check digits {written[2:4]} do not belong to this account number. Is one of its digits wrong?"
        )


def new_number() -> AccountNumber:
    """Return a random number. Another account may have it already; the unique index decides."""
    digits = f"{randbelow(10**RANDOM_DIGITS):0{RANDOM_DIGITS}}"
    return AccountNumber(f"{PREFIX}{_check_digits(digits)}{digits}")


@lru_cache(maxsize=CHECKED_KEPT_MAX)
def _check_digits(digits: str) -> str:
    check: str = mod_97_10.calc_check_digits(digits + PREFIX)
    return check


def read_number(text: str) -> AccountNumber | None:
    """Return the number in `text`, or None if it does not look like one; raises WrongCheckDigits."""
    written = "".join(text.split()).upper()
    if not _NUMBER.fullmatch(written):
        return None
    # A right remainder is not enough: 01 and 98 give the same one, and only one of them belongs to the number.
    if written[2:4] != _check_digits(written[4:]):
        raise WrongCheckDigits(written)
    return AccountNumber(written)


def grouped(number: str) -> str:
    """Return the number as people read it, in groups of four. Anything else, such as an id, stays as it is."""
    if not _NUMBER.fullmatch(number):
        return number
    return " ".join(number[start : start + GROUP_LENGTH] for start in range(0, len(number), GROUP_LENGTH))
