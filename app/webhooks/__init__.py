"""Webhooks: users' own addresses, to which the bank sends events as they happen."""
