"""Examples of problem documents for the API's description, one for each code."""

from typing import Any

from app.errors import DomainError

_DECLINED = {"transactionId": "6560a1b2c3d4e5f601234891"}
# What an example contains besides its code, title and status.
_DETAILS: dict[str, dict[str, Any]] = {
    "malformed_json": {"detail": "The body is not valid JSON: unexpected end of data: line 1 column 18 (char 17)."},
    "forbidden": {"detail": "This needs the role SYSTEM."},
    "account_not_empty": {"detail": "The account still has money."},
    "invalid_status_transition": {"detail": "The account is CLOSED and cannot become ACTIVE."},
    "already_reversed": {"detail": "The transaction was reversed by 6560a1b2c3d4e5f601234892."},
    "not_reversible": {"detail": "This is a FAILED TRANSFER."},
    "unsupported_media_type": {
        "detail": "Send the body as JSON with the header `Content-Type: application/json`.",
    },
    "validation_failed": {
        "detail": "Invalid: amount.",
        "errors": {"amount": ["Not an amount: give whole minor units as a JSON integer, such as 500 for ₹5.00."]},
    },
    "insufficient_funds": {
        "detail": "500 minor units of INR were asked for and 300 are available.",
        **_DECLINED,
    },
    "account_not_active": {"detail": "The receiving account is not active.", **_DECLINED},
    "balance_limit_exceeded": {"detail": "The receiving account cannot hold that much.", **_DECLINED},
    "capture_exceeds_hold": {"detail": "600 was asked for and 500 is held."},
    "currency_mismatch": {"detail": "fromAccount is in INR, toAccount in JPY."},
    "same_account": {"detail": "fromAccount and toAccount are the same account."},
    "idempotency_key_reused": {
        "detail": "The idempotency key was used at 2026-11-22 16:00:00 UTC for a request that differs in amount.",
        "errors": {"amount": ["Differs from the first request with this idempotency key."]},
    },
    "rate_limited": {"detail": "At most 600 per 1 minute. Wait 42 seconds."},
}
_REQUEST_ID = "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4"


def problem_example(problem: type[DomainError]) -> dict[str, Any]:
    """Return the problem document that refuses a request for this reason."""
    return {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.advice or problem.title,
        "code": problem.code,
        "requestId": _REQUEST_ID,
        **_DETAILS.get(problem.code, {}),
    }
