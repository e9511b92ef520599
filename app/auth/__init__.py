"""Who a caller is: registration, passwords and how they are protected, sessions and their tokens."""
