"""A walk through the bank with the Python client that openapi-python-client makes (see ../clients.md).

python walk.py http://127.0.0.1:5000 SYSTEM_PASSWORD
"""

import sys
from uuid import uuid4

from fincore_client import AuthenticatedClient, Client
from fincore_client.api.accounts import create_account, get_balance
from fincore_client.api.auth import login, register
from fincore_client.api.statements import get_statement, get_statement_pdf, verify_statement
from fincore_client.api.transactions import create_transfer, fund_account, list_transactions
from fincore_client.models import (
    AccountAnswer,
    AccountBalance,
    ClaimedStatement,
    CreateAccount,
    CreateTransfer,
    FundAccount,
    Login,
    Posted,
    Problem,
    Register,
    Session,
    Statement,
    TransactionPage,
    TransactionStatus,
    Verdict,
)
from fincore_client.types import UNSET, File, Unset


def main(address: str, system_password: str) -> None:
    bank = Client(base_url=address)
    somebody = Register(name="Asha Rao", email=f"asha-{uuid4()}@example.com", password="monsoon over the hills")
    session = register.sync(client=bank, body=somebody)
    assert isinstance(session, Session)
    asha = AuthenticatedClient(base_url=address, token=session.token)
    payer, payee = (open_account(asha, name) for name in ("Current", "Savings"))

    staff = login.sync(client=bank, body=Login(email="system@fincore.example", password=system_password))
    assert isinstance(staff, Session)
    system = AuthenticatedClient(base_url=address, token=staff.token)
    large = 6_000_001_000  # more than 32 bits can hold
    funds = FundAccount(to_account=payer, amount=large, idempotency_key=str(uuid4()))
    assert isinstance(fund_account.sync(client=system, body=funds), Posted)

    for number in range(3):
        transfer = CreateTransfer(payer, payee, 500 + number, idempotency_key=str(uuid4()), description=f"No. {number}")
        posted = create_transfer.sync(client=asha, body=transfer)
        assert isinstance(posted, Posted)
        assert posted.transaction.status is TransactionStatus.COMPLETED
        print("Transferred.", posted.transaction.id)

    too_much = CreateTransfer(payer, payee, 2 * large, idempotency_key=str(uuid4()))
    declined = create_transfer.sync(client=asha, body=too_much)
    assert isinstance(declined, Problem)
    print("Declined:", declined.code, "-", declined.detail)

    seen = 0
    cursor: str | Unset = UNSET
    while True:
        page = list_transactions.sync(client=asha, limit=2, cursor=cursor)
        assert isinstance(page, TransactionPage)
        seen += len(page.transactions)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    print("In the history:", seen)

    statement = get_statement.sync(payer, client=asha)
    assert isinstance(statement, Statement)
    verdict = verify_statement.sync(client=asha, body=ClaimedStatement.from_dict(statement.to_dict()))
    assert isinstance(verdict, Verdict)
    print("The statement is genuine:", verdict.genuine, "Credits:", statement.total_credits)
    pdf = get_statement_pdf.sync(payer, client=asha)
    assert isinstance(pdf, File)
    print("And as a file it begins with", pdf.payload.read(4).decode())

    balance = get_balance.sync(payer, client=asha)
    assert isinstance(balance, AccountBalance)
    print("Left:", balance.balance)


def open_account(client: AuthenticatedClient, name: str) -> str:
    answer = create_account.sync(client=client, body=CreateAccount(name=name))
    assert isinstance(answer, AccountAnswer)
    return answer.account.id


if __name__ == "__main__":
    main(*sys.argv[1:])
