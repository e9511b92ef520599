"""Mail to people: turns outbox messages into letters and sends them."""
