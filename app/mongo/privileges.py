"""The rights of the application's role."""

# What the application may do in each collection. None of it can change an entry once it is written.
PRIVILEGES: dict[str, list[str]] = {
    "users": ["find", "insert", "update"],
    "accounts": ["find", "insert", "update"],
    "payees": ["find", "insert", "update", "remove"],
    "transactions": ["find", "insert", "update"],
    "reversals": ["find", "insert"],
    "ledger_entries": ["find", "insert"],
    "audit_log": ["find", "insert"],
    "revoked_tokens": ["find", "insert", "update"],
    "leases": ["find", "insert", "update"],
    "password_resets": ["find", "insert", "update", "remove"],
    "login_failures": ["find", "insert", "update", "remove"],
    "known_clients": ["find", "insert", "update"],
    "rate_limits": ["find", "insert", "update"],
    "outbox": ["find", "insert", "update"],
    "webhooks": ["find", "insert", "update", "remove"],
    "webhook_deliveries": ["find", "insert", "update"],
    "feed": ["find", "insert", "update"],
    "letter_counts": ["find", "insert", "update"],
    "receipt_keys": ["find", "insert"],
    "schema": ["find"],
}
