"""Every reason for which Fincore refuses a request.

There is one class per reason, with its code, HTTP status and title. Its docstring is the text of
the page /problems/<code>. An instance adds the details of one case. One handler in `app.http`
turns these errors into problem documents (RFC 9457).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

FieldErrors = Mapping[str, Any]

_UNKNOWN_EFFECT = (
    "If the request changes something, it is not known whether it took effect: repeat it with the same "
    "idempotency key, which never applies it twice."
)


class DomainError(Exception):
    """A refusal that a client can understand and act on.

    `detail` explains the case to people, `errors` maps fields to messages,
    and `members` are further members of the problem document.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    # The `detail` of a case that has none of its own: what happened, and what to do. The command line shows it alone.
    advice: ClassVar[str | None] = None
    status: int
    # After this many seconds it makes sense to try again; sent as Retry-After.
    retry_after_seconds: int | None = None
    # The error code of RFC 6750, section 3.1, if a token was sent and is refused.
    bearer_error: ClassVar[str | None] = None
    # Whether this repeats the outcome of an earlier request with the same idempotency key.
    replayed: bool = False

    def __init__(self, detail: str | None = None, *, errors: FieldErrors | None = None, **members: Any) -> None:
        self.detail = detail or self.advice or self.title
        super().__init__(self.detail)
        self.errors = errors
        self.members = members


class MalformedJson(DomainError):
    """The body is not one JSON document in UTF-8. Nothing was done. Check quotes, commas, duplicate keys in one
    object, numbers too large for any JSON reader, and the encoding."""

    code, status, title = "malformed_json", 400, "The body is not valid JSON"


class InvalidCursor(DomainError):
    """The cursor does not come from this list. Use `nextCursor` of the previous page, unchanged and with the
    same filters, or leave it out to start at the first page."""

    code, status, title = "invalid_cursor", 400, "The cursor is not valid"
    advice = "Use `nextCursor` of the page before, unchanged and with the same filters, or start without a cursor."


class TokenMissing(DomainError):
    """The call needs a token. Send the header `Authorization: Bearer <token>` with the token from the answer of
    `POST /api/auth/login`."""

    code, status, title = "token_missing", 401, "A token is needed"
    advice = "Send the header `Authorization: Bearer TOKEN`, with the token from a login."


class TokenInvalid(DomainError):
    """The token was not issued by this bank for this use, or it was changed. Log in again."""

    code, status, title = "token_invalid", 401, "The token is not valid"
    advice = "It was not issued by this bank for this use, or it was changed. Log in again."
    bearer_error = "invalid_token"


class TokenExpired(DomainError):
    """The token was valid and has expired. Refresh the session with its refresh token, or log in again."""

    code, status, title = "token_expired", 401, "The token has expired"
    advice = "Refresh the session with its refresh token, or log in again."
    bearer_error = "invalid_token"


class TokenRevoked(DomainError):
    """The session of this token has ended: by a logout, by a change of the password, or because a refresh token was
    used a second time. Log in again."""

    code, status, title = "token_revoked", 401, "The token has been revoked"
    advice = "Its session has ended. Log in again."
    bearer_error = "invalid_token"


class InvalidCredentials(DomainError):
    """The e-mail address or the password is wrong. The answer does not tell which."""

    code, status, title = "invalid_credentials", 401, "Wrong e-mail or password"
    advice = "The e-mail address or the password is wrong. If you have forgotten the password, ask for a reset."


class Forbidden(DomainError):
    """The call is reserved for a role that this user does not have."""

    code, status, title = "forbidden", 403, "Not allowed for this user"


class NotFound(DomainError):
    """There is no call at this address. /api/docs lists all calls."""

    code, status, title = "not_found", 404, "No such address"
    advice = "There is no call at this address. /api/docs lists all calls."


class AccountNotFound(DomainError):
    """There is no such account, or it is not yours. The answer is the same in both cases."""

    code, status, title = "account_not_found", 404, "No such account"
    advice = "There is no such account, or you may not see it."


class TransactionNotFound(DomainError):
    """There is no such transaction, or you may not see it: you are not a party to it, or it was declined and somebody
    else initiated it. The answer is the same in all cases."""

    code, status, title = "transaction_not_found", 404, "No such transaction"
    advice = "There is no such transaction, or you may not see it."


class WebhookNotFound(DomainError):
    """There is no such webhook, or it is not yours. The answer is the same in both cases."""

    code, status, title = "webhook_not_found", 404, "No such webhook"
    advice = "There is no such webhook, or it is not yours."


class DeliveryNotFound(DomainError):
    """The webhook has no such delivery, or it is older than 30 days."""

    code, status, title = "delivery_not_found", 404, "No such delivery"
    advice = "The webhook has no such delivery, or it is older than 30 days."


class UserNotFound(DomainError):
    """There is no such user."""

    code, status, title = "user_not_found", 404, "No such user"


class PayeeNotFound(DomainError):
    """No account with this number can be paid to: nobody has the number, or the account is closed. Or you have saved
    no such payee."""

    code, status, title = "payee_not_found", 404, "No such payee"
    advice = "No open account has this number, or you have saved no such payee."


class MethodNotAllowed(DomainError):
    """The address exists, but not for this HTTP method. The header `Allow` lists the methods it has."""

    code, status, title = "method_not_allowed", 405, "Method not allowed here"
    advice = "The address does not have this method. The header `Allow` lists those that it has."


class EmailTaken(DomainError):
    """A user with this e-mail address is already registered. Log in, or register with another address."""

    code, status, title = "email_taken", 409, "This e-mail address is registered already"
    advice = "This e-mail address is registered already. Log in, ask for a password reset, or take another address."


class AccountNotEmpty(DomainError):
    """An account can be closed only if its balance is zero and it has no open holds, as payer or payee."""

    code, status, title = "account_not_empty", 409, "The account is not empty"


class InvalidStatusTransition(DomainError):
    """The account cannot change from its present status to this one. ACTIVE and FROZEN can change into each other and
    into CLOSED. CLOSED is final."""

    code, status, title = "invalid_status_transition", 409, "The account cannot change to this status"


class AlreadyReversed(DomainError):
    """The transaction has already been reversed. It can be reversed once; `reversedBy` names the reversal."""

    code, status, title = "already_reversed", 409, "The transaction is reversed already"


class NotReversible(DomainError):
    """Only a completed transfer, funding or captured hold can be reversed."""

    code, status, title = "not_reversible", 409, "The transaction cannot be reversed"


class HoldNotPending(DomainError):
    """The transaction is not an open hold: it was captured or voided, has expired, or was never a hold."""

    code, status, title = "hold_not_pending", 409, "The hold is not open"


class BodyTooLarge(DomainError):
    """The body is larger than this server accepts."""

    code, status, title = "body_too_large", 413, "The body is too large"


class UnsupportedMediaType(DomainError):
    """Bodies are JSON: send the header `Content-Type: application/json`."""

    code, status, title = "unsupported_media_type", 415, "The body must be JSON"


class ValidationFailed(DomainError):
    """The request is well-formed, but something in it is missing, unknown or outside its limits. `errors` names
    each invalid field with the reasons. Nothing was done, and an idempotency key in the request is still unused."""

    code, status, title = "validation_failed", 422, "The request has invalid fields"


class WebhookUrlRefused(DomainError):
    """A webhook may not have this URL. It must start with https://, name a public host, and have no user name, no
    fragment, and no port below 1024 but 80 and 443. All addresses of the host must be public."""

    code, status, title = "webhook_url_refused", 422, "This URL may not be called"


class ResetTokenInvalid(DomainError):
    """The reset token is unknown, was used, has expired, or was mailed before the password last changed. Ask for a
    new one."""

    code, status, title = "reset_token_invalid", 422, "The reset token is not valid"
    advice = "It is unknown, used, too old, or from before the last change of the password. Ask for a new one."


class InsufficientFunds(DomainError):
    """The paying account's available balance is smaller than the amount. The attempt is recorded as a FAILED
    transaction and moved nothing; try again with a new idempotency key."""

    code, status, title = "insufficient_funds", 422, "Insufficient funds"


class AccountNotActive(DomainError):
    """Only ACTIVE accounts can move money, and one of the two is not ACTIVE. The attempt is recorded as a FAILED
    transaction and moved nothing; try again with a new idempotency key when the account is ACTIVE."""

    code, status, title = "account_not_active", 422, "An account is not active"


class CurrencyMismatch(DomainError):
    """Both accounts of a transfer must have the same currency. Fincore does not exchange currencies."""

    code, status, title = "currency_mismatch", 422, "The accounts have different currencies"


class SameAccount(DomainError):
    """Payer and payee are the same account."""

    code, status, title = "same_account", 422, "Payer and payee are the same account"


class IdempotencyKeyReused(DomainError):
    """This idempotency key was used for another request. `errors` names the fields that differ. Repeat the request
    unchanged to get its outcome, or use a new key for a new request."""

    code, status, title = "idempotency_key_reused", 422, "The idempotency key was used for another request"


class BalanceLimitExceeded(DomainError):
    """A balance would leave the range that every JSON reader holds exactly, ±9 007 199 254 740 991 minor units.
    The attempt is recorded as a FAILED transaction and moved nothing."""

    code, status, title = "balance_limit_exceeded", 422, "A balance limit would be exceeded"


class CaptureExceedsHold(DomainError):
    """The amount is larger than the hold. At most the held amount can be captured."""

    code, status, title = "capture_exceeds_hold", 422, "The amount is more than the hold"


class RateLimited(DomainError):
    """Too many requests in a short time. The header `Retry-After` says how many seconds to wait."""

    code, status, title = "rate_limited", 429, "Too many requests"


class TooManyAttempts(DomainError):
    """Too many wrong passwords. The header `Retry-After` says how many seconds to wait before the next try."""

    code, status, title = "too_many_attempts", 429, "Too many wrong passwords"


class InternalError(DomainError):
    """The fault is ours. It is in the log under the request id; please quote that id to us. A request with an
    idempotency key can safely be repeated with the same key."""

    code, status, title = "internal_error", 500, "Something went wrong on our side"
    advice = f"The fault is ours, and is in our log under the request id. {_UNKNOWN_EFFECT}"


class LedgerBusy(DomainError):
    """The ledger has more postings to make than it can keep up with. If `detail` says that nothing was done, nothing
    was. Otherwise it is not known whether the request took effect. In both cases, repeat it with the same idempotency
    key after `Retry-After` seconds: that never applies it twice."""

    code, status, title = "ledger_busy", 503, "The ledger is busy"
    advice = f"The ledger could not do this in time. {_UNKNOWN_EFFECT}"
    retry_after_seconds = 1


class ServiceUnavailable(DomainError):
    """The database cannot be reached or is not ready, the clock of this host is wrong, or there is too much heavy work.
    If `detail` says that nothing was done, nothing was. Otherwise it is not known whether the request took effect. In
    all cases, repeat it with the same idempotency key after `Retry-After` seconds: that never applies it twice."""

    code, status, title = "service_unavailable", 503, "The service is unavailable"
    advice = f"The database does not answer. {_UNKNOWN_EFFECT}"
    retry_after_seconds = 2


PROBLEMS: dict[str, type[DomainError]] = {problem.code: problem for problem in DomainError.__subclasses__()}


def blank_problem(status: HTTPStatus, request_id: str) -> dict[str, Any]:
    """Return the problem document for an HTTP status that is none of the reasons above (RFC 9457, section 4.2.1)."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": status.description or status.phrase,
        "code": status.name.lower(),
        "requestId": request_id,
    }
