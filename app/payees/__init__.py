"""Payees: the holder of an account number, as far as a payer may know, and the numbers that a user has saved."""
