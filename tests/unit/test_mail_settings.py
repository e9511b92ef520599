"""How mail is sent: the original's two variables, and settings that cannot work."""

import os

import pytest

from app.settings.policies import MailPolicy
from config import load_mail

NAMES = "EMAIL_USER EMAIL_PASS MAIL_SERVER MAIL_PORT MAIL_USE_TLS MAIL_USE_SSL MAIL_DEFAULT_SENDER MAIL_DELIVERY "
NAMES += "MAIL_LETTERS_PER_DAY"


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> MailPolicy:
    monkeypatch.setenv("ENV_FILE", os.devnull)
    for name in NAMES.split():
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_mail()


def test_email_user_and_email_pass_are_enough_for_real_mail_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = load(monkeypatch, EMAIL_USER="bank@gmail.com", EMAIL_PASS="word word")

    assert (mail.server, mail.port, mail.use_tls, mail.problem) == ("smtp.gmail.com", 587, True, None)
    assert mail.sender == "Fincore <bank@gmail.com>"


def test_a_server_of_ones_own_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = load(monkeypatch, MAIL_SERVER="relay.example", MAIL_DEFAULT_SENDER="Bank <bank@bank.example>")

    assert (mail.server, mail.port, mail.use_tls, mail.user, mail.problem) == ("relay.example", 25, False, None, None)


@pytest.mark.parametrize(
    ("server", "tls", "in_clear"),
    [
        ("relay.example", "", False),
        ("9.9.9.9", "", False),
        ("relay.example", "false", True),
        ("localhost", "", True),
        ("mail", "", True),
        ("10.0.0.5", "", True),
    ],
)
def test_secrets_go_in_clear_to_near_servers_or_where_the_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, server: str, tls: str, in_clear: bool
) -> None:
    said = {"MAIL_USE_TLS": tls} if tls else {}

    assert load(monkeypatch, MAIL_SERVER=server, **said).secrets_in_clear is in_clear


def test_letters_per_day_and_minute_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).letters_per_day == 50
    assert load(monkeypatch, MAIL_LETTERS_PER_DAY="0").letters_per_day == 0
    assert "MAIL_LETTERS_PER_DAY" in str(load(monkeypatch, MAIL_LETTERS_PER_DAY="-1").problem)
    assert load(monkeypatch).letters_per_minute == 10
    assert load(monkeypatch, MAIL_LETTERS_PER_MINUTE="0").letters_per_minute == 0
    assert "MAIL_LETTERS_PER_MINUTE" in str(load(monkeypatch, MAIL_LETTERS_PER_MINUTE="x").problem)


def test_the_password_is_not_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "geheim" not in repr(load(monkeypatch, EMAIL_USER="bank@gmail.com", EMAIL_PASS="geheim"))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MAIL_PORT": "smtp"}, "MAIL_PORT"),
        ({"MAIL_DELIVERY": "perhaps"}, "MAIL_DELIVERY"),
        ({"EMAIL_USER": "bank@gmail.com"}, "EMAIL_PASS"),
        ({"EMAIL_PASS": "word"}, "EMAIL_USER"),
        ({"MAIL_SERVER": "a.example", "MAIL_USE_TLS": "true", "MAIL_USE_SSL": "true"}, "MAIL_USE_SSL"),
        ({"EMAIL_USER": "a@b.example", "EMAIL_PASS": "word", "MAIL_USE_TLS": "false"}, "unencrypted"),
        ({"MAIL_DEFAULT_SENDER": "nobody"}, "MAIL_DEFAULT_SENDER"),
    ],
)
def test_settings_that_cannot_work_are_named_and_do_not_raise(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    problem = load(monkeypatch, **environment).problem

    assert problem is not None
    assert named in problem
