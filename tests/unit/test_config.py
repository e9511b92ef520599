"""Settings: read once, typed, and refused by name if they are invalid."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

import config
from config import ConfigError

MONGO_URI = "mongodb://fincore:hidden@localhost:27017/fincore?replicaSet=rs0"
JWT_SECRET = "q8ZrT2vN5xK1mW9bY4cL7pH3dJ6sF0gA"


def settings_of_the_example() -> list[str]:
    return sorted(set(re.findall(r"^# ([A-Z_]+)=", (config.ROOT / ".env.example").read_text(), flags=re.MULTILINE)))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with what must be there and nothing else, put back as it was afterwards."""
    for name in settings_of_the_example():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENV_FILE", os.devnull)
    monkeypatch.setenv("MONGO_URI", MONGO_URI)
    monkeypatch.setenv("JWT_SECRET", JWT_SECRET)


def test_all_but_the_database_and_the_secret_has_a_default() -> None:
    settings = config.load()

    assert (settings.mongo.uri, settings.auth.secret) == (MONGO_URI, JWT_SECRET)
    assert (settings.default_currency, settings.log_level) == ("INR", "INFO")
    assert (settings.auth.access_lifetime, settings.auth.refresh_lifetime) == (
        timedelta(minutes=15),
        timedelta(days=30),
    )
    assert settings.auth.bcrypt_rounds == 12


def test_every_missing_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGO_URI")
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("BCRYPT_ROUNDS", "many")

    with pytest.raises(ConfigError) as refused:
        config.load()

    for name in ("MONGO_URI", "JWT_SECRET", "BCRYPT_ROUNDS"):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        JWT_SECRET[:31],
        "x" * 64,
        "0123456789" * 5,
        "abab" * 20,
        JWT_SECRET * 2,
        "your-secret-key-that-is-long-enough-1234",
        "CHANGE-me-please-0123456789-abcdefghijkl",
        "super-Secret-jwt-token-0123456789-abcdef",
        "my-password-is-long-0123456789-abcdefghi",
        "example-0123456789-abcdefghijklmnopqrst",
    ],
)
def test_a_weak_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("JWT_SECRET", secret)

    with pytest.raises(ConfigError, match="JWT_SECRET") as refused:
        config.load()

    assert not secret or secret not in str(refused.value)


@pytest.mark.parametrize(
    "secret",
    [JWT_SECRET, "ключ-который-никто-не-угадает-7", "9f3ac7e1b50d8264" + "e07b1c6a49d25f38"],
    ids=["32 bytes", "in UTF-8", "hexadecimal"],
)
def test_a_strong_secret_is_taken(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("JWT_SECRET", secret)

    assert config.load().auth.secret == secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MONGO_URI", "localhost:27017"),
        ("MONGO_URI", "http://localhost"),
        ("MONGO_URI", "mongodb://"),
        ("MONGO_URI", "mongodb://host:99999/fincore"),
        ("MONGO_URI", "mongodb://host/?replicaSet"),
        ("MONGO_URI", "mongodb://host/?tls=true&tlsCAFile=/nowhere.pem"),
        ("DEFAULT_CURRENCY", "IN\udcffR"),
        ("MONGO_URI", ""),
        ("ACCESS_TOKEN_MINUTES", "0"),
        ("ACCESS_TOKEN_MINUTES", "1441"),
        ("ACCESS_TOKEN_MINUTES", "1.5"),
        ("REFRESH_TOKEN_DAYS", "-1"),
        ("BCRYPT_ROUNDS", "3"),
        ("BCRYPT_ROUNDS", "17"),
        ("DEFAULT_CURRENCY", "RUPEE"),
        ("DEFAULT_CURRENCY", "inr"),
        ("DEFAULT_CURRENCY", "XAU"),
        ("LOG_LEVEL", "LOUD"),
        ("BODY_BYTES_MAX", "0"),
        ("MONGO_TIMEOUT_MS", "0"),
        ("POST_TIMEOUT_MS", "60000"),
        ("POST_BATCH_SIZE_MAX", "0"),
        ("POST_QUEUE_SIZE_MAX", "0"),
    ],
)
def test_a_setting_out_of_its_limits_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=name):
        config.load()


@pytest.mark.parametrize(
    "uri",
    [
        "mongo://fincore:hidden@localhost/fincore",
        "mongodb://fincore:hid/hidden@localhost/fincore",
        "mongodb://fincore:hidden:hidden@localhost/fincore",
    ],
)
def test_the_address_of_the_database_is_not_shown_when_it_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MONGO_URI", uri)

    with pytest.raises(ConfigError) as refused:
        config.load()

    assert "hidden" not in str(refused.value)


# A blank WEBHOOK_ALLOW says that no network is allowed, where `make run` would allow this machine.
@pytest.mark.parametrize(
    "name", [name for name in settings_of_the_example() if name not in ("MONGO_URI", "JWT_SECRET", "WEBHOOK_ALLOW")]
)
def test_a_blank_setting_is_one_that_was_left_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def everything() -> list[object]:
        return [config.load(), config.load_mail(), config.load_server(), config.load_local()]

    left_out = everything()

    for blank in ("", "  "):
        monkeypatch.setenv(name, blank)
        assert everything() == left_out


@pytest.mark.parametrize("name", ["MONGO_URI", "JWT_SECRET"])
def test_what_is_needed_is_missing_when_it_is_blank(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, " ")

    with pytest.raises(ConfigError, match=f"{name}: Environment variable not set"):
        config.load()


@pytest.mark.parametrize("content", [b"LOG_LEVEL=\xff\n", None], ids=["not UTF-8", "a directory"])
def test_a_file_of_settings_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "settings.env"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    monkeypatch.setenv("ENV_FILE", str(file))

    with pytest.raises(ConfigError, match=str(file)):
        config.load()


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("DEFAULT_CURRENCY=EUR\nBCRYPT_ROUNDS=10\n# LOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("ENV_FILE", str(file))
    monkeypatch.setenv("BCRYPT_ROUNDS", "11")

    settings = config.load()

    assert (settings.default_currency, settings.auth.bcrypt_rounds, settings.log_level) == ("EUR", 11, "INFO")


def test_the_server_listens_on_this_machine_only_unless_told_otherwise() -> None:
    server = config.load_server()

    assert (server.host, server.port) == ("127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "65536"), ("PORT", "-1"), ("PORT", "http"), ("WEB_CONCURRENCY", "0"), ("THREADS", "0")],
)
def test_a_server_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=name):
        config.load_server()
    with pytest.raises(ConfigError, match=name):
        config.load_local()


def test_a_local_run_needs_no_settings_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGO_URI")
    monkeypatch.delenv("JWT_SECRET")

    local = config.load_local()

    assert (local.mongo_uri, local.jwt_secret, local.system_password) == (None, None, None)
    assert local.data_dir == config.ROOT / "var"


@pytest.mark.parametrize("address", ["nonsense", "system@", "a b@fincore.example"])
def test_the_system_users_address_obeys_the_rule_for_addresses(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SYSTEM_EMAIL", address)

    with pytest.raises(ConfigError, match="SYSTEM_EMAIL"):
        config.load_local()


@pytest.mark.parametrize("password", ["x" * 7, "x" * 73, "₹" * 25, "password1", "PassWord1"])
def test_the_system_users_password_obeys_the_rule_for_passwords(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("SYSTEM_PASSWORD", password)

    with pytest.raises(ConfigError, match="SYSTEM_PASSWORD"):
        config.load_local()


def test_a_connection_is_kept_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load_server().keep_alive_s == 15
    monkeypatch.setenv("KEEP_ALIVE_S", "65")
    assert config.load_server().keep_alive_s == 65
    monkeypatch.setenv("KEEP_ALIVE_S", "0")
    with pytest.raises(ConfigError, match="KEEP_ALIVE_S"):
        config.load_server()
