"""A journey through everything that the bank can do, from registering to logging out, for the Postman collection.

Each step is a call of the API's description with what it sends, what has to be answered, and what later steps need of
it. `{{name}}` stands for a variable of the environment, and `{{#name}}` for one that is a number or JSON.
"""

from clients.steps import Step
from clients.steps import code as _code
from clients.steps import is_ as _is
from clients.webhooks import WEBHOOKS

_ID = "000000000000000000000000"


_CURRENT, _SAVINGS = {"accountId": "{{currentAccount}}"}, {"accountId": "{{savingsAccount}}"}
_TRANSFER = {
    "fromAccount": "{{currentAccount}}",
    "toAccount": "{{benAccount}}",
    "amount": 500,
    "idempotencyKey": "{{key}}",
}
_TRANSACTION, _HOLD = {"transactionId": "{{transferId}}"}, {"holdId": "{{holdId}}"}
_SESSION = {"token": "body.token", "refreshToken": "body.refreshToken"}
_TRANSACTION_ID = "body.transaction.id"


_REGISTER = [
    Step(
        "Asha registers",
        "register",
        201,
        {"name": "Asha Rao", "email": "{{email}}", "password": "{{password}}"},
        token=None,
        keeps={**_SESSION, "userId": "body.user.id"},
    ),
    Step(
        "Her address is taken now",
        "register",
        409,
        {"name": "Asha Rao", "email": "{{email}}", "password": "{{password}}"},
        token=None,
        checks=_code("email_taken"),
    ),
    Step(
        "Ben registers",
        "register",
        201,
        {"name": "Ben Cole", "email": "ben-{{email}}", "password": "{{password}}"},
        token=None,
        keeps={"benToken": "body.token", "benId": "body.user.id"},
    ),
    Step(
        "The bank logs in",
        "login",
        200,
        {"email": "{{systemEmail}}", "password": "{{systemPassword}}"},
        token=None,
        keeps={"systemToken": "body.token"},
        checks=(_is("user.role", "SYSTEM"),),
    ),
    Step("Who is Asha?", "getMe", 200, checks=('body.user.name === "Asha Rao"',)),
    Step(
        "Asha changes her name", "renameMe", 200, {"name": "Asha Rao-Iyer"}, checks=(_is("user.name", "Asha Rao-Iyer"),)
    ),
]
_ACCOUNTS = [
    Step(
        "Asha opens an account", "createAccount", 201, {"currency": "INR"}, keeps={"currentAccount": "body.account.id"}
    ),
    Step("And one for savings", "createAccount", 201, {"name": "Savings"}, keeps={"savingsAccount": "body.account.id"}),
    Step("Ben opens one", "createAccount", 201, {}, token="benToken", keeps={"benAccount": "body.account.id"}),
    Step(
        "Asha names hers",
        "renameAccount",
        200,
        {"name": "Current"},
        path=_CURRENT,
        checks=(_is("account.name", "Current"),),
    ),
    Step("Asha's accounts", "listAccounts", 200, checks=("body.accounts.length === 2",)),
    Step("One of them", "getAccount", 200, path=_CURRENT, checks=(_is("account.status", "ACTIVE"),)),
    Step("Ben does not see it", "getAccount", 404, token="benToken", path=_CURRENT, checks=_code("account_not_found")),
    Step(
        "The bank funds it",
        "fundAccount",
        201,
        {"toAccount": "{{currentAccount}}", "amount": 100_000, "idempotencyKey": "{{key}}"},
        token="systemToken",
        checks=(_is("transaction.kind", "FUNDING"),),
    ),
]
_TRANSFERS = [
    Step(
        "A transfer, as a dry run",
        "createTransfer",
        200,
        _TRANSFER,
        query={"dryRun": "true"},
        checks=("body.dryRun === true", _is("transaction.id", _ID), "body.balances[0].balance === 99500"),
    ),
    Step(
        "The transfer",
        "createTransfer",
        201,
        _TRANSFER,
        keeps={"transferId": _TRANSACTION_ID},
        checks=(_is("transaction.status", "COMPLETED"), 'pm.response.headers.has("Location")'),
    ),
    Step(
        "The same again: no more money moves",
        "createTransfer",
        200,
        _TRANSFER,
        new_key=False,
        checks=(
            'body.transaction.id === pm.environment.get("transferId")',
            'pm.response.headers.get("Idempotency-Replayed") === "true"',
        ),
    ),
    Step(
        "Another transfer under the same key",
        "createTransfer",
        422,
        {**_TRANSFER, "amount": 501},
        new_key=False,
        checks=(*_code("idempotency_key_reused"), '"amount" in body.errors'),
    ),
    Step(
        "More than there is",
        "createTransfer",
        422,
        {**_TRANSFER, "amount": 10_000_000},
        keeps={"declinedId": "body.transactionId"},
        checks=_code("insufficient_funds"),
    ),
    Step(
        "The transfer, looked up", "getTransaction", 200, path=_TRANSACTION, checks=("body.transaction.amount === 500",)
    ),
    Step(
        "The declined one",
        "getTransaction",
        200,
        path={"transactionId": "{{declinedId}}"},
        checks=(_is("transaction.failure.code", "insufficient_funds"),),
    ),
]
_HOLDS = [
    Step(
        "A hold",
        "createHold",
        201,
        {**_TRANSFER, "amount": 2_000, "expiresIn": 3_600},
        keeps={"holdId": _TRANSACTION_ID},
        checks=(_is("transaction.status", "PENDING"),),
    ),
    Step(
        "Ben takes a part of it",
        "captureHold",
        200,
        {"amount": 1_500, "idempotencyKey": "{{key}}"},
        token="benToken",
        path=_HOLD,
        checks=(_is("transaction.status", "COMPLETED"), "body.transaction.heldAmount === 2000"),
    ),
    Step("Another hold", "createHold", 201, {**_TRANSFER, "amount": 700}, keeps={"holdId": _TRANSACTION_ID}),
    Step(
        "Ben gives it back",
        "voidHold",
        200,
        {"reason": "Out of stock", "idempotencyKey": "{{key}}"},
        token="benToken",
        path=_HOLD,
        checks=(_is("transaction.status", "VOIDED"),),
    ),
    Step(
        "It is open no longer",
        "captureHold",
        409,
        {"idempotencyKey": "{{key}}"},
        token="benToken",
        path=_HOLD,
        checks=_code("hold_not_pending"),
    ),
]
_ITEM = {"fromAccount": "{{currentAccount}}", "toAccount": "{{savingsAccount}}", "amount": 1_000}
_BATCHES = [
    Step(
        "Two transfers in one",
        "createBatch",
        201,
        {"idempotencyKey": "{{key}}", "transfers": [_ITEM, {**_ITEM, "toAccount": "{{benAccount}}"}]},
        checks=("body.results.every((result) => result.transaction)",),
    ),
    Step(
        "All or none: the second is too much",
        "createBatch",
        422,
        {"idempotencyKey": "{{key}}", "transfers": [_ITEM, {**_ITEM, "amount": 10_000_000}]},
        checks=(*_code("insufficient_funds"), "body.index === 1"),
    ),
]
_READING = [
    Step(
        "What Asha's programs are told, oldest first",
        "listEvents",
        200,
        query={"limit": "3"},
        keeps={"place": "body.nextAfter", "oldest": "body.events[0].id"},
        checks=("body.events.length === 3", _is("events[0].type", "user.welcome")),
    ),
    Step(
        "And on from there",
        "listEvents",
        200,
        query={"after": "{{place}}", "types": "money.sent,account.renamed"},
        checks=("body.events.length > 0", 'body.events.every((each) => each.id !== pm.environment.get("oldest"))'),
    ),
    Step(
        "The history, its first page",
        "listTransactions",
        200,
        query={"limit": "3"},
        keeps={"cursor": "body.nextCursor", "newest": "body.transactions[0].id"},
        checks=("body.transactions.length === 3",),
    ),
    Step(
        "And the next",
        "listTransactions",
        200,
        query={"limit": "3", "cursor": "{{cursor}}"},
        checks=('body.transactions.every((each) => each.id !== pm.environment.get("newest"))',),
    ),
    Step("The journal", "listEntries", 200, path=_CURRENT, query={"limit": "5"}, checks=("body.entries.length === 5",)),
    Step("The balance", "getBalance", 200, path=_CURRENT, checks=("body.balance === 96000",)),
    Step("The balance over time", "getBalanceHistory", 200, path=_CURRENT, checks=("body.points.length > 1",)),
    Step(
        "A statement",
        "getStatement",
        200,
        path=_CURRENT,
        keeps={"statement": "JSON.stringify(body)"},
        checks=("body.closingBalance === 96000",),
    ),
    Step("Is it genuine?", "verifyStatement", 200, "{{#statement}}", checks=("body.genuine === true",)),
    Step("As CSV", "getStatementCsv", 200, path=_CURRENT),
    Step("As PDF", "getStatementPdf", 200, path=_CURRENT),
    Step("A receipt", "getReceipt", 200, path=_TRANSACTION, checks=('body.receipt.split(".").length === 3',)),
    Step("The keys that check it", "getReceiptKeys", 200, token=None, checks=(_is("keys[0].alg", "EdDSA"),)),
]
_BANK = [
    Step(
        "The bank freezes the account",
        "changeAccountStatus",
        200,
        {"status": "FROZEN", "reason": "Reported stolen"},
        token="systemToken",
        path=_CURRENT,
        checks=(_is("account.status", "FROZEN"),),
    ),
    Step("A frozen account moves no money", "createTransfer", 422, _TRANSFER, checks=_code("account_not_active")),
    Step(
        "And unfreezes it",
        "changeAccountStatus",
        200,
        {"status": "ACTIVE", "reason": "Found again"},
        token="systemToken",
        path=_CURRENT,
    ),
    Step(
        "The bank reverses the transfer",
        "reverseTransaction",
        201,
        {"idempotencyKey": "{{key}}", "reason": "Paid twice"},
        token="systemToken",
        path=_TRANSACTION,
        checks=(_is("transaction.kind", "REVERSAL"),),
    ),
    Step(
        "It can be reversed once",
        "reverseTransaction",
        409,
        {"idempotencyKey": "{{key}}", "reason": "Paid twice"},
        token="systemToken",
        path=_TRANSACTION,
        checks=_code("already_reversed"),
    ),
    Step(
        "The audit log",
        "listAuditRecords",
        200,
        token="systemToken",
        query={"subject": "{{currentAccount}}"},
        checks=('body.records.some((record) => record.action === "account_frozen")',),
    ),
    Step("Asha may not read it", "listAuditRecords", 403, checks=_code("forbidden")),
    Step(
        "The users",
        "listUsers",
        200,
        token="systemToken",
        query={"q": "{{userId}}"},
        checks=("body.users.length === 1",),
    ),
    Step("All accounts", "listAllAccounts", 200, token="systemToken", query={"limit": "2"}),
    Step(
        "Ben joins the bank",
        "changeRole",
        200,
        {"role": "ADMIN", "reason": "Joined the operations team"},
        token="systemToken",
        path={"userId": "{{benId}}"},
        checks=(_is("user.role", "ADMIN"),),
    ),
    Step("The whole ledger, added up", "getTrialBalance", 200, token="systemToken", checks=("body.balanced === true",)),
]
_END = [
    Step(
        "An account with money cannot be closed", "closeAccount", 409, path=_SAVINGS, checks=_code("account_not_empty")
    ),
    Step("What it still has", "getBalance", 200, path=_SAVINGS, keeps={"rest": "body.balance"}),
    Step(
        "It is emptied",
        "createTransfer",
        201,
        {
            **_ITEM,
            "fromAccount": "{{savingsAccount}}",
            "toAccount": "{{currentAccount}}",
            "amount": "{{#rest}}",
            "idempotencyKey": "{{key}}",
        },
    ),
    Step(
        "And closed",
        "closeAccount",
        200,
        {"reason": "No longer needed"},
        path=_SAVINGS,
        checks=(_is("account.status", "CLOSED"),),
    ),
    Step("Does the bank run?", "getHealth", 200, token=None, checks=(_is("status", "ok"),)),
    Step("And is it ready?", "getReadiness", 200, token=None, checks=(_is("status", "ready"),)),
    Step("What it measures", "getMetrics", 200, token=None),
    Step("Asha forgot her password", "forgotPassword", 202, {"email": "{{email}}"}, token=None),
    Step(
        "A token from no mail",
        "resetPassword",
        422,
        {"token": "made up", "newPassword": "{{newPassword}}"},
        token=None,
        checks=_code("reset_token_invalid"),
    ),
    Step(
        "Asha changes it", "changePassword", 200, {"currentPassword": "{{password}}", "newPassword": "{{newPassword}}"}
    ),
    Step("New tokens", "refresh", 200, token="refreshToken", keeps=_SESSION),
    Step(
        "Asha logs in on the bank's page",
        "beginSession",
        200,
        {"email": "{{email}}", "password": "{{newPassword}}"},
        token=None,
        keeps={"pageToken": "body.token"},
        checks=('!("refreshToken" in body)',),
    ),
    Step("The page is loaded again", "refreshSession", 200, token=None, keeps={"pageToken": "body.token"}),
    Step("She logs out of it", "endSession", 204, token=None),
    Step("There is no session of the page any more", "refreshSession", 204, token=None),
    Step("Its token is worth nothing", "getMe", 401, token="pageToken", checks=_code("token_revoked")),
    Step("Asha logs out", "logout", 200),
    Step("Her token is worth nothing any more", "getMe", 401, checks=_code("token_revoked")),
]
JOURNEY = [*_REGISTER, *_ACCOUNTS, *_TRANSFERS, *_HOLDS, *_BATCHES, *_READING, *WEBHOOKS, *_BANK, *_END]
