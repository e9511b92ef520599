"""The operator's commands when they cannot work: one line that says why, and exit code 3."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from app import mongo
from app.auth import service
from app.settings.policies import MongoPolicy
from config import Config, ConfigError, load
from local.processes import free_port
from tests.people import Bank
from tests.terminal import environment, failed, flask_process

SHOW = ("accounts", "show", "a" * 24)
VERIFY = ("ledger", "verify")
# One of each subject; the ends of all are written in one place.
OF_EACH_SUBJECT = [
    SHOW,
    VERIFY,
    ("db", "init"),
    ("mail", "status"),
    ("users", "list"),
    ("audit", "tail"),
    ("transactions", "show", "a" * 24),
]


@pytest.fixture
def ends(app: Flask, config: Config) -> Iterator[Callable[..., str]]:
    """Runs a command in this process on another database. It must end as not done, and this returns its last line."""

    def ends(mongo_uri: str, *command: str, timeout_ms: int = 20_000) -> str:
        mongo.connect(MongoPolicy(mongo_uri, timeout_ms=timeout_ms))
        result = app.test_cli_runner().invoke(args=command)
        assert result.exit_code == 3, result.output
        *progress, line = result.stderr.splitlines()
        assert progress in ([], ["Verifying"])
        return line

    yield ends
    mongo.connect(config.mongo)


@pytest.mark.parametrize("command", OF_EACH_SUBJECT, ids=" ".join)
def test_a_database_that_is_away_has_an_exit_code_of_its_own(
    ends: Callable[..., str], command: tuple[str, ...]
) -> None:
    nowhere = f"mongodb://127.0.0.1:{free_port()}/fincore?replicaSet=rs0"

    assert ends(nowhere, *command, timeout_ms=200) == "The database cannot be reached."


@pytest.mark.parametrize("command", [SHOW, VERIFY, ("db", "init")], ids=" ".join)
def test_a_wrong_password_of_the_database_is_said_and_not_shown(
    ends: Callable[..., str], mongo_uri: str, command: tuple[str, ...]
) -> None:
    said = ends(mongo_uri.replace("application-password", "wrong-password"), *command)

    assert "The database refuses the user of MONGO_URI" in said
    assert "wrong-password" not in said


def test_an_address_that_nobody_can_resolve_names_its_setting(ends: Callable[..., str]) -> None:
    assert "MONGO_URI" in ends("mongodb+srv://nowhere.invalid/fincore", *VERIFY, timeout_ms=1_000)


def test_a_failure_is_the_exit_code_of_the_process(mongo_uri: str) -> None:
    said = failed(mongo_uri.replace("application-password", "wrong-password"), *SHOW)

    assert "The database refuses the user of MONGO_URI" in said


@pytest.mark.parametrize(
    "command", [("users", "list"), ("accounts", "--help"), VERIFY, ("users", "list", "--help")], ids=" ".join
)
def test_an_output_that_takes_nothing_is_no_traceback_and_no_verdict(mongo_uri: str, command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        assert "No space left on device" in failed(mongo_uri, *command, stdout=full)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MONGO_URI": ""}, ["MONGO_URI"]),
        ({"JWT_SECRET": ""}, ["JWT_SECRET"]),
        ({"MONGO_URI": "", "JWT_SECRET": ""}, ["MONGO_URI", "JWT_SECRET"]),
        ({"MONGO_URI": "mongodb://fincore:hidden:hidden@host/fincore"}, ["MONGO_URI", "malformed"]),
        ({"LOG_LEVEL": "\udcff"}, ["LOG_LEVEL", "UTF-8"]),
        ({"ENV_FILE": "/"}, ["settings in /"]),
    ],
    ids=str,
)
def test_unfit_settings_are_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, mongo_uri: str, settings: dict[str, str], named: list[str]
) -> None:
    for name, value in environment(mongo_uri, **settings).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as refused:
        load()

    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert all(name in said for name in named), said
    assert "hidden" not in said


def test_unfit_settings_are_all_that_a_command_says(mongo_uri: str) -> None:
    assert "LOG_LEVEL" in failed(mongo_uri, *VERIFY, LOG_LEVEL="\udcff")


def test_an_argument_that_is_not_utf_8_is_wrong_usage(mongo_uri: str) -> None:
    with flask_process(mongo_uri, "users", "promote", b"\xff@fincore.example") as process:
        _, said = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "not UTF-8" in said
    assert "Traceback" not in said


def test_a_command_that_is_interrupted_gives_no_verdict(mongo_uri: str) -> None:
    with flask_process(mongo_uri, "users", "create", "a@fincore.example", "--name", "A") as process:
        # Nobody can be asked for the password: standard input is at its end.
        _, said = process.communicate(timeout=60)

    assert process.returncode == 3
    assert said.endswith("Interrupted.\n")


def test_ctrl_c_during_verification_gives_no_verdict(bank: Bank, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.ledger.proof.verify.verify", interrupted)

    result = app.test_cli_runner().invoke(args=["ledger", "verify"])

    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, "Interrupted.")


def test_a_bug_shows_its_trace_and_is_no_verdict(bank: Bank, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(service, "find_user")

    result = app.test_cli_runner().invoke(args=["users", "promote", "a" * 24])

    assert result.exit_code == 3
    assert "AttributeError" in result.stderr
