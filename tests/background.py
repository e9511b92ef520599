"""The background work that servers under test do in the tests' database."""

from app.outbox import feed
from app.webhooks import dispatch


def settle() -> None:
    """Do now what they would soon do about committed news, so that they change nothing more.

    This is for tests that compare the database before and after.
    """
    while feed.place():
        pass
    dispatch.spread()
