"""Every setting of Fincore, read from the environment once and typed.

This is the only module that reads the environment. If any variable is bad, the program
names all bad ones and refuses to start.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Any, cast

from dotenv import load_dotenv
from environs import Env, EnvValidationError, ValidationError
from marshmallow.validate import OneOf, Range

from app.addresses import normal_email
from app.auth import passwords
from app.networks import parse_address
from app.settings.policies import (
    REFRESH_LIFETIME_MAX,
    AuthPolicy,
    HttpPolicy,
    LedgerPolicy,
    MailPolicy,
    MongoPolicy,
    TracePolicy,
    WebhookPolicy,
    WorkPolicy,
)
from app.settings.validators import (
    are_networks,
    are_origins,
    is_currency,
    is_mongo_uri,
    is_public_url,
    is_rate,
    is_receipt_key,
    is_strong_secret,
    is_trace_collector,
    or_blank,
    words,
)

ROOT = Path(__file__).resolve().parent
# The mail settings. `make run` writes them into the file of settings for the operator's commands.
MAIL_VARIABLES = (
    "MAIL_SERVER",
    "MAIL_PORT",
    "MAIL_USE_TLS",
    "MAIL_USE_SSL",
    "MAIL_DEFAULT_SENDER",
    "MAIL_DELIVERY",
    "MAIL_LETTERS_PER_DAY",
    "MAIL_LETTERS_PER_MINUTE",
    "EMAIL_USER",
    "EMAIL_PASS",
)
# The original application had only EMAIL_USER and EMAIL_PASS, and sent through Gmail.
MAIL_SERVER_OF_EMAIL_USER = "smtp.gmail.com"
# The first applies to each worker. The second is one user's share of all workers, at least one in each.
DOCUMENTS_AT_ONCE = 2
DOCUMENTS_PER_USER_AT_ONCE = 2
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
LOOPBACK_NETWORKS = "127.0.0.0/8,::1"
LETTERS_MAX = 1_000_000


class ConfigError(Exception):
    """The settings are not fit to start with; the text names each bad variable."""


@dataclass(frozen=True, slots=True)
class Config:
    """The application's settings: a policy for each part, and the settings of the whole bank."""

    mongo: MongoPolicy
    auth: AuthPolicy
    ledger: LedgerPolicy = field(default_factory=LedgerPolicy)
    http: HttpPolicy = field(default_factory=HttpPolicy)
    mail: MailPolicy = field(default_factory=MailPolicy)
    work: WorkPolicy = field(default_factory=WorkPolicy)
    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    default_currency: str = "INR"
    log_level: str = "INFO"
    # Where browsers reach the bank. Letters lead there; without it they have no links.
    public_url: str | None = None
    # The seed of the Ed25519 key that signs receipts. Without it there are no receipts.
    receipt_key: str | None = field(default=None, repr=False)
    # Lets Prometheus read /metrics from another machine.
    metrics_token: str | None = field(default=None, repr=False)
    traces: TracePolicy = field(default_factory=TracePolicy)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How gunicorn serves the application."""

    host: str
    port: int
    workers: int
    threads: int
    request_timeout_s: int
    keep_alive_s: int
    # The directory in which the workers and the deliverer share their counts. With None, gunicorn makes one.
    metrics_dir: Path | None


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """What `make run` starts and where it keeps its data."""

    data_dir: Path
    server: ServerConfig
    mongo_uri: str | None
    jwt_secret: str | None
    receipt_key: str | None
    mail: dict[str, str]
    system_email: str
    system_password: str | None
    webhook_allow: str
    public_url: str | None


def load() -> Config:
    """Read the application's settings; raises ConfigError naming every bad variable."""
    env = _env()
    limited = env.bool("RATELIMIT_ENABLED", True)
    config = Config(
        mongo=MongoPolicy(
            uri=env.str("MONGO_URI", validate=is_mongo_uri),
            timeout_ms=env.int("MONGO_TIMEOUT_MS", 4_000, validate=Range(100, 60_000)),
        ),
        auth=AuthPolicy(
            secret=env.str("JWT_SECRET", validate=is_strong_secret),
            previous_secret=env.str("JWT_SECRET_PREVIOUS", "", validate=or_blank(is_strong_secret)) or None,
            access_lifetime=timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", 15, validate=Range(1, 24 * 60)) or 0),
            refresh_lifetime=timedelta(
                days=env.int("REFRESH_TOKEN_DAYS", 30, validate=Range(1, REFRESH_LIFETIME_MAX.days)) or 0
            ),
            bcrypt_rounds=env.int("BCRYPT_ROUNDS", 12, validate=Range(4, 16)),
            delays_guesses=limited,
        ),
        ledger=LedgerPolicy(
            batch_size_max=env.int("POST_BATCH_SIZE_MAX", 200, validate=Range(1, 1_000)),
            queue_size_max=env.int("POST_QUEUE_SIZE_MAX", 50_000, validate=Range(1, 100_000)),
            timeout_ms=env.int("POST_TIMEOUT_MS", 10_000, validate=Range(100, 25_000)),
        ),
        http=_http(env, limited=limited),
        mail=load_mail(),
        work=_work(_server(env)),
        webhooks=WebhookPolicy(allowed=tuple(words(env.str("WEBHOOK_ALLOW", "", validate=are_networks)))),
        default_currency=env.str("DEFAULT_CURRENCY", "INR", validate=is_currency),
        log_level=env.str("LOG_LEVEL", "INFO", validate=OneOf(tuple(logging.getLevelNamesMapping()))),
        public_url=_public_url(env),
        receipt_key=env.str("RECEIPT_KEY", "", validate=or_blank(is_receipt_key)) or None,
        metrics_token=env.str("METRICS_TOKEN", "", validate=or_blank(is_strong_secret)) or None,
        traces=_traces(env),
    )
    _seal(env)
    return config


def load_mail() -> MailPolicy:
    """Read how mail is sent. It does not raise on bad values, because the bank works without mail.

    Instead, `problem` says what is wrong, for the log and for `flask mail status`.
    """
    env = _env()
    user = env.str("EMAIL_USER", "") or None
    use_ssl = env.bool("MAIL_USE_SSL", False)
    server = env.str("MAIL_SERVER", "") or (MAIL_SERVER_OF_EMAIL_USER if user else None)
    use_tls = env.bool("MAIL_USE_TLS", user is not None and not use_ssl)
    default_sender = f"Fincore <{user}>" if user and "@" in user else MailPolicy().sender
    mail = MailPolicy(
        server=server,
        port=env.int("MAIL_PORT", 465 if use_ssl else 587 if use_tls else 25, validate=Range(1, 65_535)),
        use_tls=use_tls,
        use_ssl=use_ssl,
        user=user,
        password=env.str("EMAIL_PASS", "") or None,
        sender=env.str("MAIL_DEFAULT_SENDER", "") or default_sender,
        # An operator who sets MAIL_USE_TLS to false means it. If it is not set, only a near server gets secrets in
        # clear.
        secrets_in_clear=bool(env.str("MAIL_USE_TLS", "")) or server is None or _is_near(server),
        letters_per_day=env.int("MAIL_LETTERS_PER_DAY", MailPolicy().letters_per_day, validate=Range(0, LETTERS_MAX)),
        letters_per_minute=env.int(
            "MAIL_LETTERS_PER_MINUTE", MailPolicy().letters_per_minute, validate=Range(0, LETTERS_MAX)
        ),
        in_workers=env.str("MAIL_DELIVERY", "thread", validate=OneOf(("thread", "off"))) == "thread",
    )
    unreadable = _problems(env)
    if unreadable is not None:
        return MailPolicy(problem=unreadable)
    return replace(mail, problem=_mail_problem(mail))


def mongo_uri() -> str | None:
    """Read the database's address alone, or None if it is missing or malformed; raises ConfigError for a bad file."""
    env = _env()
    uri = env.str("MONGO_URI", "", validate=or_blank(is_mongo_uri)) or None
    return uri if _problems(env) is None else None


def settings_file() -> Path:
    """Return the file that settings are read from, if it exists."""
    return Path(os.environ.get("ENV_FILE", "").strip() or ROOT / ".env")


def load_server() -> ServerConfig:
    """Read the settings of gunicorn; raises ConfigError naming every bad variable."""
    env = _env()
    server = _server(env)
    _seal(env)
    return server


def load_local() -> LocalConfig:
    """Read the settings of `make run`; raises ConfigError naming every bad variable."""
    env = _env()
    local = LocalConfig(
        data_dir=env.path("DATA_DIR", ROOT / "var"),
        server=_server(env),
        mongo_uri=env.str("MONGO_URI", "", validate=or_blank(is_mongo_uri)) or None,
        jwt_secret=env.str("JWT_SECRET", "", validate=or_blank(is_strong_secret)) or None,
        receipt_key=env.str("RECEIPT_KEY", "", validate=or_blank(is_receipt_key)) or None,
        mail={name: value for name in MAIL_VARIABLES if (value := env.str(name, ""))},
        # Normalised as in registration, because a user with another spelling could never log in.
        system_email=normal_email(env.str("SYSTEM_EMAIL", "system@fincore.example", validate=_is_email) or "") or "",
        system_password=env.str("SYSTEM_PASSWORD", "", validate=or_blank(_is_password)) or None,
        # Set but blank means none.
        webhook_allow=env.str("WEBHOOK_ALLOW", "" if "WEBHOOK_ALLOW" in os.environ else LOOPBACK_NETWORKS),
        public_url=_public_url(env),
    )
    _seal(env)
    return local


def export(variables: Mapping[str, str]) -> None:
    """Set variables in the environment of this process and of the processes that it starts."""
    os.environ.update(variables)


def environment_without(*names: str) -> dict[str, str]:
    """Return the environment for a new process, without these variables."""
    return {name: value for name, value in os.environ.items() if name not in names}


class _Environment(Env):
    """The environment. A blank variable counts as not set."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = super()._get_value(env_key, default)
        if not isinstance(value, str):
            return value
        if any("\udc80" <= char <= "\udcff" for char in value):
            # Python turns bytes that are not UTF-8 into lone surrogates.
            self._errors[env_key].append("It is not UTF-8.")
            return default
        return value if value.strip() else default


def _env() -> Env:
    env = _Environment(eager=False)
    # The environment overrides the file. ENV_FILE names another file; if that does not exist, none is read.
    file = settings_file()
    try:
        if file.is_dir():
            raise ValueError
        # Without interpolation, because a password may contain ${HOME}.
        load_dotenv(file, interpolate=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise ConfigError(f"The settings in {file} cannot be read: {reason}.") from error
    return env


def _seal(env: Env) -> None:
    problems = _problems(env)
    if problems is not None:
        raise ConfigError(f"Fincore cannot start with these settings. {problems}")


def _problems(env: Env) -> str | None:
    try:
        env.seal()
    except EnvValidationError as error:
        by_name = cast("dict[str, list[str]]", error.error_messages)
        return "; ".join(f"{name}: {' '.join(messages)}" for name, messages in by_name.items())
    return None


def _public_url(env: Env) -> str | None:
    # A variable that was refused is None here, until all bad ones have been named.
    return (env.str("PUBLIC_URL", "", validate=or_blank(is_public_url)) or "").rstrip("/") or None


def _server(env: Env) -> ServerConfig:
    return ServerConfig(
        host=env.str("HOST", "127.0.0.1"),
        port=env.int("PORT", 5000, validate=Range(0, 65_535)),
        workers=env.int("WEB_CONCURRENCY", 2, validate=Range(1, 64)),
        threads=env.int("THREADS", 32, validate=Range(1, 512)),
        request_timeout_s=env.int("REQUEST_TIMEOUT_S", 15, validate=Range(1, 300)),
        keep_alive_s=env.int("KEEP_ALIVE_S", 15, validate=Range(1, 3_600)),
        metrics_dir=env.path("PROMETHEUS_MULTIPROC_DIR", None),
    )


def _work(server: ServerConfig) -> WorkPolicy:
    """Divide a worker's threads: a quarter for documents, half for passwords, and the rest for quick requests.

    A quarter may wait for events. So quick requests never wait. Few documents run at once, because drawing them up is
    Python, which uses only one processor in each worker.
    """
    # A variable that was refused is None here, until all bad ones have been named.
    threads, workers = server.threads or 1, server.workers or 1
    processors = len(os.sched_getaffinity(0))
    return WorkPolicy(
        documents_max=max(1, threads // 4),
        documents_at_once=min(DOCUMENTS_AT_ONCE, max(1, threads // 4)),
        documents_per_user_at_once=max(1, DOCUMENTS_PER_USER_AT_ONCE // workers),
        passwords_max=max(1, threads // 2),
        passwords_at_once=max(1, min(threads // 4, processors // workers)),
        waiting_max=threads // 4,
    )


def _http(env: Env, *, limited: bool) -> HttpPolicy:
    usual = HttpPolicy()
    return HttpPolicy(
        body_bytes_max=env.int("BODY_BYTES_MAX", usual.body_bytes_max, validate=Range(1024, 16 * 1024**2)),
        ratelimit_enabled=limited,
        ratelimit_auth=env.str("RATELIMIT_AUTH", usual.ratelimit_auth, validate=is_rate),
        ratelimit_money=env.str("RATELIMIT_MONEY", usual.ratelimit_money, validate=is_rate),
        ratelimit_read=env.str("RATELIMIT_READ", usual.ratelimit_read, validate=is_rate),
        ratelimit_lookup=env.str("RATELIMIT_LOOKUP", usual.ratelimit_lookup, validate=is_rate),
        trusted_proxies=tuple(words(env.str("TRUSTED_PROXIES", "", validate=are_networks))),
        cors_origins=tuple(words(env.str("CORS_ORIGINS", "", validate=are_origins))),
    )


def _traces(env: Env) -> TracePolicy:
    """Read OpenTelemetry's own variables. Its SDK reads the others that it knows by itself."""
    url = env.str("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", validate=or_blank(is_trace_collector))
    base = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "", validate=or_blank(is_trace_collector))
    if env.bool("OTEL_SDK_DISABLED", False) or not (url or base):
        return TracePolicy()
    return TracePolicy(
        url=url or f"{(base or '').rstrip('/')}/v1/traces", service_name=env.str("OTEL_SERVICE_NAME", "fincore")
    )


def _mail_problem(mail: MailPolicy) -> str | None:
    address = parseaddr(mail.sender)[1]
    if (mail.user is None) != (mail.password is None):
        return "EMAIL_USER and EMAIL_PASS belong together, and only one of them is set."
    if mail.use_tls and mail.use_ssl:
        return "MAIL_USE_TLS and MAIL_USE_SSL exclude each other: the first is for port 587, the second for port 465."
    if mail.user and not (mail.use_tls or mail.use_ssl or mail.server in LOOPBACK_HOSTS):
        return "EMAIL_PASS would travel unencrypted: set MAIL_USE_TLS or MAIL_USE_SSL to true."
    if "@" not in address.strip("@") or not mail.sender.isprintable():
        return f"MAIL_DEFAULT_SENDER is not an address: {mail.sender!r}."
    return None


def _is_near(host: str) -> bool:
    """Tell whether a host is this one or in a private network, judged by its address or a name without a domain."""
    address = parse_address(host)
    return "." not in host if address is None else address.is_private


def _is_email(value: str) -> None:
    if normal_email(value) is None:
        raise ValidationError("Not an e-mail address.")


def _is_password(value: str) -> None:
    fault = passwords.fault_of(value)
    if fault is not None:
        raise ValidationError(fault)
