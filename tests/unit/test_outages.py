"""Which errors of the database mean that it is away, so that a client should come back, and which are bugs."""

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, NetworkTimeout, OperationFailure, PyMongoError

from app import mongo


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("connection closed"),
        NetworkTimeout("timed out"),
        OperationFailure("Given transaction number 10 does not match any in-progress transactions.", 251),
        OperationFailure("Read concern majority reads are currently not possible.", 134),
        OperationFailure("operation was interrupted", 11602),
        OperationFailure("not primary", 10107),
        OperationFailure("write conflict", 112, {"errorLabels": ["TransientTransactionError"]}),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'code', '')}",
)
def test_a_database_that_cannot_serve_just_now_is_away(error: PyMongoError) -> None:
    assert mongo.is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        OperationFailure("Document failed validation", 121),
        OperationFailure("not authorized", 13),
        DuplicateKeyError("duplicate key", 11000),
        ValueError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_would_come_again_is_no_outage(error: Exception) -> None:
    assert not mongo.is_away(error)
