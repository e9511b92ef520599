"""Events: what programs can read about a user's accounts, oldest first."""
