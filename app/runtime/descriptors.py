"""How many files and connections this process may have open."""

import resource

# The descriptors of a worker that are not connections of clients: files, logs, and connections to the database, one for
# each thread.
RESERVED = 100


def clients_max(wanted: int, *, threads: int) -> int:
    """Return how many clients may be connected at a time, at most `wanted`.

    If clients could take all descriptors just by connecting, requests would fail for lack of files and connections to
    the database.
    """
    reserved = RESERVED + 2 * threads
    return max(1, min(wanted, allow(wanted + reserved) - reserved))


def allow(wanted: int) -> int:
    """Raise the limit of descriptors to `wanted` as far as we may, if it is lower; return how many can be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
