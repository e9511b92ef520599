"""Events: what programs are told of a user's accounts, oldest first."""
