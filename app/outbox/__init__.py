"""The outbox: messages that are written in the block of what they report, and wait there to be sent."""
