"""Start-up refuses secrets that can be guessed, and settings that would let anybody in."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

import config
from app.auth.service import NotTheSystemUser, ensure_system_user
from tests.conftest import AUTH
from tests.people import PASSWORD, Bank
from tests.server import JWT_SECRET

URI = "mongodb://127.0.0.1:1/fincore?replicaSet=rs0"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ENV_FILE", "/dev/null")
    monkeypatch.setenv("MONGO_URI", URI)
    monkeypatch.setenv("JWT_SECRET", JWT_SECRET)
    return monkeypatch


def test_good_settings_are_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRUSTED_PROXIES", "10.0.0.7, 192.168.0.0/16")
    environment.setenv("CORS_ORIGINS", "https://bank.example,http://localhost:3000")
    environment.setenv("RATELIMIT_ENABLED", "false")
    edge = config.load().http
    assert edge.trusted_proxies == ("10.0.0.7", "192.168.0.0/16")
    assert edge.cors_origins == ("https://bank.example", "http://localhost:3000")
    assert not edge.ratelimit_enabled


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://bank.example", "https://bank.example"),
        ("https://bank.example:8443/", "https://bank.example:8443"),
        ("https://[2001:db8::7]", "https://[2001:db8::7]"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://localhost", "http://localhost"),
        ("", None),
    ],
)
def test_letters_may_lead_over_tls_or_to_this_machine(
    environment: pytest.MonkeyPatch, written: str, read: str | None
) -> None:
    environment.setenv("PUBLIC_URL", written)
    assert config.load().public_url == read
    assert config.load_local().public_url == read


@pytest.mark.parametrize(
    "secret",
    ["", "brief", "x" * 64, "ab" * 32, "change-me-please-change-me-please-0123456789", "secret" * 8, "0123456789" * 5],
)
def test_a_weak_secret_is_refused_and_not_shown(environment: pytest.MonkeyPatch, secret: str) -> None:
    environment.setenv("JWT_SECRET", secret)
    with pytest.raises(config.ConfigError, match="JWT_SECRET") as refused:
        config.load()
    assert not secret or secret not in str(refused.value)


def test_a_missing_secret_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")
    with pytest.raises(config.ConfigError, match="JWT_SECRET"):
        config.load()


@pytest.mark.parametrize("address", ["boss@bank.example", " Boss@BANK.example"])
def test_the_system_user_can_log_in_however_the_address_was_written(
    environment: pytest.MonkeyPatch, bank: Bank, address: str
) -> None:
    environment.setenv("SYSTEM_EMAIL", address)
    email = config.load_local().system_email
    assert ensure_system_user(email=email, password=PASSWORD, policy=AUTH)
    assert bank.log_in(address).user["role"] == "SYSTEM"
    assert not ensure_system_user(email=email, password="another long enough one", policy=AUTH)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://bank.example/path"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://.*"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "::/0"),
        ("TRUSTED_PROXIES", "::ffff:0:0/96"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("TRUSTED_PROXIES", "*"),
        ("PUBLIC_URL", "bank.example"),
        ("PUBLIC_URL", "http://bank.example"),
        ("PUBLIC_URL", "http://10.0.0.7:5000"),
        ("PUBLIC_URL", "https://bank.example/fincore"),
        ("PUBLIC_URL", "https://bank.example?a=b"),
        ("PUBLIC_URL", "https://bank.example#a"),
        ("PUBLIC_URL", "https://asha@bank.example"),
        ("PUBLIC_URL", "https://bank.example:99999"),
        ("PUBLIC_URL", "https://[bank"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "javascript://bank.example"),
        ("PUBLIC_URL", 'https://bank.example"onclick='),
        ("RATELIMIT_AUTH", "often"),
        ("RATELIMIT_MONEY", "0/minute"),
        ("RATELIMIT_READ", "5/minute;1/second"),
        ("RATELIMIT_ENABLED", "perhaps"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(config.ConfigError, match=name):
        config.load()


@pytest.mark.parametrize(
    "secret",
    [
        "12345678901234567890123456789012345678901",
        "a" * 40 + "bcdefghij",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "qwertyuiopasdfghjklzxcvbnm123456",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    ],
)
def test_a_secret_that_is_long_and_still_guessed_is_refused(environment: pytest.MonkeyPatch, secret: str) -> None:
    environment.setenv("JWT_SECRET", secret)
    with pytest.raises(config.ConfigError, match="JWT_SECRET"):
        config.load()


@pytest.mark.parametrize(
    "key",
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60",
        bytes(range(32)).hex(),
        bytes(range(0, 224, 7)).hex(),
        b"your-secret-key-that-is-not-good".hex(),
        "00" * 32,
    ],
)
def test_a_receipt_key_that_is_known_or_follows_a_pattern_is_refused(environment: pytest.MonkeyPatch, key: str) -> None:
    environment.setenv("RECEIPT_KEY", key)
    with pytest.raises(config.ConfigError, match="RECEIPT_KEY"):
        config.load()


@pytest.mark.parametrize(
    "make", [lambda: secrets.token_hex(32), lambda: secrets.token_hex(16), lambda: secrets.token_urlsafe(24)]
)
def test_secrets_by_chance_are_taken(environment: pytest.MonkeyPatch, make: Callable[[], str]) -> None:
    for _ in range(20):
        environment.setenv("JWT_SECRET", make())
        environment.setenv("RECEIPT_KEY", secrets.token_hex(32))
        config.load()


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_file_of_settings_is_read_as_it_is_written(
    environment: pytest.MonkeyPatch, tmp_path: Path, quote: str
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"SYSTEM_PASSWORD={quote}abc${{HOME}}defgh{quote}\n")
    environment.setenv("ENV_FILE", str(file))
    environment.setenv("SYSTEM_PASSWORD", "")
    environment.delenv("SYSTEM_PASSWORD")
    assert config.load_local().system_password == "abc${HOME}defgh"


def test_a_customers_address_is_not_taken_for_the_system_users(bank: Bank) -> None:
    customer = bank.register()
    with pytest.raises(NotTheSystemUser, match=r"role USER, not SYSTEM"):
        ensure_system_user(email=customer.user["email"], password=PASSWORD, policy=AUTH)
    assert customer.get("/api/auth/me").body["user"]["role"] == "USER"
