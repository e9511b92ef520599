"""The receivers in docs/webhooks.md: each of them understands what the bank sends."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.networks import parse_networks
from app.webhooks import signing
from app.webhooks.attempts import body_of
from app.webhooks.outgoing import Answer, post
from local.processes import LOOPBACK, free_port
from tests.documents import block
from tests.hooks import EVENT
from tests.node import NODE

RECEIVERS = {
    "python": block("docs/webhooks.md", "import base64"),
    "javascript": block("docs/webhooks.md", "const crypto"),
}
BY_HAND = block("docs/webhooks.md", "body=")
SECRET = bytes(range(32))
START_TIMEOUT_S = 60.0
# What anybody on the internet may send.
INCOMPLETE: tuple[dict[str, str], ...] = (
    {},
    {"webhook-id": "1", "webhook-timestamp": "yesterday", "webhook-signature": "v1,"},
    {"webhook-id": "1", "webhook-timestamp": str(int(time.time()))},
)


@contextmanager
def running(language: str, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run the guide's receiver, and yield its port and the file with what it prints."""
    program = {"python": [sys.executable], "javascript": [str(NODE)]}[language]
    file = tmp_path / {"python": "receiver.py", "javascript": "receiver.cjs"}[language]
    file.write_text(RECEIVERS[language])
    port, printed = free_port(), tmp_path / "printed"
    with printed.open("wb") as out, (tmp_path / "errors").open("wb") as errors:
        environment = {**os.environ, "PORT": str(port), "SECRET": signing.shown(SECRET)}
        process = subprocess.Popen([*program, file], env=environment, stdout=out, stderr=errors)
        try:
            wait_for(port)
            yield port, printed
        finally:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


def send(
    port: int,
    *,
    body: bytes | None = None,
    timestamp: int | None = None,
    secrets: tuple[bytes, ...] = (SECRET,),
    headers: dict[str, str] | None = None,
) -> Answer:
    real = body_of(EVENT)
    if headers is None:
        headers = signing.headers_of(EVENT["id"], timestamp or int(time.time()), real, secrets)
    return post(f"http://{LOOPBACK}:{port}/", body or real, headers, allowed=parse_networks([LOOPBACK]))


@pytest.mark.parametrize("language", RECEIVERS)
def test_a_receiver_of_the_guide_takes_what_is_genuine_once(language: str, tmp_path: Path) -> None:
    with running(language, tmp_path) as (port, printed):
        genuine = [send(port), send(port), send(port, secrets=(bytes(32), SECRET))]
        forged = [
            send(port, body=body_of(EVENT).replace(b"500", b"900")),
            send(port, timestamp=int(time.time()) - 1_000),
            send(port, secrets=(bytes(32),)),
            *(send(port, headers=headers) for headers in INCOMPLETE),
        ]
        by_hand = subprocess.run(
            ["bash", "-c", f"set -eu -o pipefail\n{BY_HAND}"],
            env={**os.environ, "PORT": str(port), "SECRET": signing.shown(SECRET)},
            capture_output=True,
            text=True,
            check=True,
        )

        assert [answer.status for answer in genuine] == [204] * 3
        assert [answer.status for answer in forged] == [400] * (3 + len(INCOMPLETE))
        assert by_hand.stdout == "204\n"
        until = time.monotonic() + START_TIMEOUT_S
        while printed.read_text().count("\n") < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert printed.read_text() == "money.received 500\n" * 2
