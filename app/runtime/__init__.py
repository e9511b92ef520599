"""The processes that the bank runs in: how much of them heavy work may take, and when they end."""
