"""Start-up refuses secrets that can be guessed, and settings that would let anybody in."""

import pytest

import config
from app.auth.service import ensure_system_user
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
