"""What the bank logs, counts and times, for those who operate it."""
