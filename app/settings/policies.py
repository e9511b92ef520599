"""The policies: one frozen object with the settings of each part of the bank. `config` makes them at the start."""

from dataclasses import dataclass, field
from datetime import timedelta

# No setting lets a refresh token live longer.
REFRESH_LIFETIME_MAX = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class MongoPolicy:
    """Which replica set to use, and how long one operation may take."""

    uri: str
    timeout_ms: int = 4_000


@dataclass(frozen=True, slots=True)
class LedgerPolicy:
    """The limits of group commit. At most `batch_size_max` transfers share a block.

    A caller waits at most `timeout_ms` for its turn, and a block has `timeout_ms` to succeed. A caller that would not
    get its turn in time is refused at once. `queue_size_max` only bounds the memory of a process.
    """

    batch_size_max: int = 200
    queue_size_max: int = 50_000
    timeout_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """How tokens are signed, how long sessions live, what password hashes cost, and whether guesses are delayed."""

    secret: str = field(repr=False)
    # What it signed is still accepted, but it signs nothing.
    previous_secret: str | None = field(default=None, repr=False)
    access_lifetime: timedelta = timedelta(minutes=15)
    refresh_lifetime: timedelta = timedelta(days=30)
    bcrypt_rounds: int = 12
    delays_guesses: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets whose signatures are accepted. The first one signs."""
        return (self.secret,) if self.previous_secret is None else (self.secret, self.previous_secret)


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """The limits of requests, and which proxies and origins are trusted."""

    body_bytes_max: int = 512 * 1024
    ratelimit_enabled: bool = True
    ratelimit_auth: str = "120/minute"
    ratelimit_money: str = "600/minute"
    ratelimit_read: str = "1200/minute"
    ratelimit_lookup: str = "30/minute"
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkPolicy:
    """How many requests with heavy work a process admits, including waiting ones, and how many of them run at once."""

    documents_max: int = 8
    documents_at_once: int = 2
    documents_per_user_at_once: int = 2
    passwords_max: int = 16
    passwords_at_once: int = 1
    # How many requests may wait for events, each on a thread.
    waiting_max: int = 8


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """Which networks webhooks may reach in addition to public addresses, over http too."""

    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailPolicy:
    """How mail is sent. Without a server, or with a `problem`, it waits in the outbox; nothing else is affected."""

    server: str | None = None
    port: int = 25
    use_tls: bool = False
    use_ssl: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str = "Fincore <no-reply@fincore.example>"
    # Whether a secret, such as a reset token, may go over a connection that is not encrypted.
    secrets_in_clear: bool = True
    # How many letters one reader gets in one day, not counting security mail. Messages beyond that come together in one
    # letter. 0 means no limit, and a letter for each message.
    letters_per_day: int = 50
    # The same for one minute. It has no effect without a limit for a day.
    letters_per_minute: int = 10
    # Whether the workers deliver mail while no `flask mail deliver --loop` runs.
    in_workers: bool = True
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TracePolicy:
    """Where spans go, by OTLP over HTTP, and under which name. Without a URL, no spans are made."""

    url: str | None = None
    service_name: str = "fincore"
