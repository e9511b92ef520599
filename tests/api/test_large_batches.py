"""Large batches at the same moment: those that can be served in time are served."""

from collections import Counter
from functools import partial

from tests.people import Bank
from tests.threads import at_once

CLIENTS = 16
TRANSFERS = 500


def test_sixteen_clients_with_batches_of_five_hundred_are_all_served(live_bank: Bank) -> None:
    payers = [live_bank.customer(TRANSFERS) for _ in range(CLIENTS)]
    payees = [payer.open_account() for payer, _ in payers]
    bodies = [
        {
            "idempotencyKey": "large",
            "transfers": [{"fromAccount": account, "toAccount": payee, "amount": 1}] * TRANSFERS,
        }
        for (_, account), payee in zip(payers, payees, strict=True)
    ]

    calls = [
        partial(payer.post, "/api/transactions/batch", body) for (payer, _), body in zip(payers, bodies, strict=True)
    ]
    answers = at_once(calls)

    # A slow machine cannot serve all of them in time. Who was told to come back is served then.
    assert Counter(answer.status for answer in answers)[201] >= CLIENTS // 2
    for call in [call for call, answer in zip(calls, answers, strict=True) if answer.status == 503]:
        assert call().status in (200, 201)
    assert {answer.status for answer in answers} <= {201, 503}
    assert [payer.balance(account) for payer, account in payers] == [0] * CLIENTS
