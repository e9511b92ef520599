import pytest

from tests.people import Bank, Person


@pytest.fixture
def parties(bank: Bank) -> tuple[Person, str, Person, str]:
    """A payer with 1,000 and a payee."""
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()
    return payer, from_account, payee, to_account
