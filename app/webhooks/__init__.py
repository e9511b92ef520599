"""Webhooks: users' own addresses, which are told of events as they happen."""
