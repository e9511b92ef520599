"""The processes that the bank runs in: what they do unasked, how much heavy work they may do, and when they end."""
