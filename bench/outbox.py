"""What the outbox costs a transfer: the same postings with and without their news, in turns, in one run.

    python -m bench.outbox

It starts a replica set of its own in a temporary directory. The figures are medians over the rounds; the ratio is
what counts, because it does not depend on the machine.
"""

import statistics
import time

from bson import ObjectId

from app import ledger, mongo
from app.accounts.service import open_account
from app.auth.roles import roles_of
from app.ledger.commands import Transfer
from app.ledger.records import TransactionKind, treasury_id
from app.outbox import repository as outbox
from app.settings.policies import LedgerPolicy, MongoPolicy
from bench.bank import own_replica_set
from bench.extent import extent

ROUNDS = extent(15, brief=1)
TRANSFERS_PER_ROUND = extent(200, brief=2)
BLOCK_SIZES = (1, 10, 50, 200)
TIMEOUT_MS = 20_000
FUNDS = 10**12


def main() -> None:
    with own_replica_set() as (_, uri):
        mongo.connect(MongoPolicy(uri, timeout_ms=TIMEOUT_MS))
        tell_of_postings(True)
        compare()


def tell_of_postings(tells: bool) -> None:
    policy = LedgerPolicy(batch_size_max=max(BLOCK_SIZES), queue_size_max=10_000, timeout_ms=TIMEOUT_MS)
    ledger.configure(policy, witnesses=(outbox.tell,) if tells else (), roles=roles_of)


def compare() -> None:
    payer, payee = ObjectId(), ObjectId()
    accounts = [open_account(user_id=user, currency="INR", name=None)["_id"] for user in (payer, payee)]
    ledger.post([transfer(payer, TransactionKind.FUNDING, treasury_id("INR"), accounts[0], FUNDS)])
    print(f"{'block':>6} {'without':>12} {'with':>12} {'ratio':>6}   (ms per transfer, median of {ROUNDS} rounds)")
    for size in BLOCK_SIZES:
        with_messages, without = [], []
        for _ in range(ROUNDS):
            tell_of_postings(False)
            without.append(milliseconds_per_transfer(payer, accounts, size))
            tell_of_postings(True)
            with_messages.append(milliseconds_per_transfer(payer, accounts, size))
        before, after = statistics.median(without), statistics.median(with_messages)
        print(f"{size:>6} {before:>12.3f} {after:>12.3f} {after / before:>6.2f}")


def milliseconds_per_transfer(payer: ObjectId, accounts: list[ObjectId], size: int) -> float:
    count = max(size, TRANSFERS_PER_ROUND)
    source, target = accounts
    commands = [transfer(payer, TransactionKind.TRANSFER, source, target, 1) for _ in range(count)]
    begun = time.perf_counter()
    for start in range(0, count, size):
        ledger.post(commands[start : start + size])
    return (time.perf_counter() - begun) * 1000 / count


def transfer(user: ObjectId, kind: TransactionKind, payer: ObjectId, payee: ObjectId, amount: int) -> Transfer:
    key = ObjectId()
    return Transfer(
        id=key,
        user=user,
        idempotency_key=str(key),
        fingerprint=dict.fromkeys(("fromAccount", "toAccount", "amount", "idempotencyKey"), "0" * 32),
        salt=bytes(16),
        kind=kind,
        from_account=payer,
        to_account=payee,
        amount=amount,
    )


if __name__ == "__main__":
    main()
