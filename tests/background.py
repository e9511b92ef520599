"""What the servers that tests run do in the background, in the same database as the tests."""

from app.outbox import feed
from app.webhooks import dispatch


def settle() -> None:
    """Do now what they would do soon with what was committed, so that they change nothing more of it.

    For tests that look whether anything in the database has changed.
    """
    while feed.place():
        pass
    dispatch.spread()
