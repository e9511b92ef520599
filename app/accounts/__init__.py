"""Accounts: who owns them, what they are called, and whether they are open. Their money is in the ledger."""
