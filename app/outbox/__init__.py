"""The outbox: news and messages that are written in the block that they report, and wait to be sent."""
