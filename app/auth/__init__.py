"""Who somebody is: registration, sessions and their tokens, passwords and what guards them."""
