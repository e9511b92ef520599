"""Accounts: their owners, names and status. Their money is in the ledger."""
