"""Movements of money: posting them, reading their history, and receipts."""
