"""A list shows each transaction straight from its document, exactly like one that is read alone."""

from datetime import UTC, datetime

import bson
import orjson
from bson import CodecOptions, ObjectId
from bson.codec_options import DatetimeConversion
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import PROBLEMS
from app.http.compiled import dumper_of
from app.ledger.documents import from_transaction, members_of, to_transaction
from app.ledger.records import Failure, Transaction, TransactionKind, TransactionStatus, item_key
from app.transactions.schemas import TransactionSchema
from app.transactions.service import as_seen_by, members_as_seen_by

DECODED: CodecOptions[dict[str, object]] = CodecOptions(tz_aware=True)
LISTED: CodecOptions[dict[str, object]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
SCHEMA = TransactionSchema()
DUMP = dumper_of(SCHEMA)

IDS = st.binary(min_size=12, max_size=12).map(ObjectId)
USERS = st.sampled_from([ObjectId("0" * 23 + digit) for digit in "123"])
MONEY = st.integers(1, 2**63 - 1)
TIMES = st.integers(0, 4_000_000_000_000).map(lambda since: datetime.fromtimestamp(since // 1000, UTC)) | st.just(
    datetime(2026, 11, 22, 16, 0, 0, 123_000, tzinfo=UTC)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
TRANSACTIONS = st.builds(
    Transaction,
    id=IDS,
    user=USERS,
    idempotency_key=st.sampled_from(["rent-2026-11", item_key("salaries", 7)]),
    fingerprint=st.just({"amount": "6b86"}),
    kind=st.sampled_from(TransactionKind),
    from_account=IDS,
    to_account=IDS,
    amount=MONEY,
    currency=st.sampled_from(["INR", "JPY"]),
    status=st.sampled_from(TransactionStatus),
    created_at=TIMES,
    salt=st.none() | st.binary(max_size=16),
    held_amount=st.none() | MONEY,
    failure=st.none() | st.builds(Failure, st.sampled_from(sorted(PROBLEMS)), TEXTS, st.none() | st.integers(0, 499)),
    description=st.none() | TEXTS,
    metadata=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    completed_at=st.none() | TIMES,
    reverses=st.none() | IDS,
    reversed_by=st.none() | IDS,
    expires_at=st.none() | TIMES,
)


@given(transaction=TRANSACTIONS, viewer=USERS | st.none(), is_of_version_1=st.booleans())
@settings(max_examples=100)
def test_a_listed_transaction_reads_like_a_single_one(
    transaction: Transaction, viewer: ObjectId | None, is_of_version_1: bool
) -> None:
    document = from_transaction(transaction)
    if is_of_version_1 and transaction.metadata is not None:
        document["metadata"] = {f"name {name}": value for name, value in transaction.metadata.items()}
    stored = bson.encode(document)

    alone = as_seen_by(viewer, to_transaction(bson.decode(stored, DECODED)))
    listed = members_as_seen_by(viewer, members_of(bson.decode(stored, LISTED)))

    assert orjson.dumps(DUMP(listed)) == orjson.dumps(DUMP(alone)) == orjson.dumps(SCHEMA.dump(alone))
