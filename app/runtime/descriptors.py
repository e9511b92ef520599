"""How many files and connections this process may have open."""

import resource


def allow(wanted: int) -> int:
    """Raise the limit of descriptors to `wanted` as far as we may, if it is lower; return how many can be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
