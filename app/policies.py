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
    """At most `batch_size_max` transfers share a block.

    A caller waits at most `timeout_ms` for its turn, and a block has `timeout_ms` to succeed. Who would not get a turn
    in time is refused at once; `queue_size_max` only bounds the memory of a process.
    """

    batch_size_max: int = 200
    queue_size_max: int = 50_000
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
class WorkPolicy:
    """How much of a process heavy work may take: so many requests with it at most, waiting ones too, and so many that
    run at one moment, in all and of one user."""

    documents_max: int = 8
    documents_at_once: int = 2
    documents_per_user_at_once: int = 2
    passwords_max: int = 16
    passwords_at_once: int = 1


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
    # Whether a secret, such as a reset token, may go over a connection that is not encrypted.
    secrets_in_clear: bool = True
    # Letters that one reader gets in one day, security mail apart; what is beyond them comes in one. 0: no limit, and
    # each message is a letter of its own.
    letters_per_day: int = 50
    # Whether the workers deliver, each in a thread; if not, `flask mail deliver --loop` has to run.
    in_workers: bool = True
    problem: str | None = None
