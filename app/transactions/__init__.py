"""Movements of money: what was asked for, what became of it, and receipts."""
