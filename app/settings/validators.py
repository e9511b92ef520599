"""Checks of single settings: each raises ValidationError, with what to write instead.

`config` uses them. None of them shows a value that may be a secret.
"""

import re
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from urllib.parse import urlsplit

from marshmallow import ValidationError
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from app.money import is_currency as is_currency_code
from app.networks import parse_address, parse_networks
from app.settings.secret_strength import fault_of_key, fault_of_secret

# What `requirements-otel.txt` installs.
_TRACING_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_RATE = re.compile(r"[1-9]\d{0,8} ?/ ?(second|minute|hour|day)")
_PUBLIC_URL = re.compile(
    r"(?P<scheme>https?)://(?:(?P<name>[a-z0-9][a-z0-9.-]*)|\[(?P<address>[0-9a-f:.]+)\])(?::(?P<port>[1-9]\d{0,4}))?/?"
)
PORT_MAX = 65_535
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?")


def words(text: str | None) -> list[str]:
    # A variable that was refused is None here, until all bad ones have been named.
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def or_blank(is_fit: Callable[[str], None]) -> Callable[[str], None]:
    return lambda value: is_fit(value) if value else None


def is_rate(value: str) -> None:
    if not _RATE.fullmatch(value):
        raise ValidationError("Write a limit like 600/minute, per second, minute, hour or day.")


def are_networks(value: str) -> None:
    for word in words(value):
        try:
            (network,) = parse_networks([word])
        except ValueError:
            raise ValidationError(f"{word!r} is not an address or network, such as 10.0.0.7 or 10.0.0.0/8.") from None
        if network.prefixlen == 0:
            raise ValidationError(f"{word!r} would trust everybody.")


def are_origins(value: str) -> None:
    for word in words(value):
        if not _ORIGIN.fullmatch(word):
            raise ValidationError(f"{word!r} is not an origin, such as https://bank.example or http://localhost:3000.")


def is_public_url(value: str) -> None:
    advice = "Write where browsers reach the bank, such as https://bank.example, without a path."
    found = _PUBLIC_URL.fullmatch(value)
    if found is None or int(found["port"] or 443) > PORT_MAX:
        raise ValidationError(advice)
    host = found["name"] or found["address"]
    if found["address"] and parse_address(host) is None:
        raise ValidationError(advice)
    if found["scheme"] == "http" and not _is_loopback(host):
        raise ValidationError(
            "Letters lead there, with reset tokens, so it has to be https. Only this machine may be http."
        )


def _is_loopback(host: str) -> bool:
    address = parse_address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_mongo_uri(value: str) -> None:
    advice = "Give the replica set's address, such as mongodb://user:password@host:27017/fincore?replicaSet=rs0"
    if not value.startswith(("mongodb://", "mongodb+srv://")):
        raise ValidationError(f"{advice}.")
    if value.startswith("mongodb+srv://"):
        # Parsing it would ask a name server. The driver says what is wrong when it connects.
        return
    try:
        with warnings.catch_warnings():
            # The driver warns of unknown options again when it connects.
            warnings.simplefilter("ignore")
            parse_uri(value)
    except OSError as error:
        raise ValidationError(f"A file that it names cannot be read: {error.strerror}.") from None
    except (PyMongoError, ValueError):
        # The driver's reason is left out, because it may quote the password.
        raise ValidationError(
            f"It is malformed. {advice}, with `:`, `/`, `?`, `#`, `[`, `]`, `@` and `%` in the user's name and the "
            "password percent-encoded."
        ) from None


def is_currency(value: str) -> None:
    if not is_currency_code(value):
        raise ValidationError(f"{value!r} is not an ISO 4217 currency code.")


def is_strong_secret(value: str) -> None:
    fault = fault_of_secret(value)
    if fault is not None:
        raise ValidationError(f"{fault} Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'.")


def is_receipt_key(value: str) -> None:
    fault = fault_of_key(value)
    if fault is not None:
        raise ValidationError(f"{fault} Make one with: python -c 'import secrets; print(secrets.token_hex(32))'.")


def is_trace_collector(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError("It is not the address of a collector, such as http://127.0.0.1:4318.")
    if not _can_trace():
        raise ValidationError(
            "It asks for traces, and OpenTelemetry is not installed. Install it (pip install --require-hashes -r "
            "requirements-otel.txt), or remove the variable."
        )


def _can_trace() -> bool:
    try:
        return all(find_spec(name) for name in _TRACING_PACKAGES)
    except ModuleNotFoundError:
        return False
