"""Moving money through the API: what is answered, what is recorded, and what is repeated."""

from tests.support import Bank


def test_a_transfer_moves_money_and_answers_its_record(bank: Bank) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()

    answer = payer.transfer(from_account, to_account, 400, "rent-1", description="Rent", metadata={"invoice": "7"})

    assert answer.status == 201
    transaction = answer.body["transaction"]
    assert transaction["status"] == "COMPLETED"
    assert (transaction["fromAccount"], transaction["toAccount"], transaction["amount"]) == (
        from_account,
        to_account,
        400,
    )
    assert transaction["idempotencyKey"] == "rent-1"
    assert payer.balance(from_account) == 600
    assert payee.balance(to_account) == 400
