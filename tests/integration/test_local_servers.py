"""The local servers: what they survive, whom they let in, and that they never outlive the process that started them."""

import mailbox
import os
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.mongo import Document
from config import ROOT
from local.mail_catcher import MailCatcher
from local.mongod_binary import EmbeddedError, check_mongod, find_mongod
from local.processes import LOOPBACK, holds_within
from local.replica_set import ReplicaSet, provision
from tests.server import is_running

END_TIMEOUT_S = 60.0


@pytest.fixture
def new_set(tmp_path: Path) -> Iterator[Callable[..., ReplicaSet]]:
    """Makes replica sets on the same directory, and stops them after the test."""
    made: list[ReplicaSet] = []

    def make(size: int = 1) -> ReplicaSet:
        made.append(ReplicaSet(tmp_path / "mongo", size))
        return made[-1]

    yield make
    for replica_set in made:
        replica_set.kill()


def write(replica_set: ReplicaSet, number: int) -> None:
    with MongoClient[Document](replica_set.admin_uri) as client:
        client.notes.numbers.insert_one({"_id": number})


def numbers(replica_set: ReplicaSet) -> list[int]:
    with MongoClient[Document](replica_set.admin_uri) as client:
        return sorted(document["_id"] for document in client.notes.numbers.find())


def test_a_new_set_has_a_primary_and_lets_nobody_in_without_a_password(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()

    write(replica_set, 1)
    with replica_set.primary().client() as stranger, pytest.raises(OperationFailure, match="requires authentication"):
        stranger.notes.numbers.find_one()


def test_nobody_else_can_become_the_first_user_of_a_new_server(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    (member,) = replica_set.members
    member.launch(may_move=True)
    member.await_listening()

    with member.client() as stranger:
        user = {"createUser": "mallory", "pwd": "x", "roles": ["root"]}
        commands: list[Document] = [{"replSetInitiate": {}}, user]
        for command in commands:
            with pytest.raises(OperationFailure, match="requires authentication"):
                stranger.admin.command(command)


def test_secrets_can_be_read_by_their_owner_only(new_set: Callable[..., ReplicaSet]) -> None:
    directory = new_set().directory

    assert {oct((directory / name).stat().st_mode & 0o777) for name in ("key", "admin_password")} == {"0o600"}


def test_what_was_written_survives_a_power_failure(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()
    write(replica_set, 1)

    replica_set.kill()
    again = new_set()
    again.start()

    assert numbers(again) == [1]
    assert again.admin_uri == replica_set.admin_uri


def test_a_set_moves_with_its_data_when_a_program_took_its_port(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()
    write(replica_set, 1)
    replica_set.stop()

    port = replica_set.members[0].port
    # It listens and never answers, which keeps a member busy that asks there whether that is itself.
    with socket.create_server((LOOPBACK, port)):
        moved = new_set()
        moved.start()

        assert moved.members[0].port != port
        assert numbers(moved) == [1]


def test_a_member_does_not_move_while_the_others_run(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()
    replica_set.stop()
    member = replica_set.members[0]

    with socket.create_server((LOOPBACK, member.port)), pytest.raises(EmbeddedError, match=f"port {member.port}"):
        member.start()


def test_a_mongod_that_an_earlier_run_left_on_the_data_is_replaced(new_set: Callable[..., ReplicaSet]) -> None:
    left = new_set()
    left.start()
    write(left, 1)

    again = new_set()
    again.start()

    assert left.members[0].pid is None
    assert numbers(again) == [1]


def test_servers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from local.replica_set import ReplicaSet;"
        "replica_set = ReplicaSet(pathlib.Path(sys.argv[1])); replica_set.start();"
        "print(replica_set.members[0].pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        mongod_pid = int(parent.stdout.readline())
        assert is_running(mongod_pid)
        parent.kill()

    assert holds_within(END_TIMEOUT_S, lambda: not is_running(mongod_pid))


def test_three_members_survive_the_loss_of_the_primary_and_take_it_back(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set(size=3)
    replica_set.start()
    write(replica_set, 1)

    lost = replica_set.primary()
    lost.kill()
    assert replica_set.primary() is not lost
    write(replica_set, 2)
    lost.start()

    assert holds_within(END_TIMEOUT_S, lambda: bool(lost.hello().get("secondary")))
    assert numbers(replica_set) == [1, 2]


def test_provisioning_again_keeps_the_data_and_takes_the_new_password(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()
    with MongoClient[Document](provision(replica_set.admin_uri, "first/pass:word@")) as client:
        client.get_default_database()["revoked_tokens"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client.get_default_database()["ledger_entries"].delete_many({})

    uri = provision(replica_set.admin_uri, "second")

    with MongoClient[Document](uri) as client:
        assert client.get_default_database()["revoked_tokens"].find_one() is None


def test_the_mail_catcher_keeps_every_message_in_a_maildir(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "bank@fincore.example",
        "asha@fincore.example",
        "You have ₹5.00",
    )
    message.set_content("Zażółć")
    catcher = MailCatcher(tmp_path / "mail")
    catcher.start()
    try:
        with smtplib.SMTP(LOOPBACK, catcher.port, timeout=END_TIMEOUT_S) as smtp:
            smtp.send_message(message)
    finally:
        catcher.stop()

    (kept,) = mailbox.Maildir(tmp_path / "mail")
    assert kept["X-RcptTo"] == "asha@fincore.example"
    assert kept["Subject"] is not None


def fake_mongod(path: Path, script: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("loader_says", "remedy"),
    [
        (
            "error while loading shared libraries: libcurl.so.4: cannot open shared object file",
            "libcurl.so.4.*libcurl4",
        ),
        ("/lib/libcrypto.so.3: version OPENSSL_3.0.0 not found (required by mongod)", "libcrypto.so.3.*libssl3"),
    ],
)
def test_a_missing_library_is_named_with_the_package_that_brings_it(
    tmp_path: Path, loader_says: str, remedy: str
) -> None:
    binary = fake_mongod(tmp_path / "mongod", f"echo 'mongod: {loader_says}' >&2; exit 127")

    with pytest.raises(EmbeddedError, match=remedy):
        check_mongod(binary)


@pytest.mark.parametrize("script", ["echo db version v3.6.8", "kill -ILL $$"])
def test_a_mongod_too_old_or_for_another_machine_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(EmbeddedError):
        check_mongod(fake_mongod(tmp_path / "mongod", script))


def test_the_package_serves_where_the_path_has_no_good_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mongod(tmp_path / "bin" / "mongod", "exit 1")
    # pip may have dropped the run bit.
    packaged = fake_mongod(tmp_path / "fiftyone" / "db" / "bin" / "mongod", "echo db version v6.0.5", mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.syspath_prepend(tmp_path)

    # Around the memory of the binary that the other tests use.
    assert find_mongod.__wrapped__() == packaged
    assert os.access(packaged, os.X_OK)


def test_a_mongod_that_does_not_start_says_why(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    storage = replica_set.members[0].data_dir / "storage.bson"
    storage.parent.mkdir(parents=True)
    storage.write_bytes(b"no BSON")

    with pytest.raises(EmbeddedError, match="did not start"):
        replica_set.start()


def test_a_stop_ends_a_mongod_that_hangs(new_set: Callable[..., ReplicaSet]) -> None:
    replica_set = new_set()
    replica_set.start()
    pid = replica_set.members[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    replica_set.members[0].stop(timeout_s=0.5)

    assert not is_running(pid)
