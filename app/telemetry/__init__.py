"""What the bank counts and times, for those who watch over it."""
