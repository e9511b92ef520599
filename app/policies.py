"""What each part of the bank is told when it starts: one frozen policy for each. `config` makes them."""

from dataclasses import dataclass, field
from datetime import timedelta

# No setting lets a refresh token live longer.
REFRESH_LIFETIME_MAX = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class MongoPolicy:
    """Which replica set, and how long one operation may take."""

    uri: str
    timeout_ms: int = 4_000


@dataclass(frozen=True, slots=True)
class LedgerPolicy:
    """At most `queue_size_max` transfers wait in a process, and `batch_size_max` share a block.

    A caller waits at most `timeout_ms` for its turn, and a block has `timeout_ms` to succeed.
    """

    batch_size_max: int = 200
    queue_size_max: int = 2_000
    timeout_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """How tokens are signed, how long sessions live, what a password's hash costs, and whether guesses are delayed."""

    secret: str = field(repr=False)
    access_lifetime: timedelta = timedelta(minutes=15)
    refresh_lifetime: timedelta = timedelta(days=30)
    bcrypt_rounds: int = 12
    delays_guesses: bool = True


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """How the application meets the network: limits, and whose word counts."""

    body_bytes_max: int = 512 * 1024
    ratelimit_enabled: bool = True
    ratelimit_auth: str = "120/minute"
    ratelimit_money: str = "600/minute"
    ratelimit_read: str = "1200/minute"
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailPolicy:
    """How mail leaves. Without a server, and with a `problem`, it waits in the outbox and nothing else is affected."""

    server: str | None = None
    port: int = 25
    use_tls: bool = False
    use_ssl: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str = "Fincore <no-reply@fincore.example>"
    # Whether the workers deliver, each in a thread; if not, `flask mail deliver --loop` has to run.
    in_workers: bool = True
    problem: str | None = None
