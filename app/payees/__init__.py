"""Payees: who an account number belongs to, as far as a payer may know, and the numbers that a user has saved."""
