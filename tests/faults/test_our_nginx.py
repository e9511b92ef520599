"""The nginx configuration that we offer, with a real nginx and a real server behind it."""

import http.client
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo.database import Database

from app.mongo import Document
from config import ROOT
from local.processes import LOOPBACK, free_port, holds_within
from tests.certificates import certificate_for
from tests.clients import Answer
from tests.faults.wire import post, program
from tests.people import PASSWORD, Bank, new_key
from tests.server import running_server

HOST = "bank.example"
# The client has an address of its own, so that it is not taken for the proxy.
CLIENT = "127.0.0.2"
MIB = 1024**2
AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  include {folder}/fincore.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """Where nginx listens, and a client of it that speaks TLS."""

    plain: int
    tls: int
    certificate: Path
    access_log: Path

    def connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificate))
        plain = socket.create_connection((LOOPBACK, self.tls), timeout=30, source_address=(CLIENT, 0))
        return context.wrap_socket(plain, server_hostname=HOST)

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        connection = http.client.HTTPConnection(HOST, self.tls)
        connection.sock = self.connect()
        with closing(connection):
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def answer_to(self, request: bytes) -> bytes:
        """Return how the answer to these bytes begins. The rest of the request, if any, is never sent."""
        with self.connect() as connection:
            connection.sendall(request)
            return connection.recv(65_536)


def adapted(upstream: int, plain: int, tls: int, certificate: Path) -> str:
    """Return our file with the places that everybody has to adapt: ports, certificate, upstream."""
    text = (ROOT / "deploy" / "nginx" / "fincore.conf").read_text()
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    for of, to in {
        "server 127.0.0.1:5000": f"server 127.0.0.1:{upstream}",
        "listen 80;": f"listen {LOOPBACK}:{plain};",
        "listen 443 ssl": f"listen {LOOPBACK}:{tls} ssl",
        "/etc/ssl/bank.example/fullchain.pem": str(certificate),
        "/etc/ssl/bank.example/privkey.pem": str(certificate),
    }.items():
        assert of in text
        text = text.replace(of, to)
    return text


@pytest.fixture(scope="module")
def proxy(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx, folder = program("nginx"), tmp_path_factory.mktemp("nginx")
    certificate = certificate_for(HOST, folder)
    with running_server(mongo_uri, WEB_CONCURRENCY="1", TRUSTED_PROXIES="127.0.0.1") as upstream:
        found = Proxy(free_port(), free_port(), certificate, folder / "access.log")
        (folder / "fincore.conf").write_text(adapted(upstream, found.plain, found.tls, certificate))
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
        process = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        try:
            assert holds_within(30.0, lambda: process.poll() is not None or answers(found))
            assert process.poll() is None, (folder / "error.log").read_text()
            yield found
        finally:
            process.terminate()
            process.wait(60)


def answers(proxy: Proxy) -> bool:
    with suppress(OSError):
        return proxy.send("GET", "/healthz", {}, None).status == 200
    return False


@pytest.fixture
def bank(proxy: Proxy, database: Database[Document]) -> Bank:
    """The bank as people reach it."""
    return Bank(proxy)


def test_plain_http_is_sent_on_to_tls(proxy: Proxy) -> None:
    with closing(http.client.HTTPConnection(LOOPBACK, proxy.plain, timeout=30)) as connection:
        connection.request("POST", "/api/auth/login?next=1", b"{}", {"Host": HOST})
        response = connection.getresponse()

    assert (response.status, response.headers["Location"]) == (308, f"https://{HOST}/api/auth/login?next=1")


def test_money_moves_and_the_page_is_served(bank: Bank) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()

    assert payer.transfer(from_account, to_account, 400).status == 201
    assert payee.balance(to_account) == 400
    page = bank.anonymous.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "max-age" in page.headers["strict-transport-security"], "the application knows that this is TLS"


def test_the_page_keeps_its_session_in_a_cookie_for_tls_alone(bank: Bank, proxy: Proxy) -> None:
    person = bank.register()
    headers = {"X-Requested-With": "fincore", "Origin": f"https://{HOST}:{proxy.tls}"}
    body = {"email": person.user["email"], "password": PASSWORD}

    own = bank.anonymous.post("/session", body, headers=headers)
    foreign = bank.anonymous.post("/session", body, headers={**headers, "Origin": "https://evil.example"})

    assert (own.status, foreign.status) == (200, 403)
    assert own.headers["set-cookie"].startswith("__Host-fincore")
    assert "Secure" in own.headers["set-cookie"]


@pytest.mark.parametrize(("path", "status"), [("/metrics", 404), ("/readyz", 404), ("/healthz", 200)])
def test_strangers_see_neither_measures_nor_readiness(proxy: Proxy, path: str, status: int) -> None:
    assert proxy.send("GET", path, {}, None).status == status


def test_a_body_beyond_every_limit_is_refused_before_it_is_sent(proxy: Proxy) -> None:
    request = post("/api/transactions/batch", b"", length=4 * MIB + 1)

    assert proxy.answer_to(request).startswith(b"HTTP/1.1 413 ")


def test_a_body_within_the_largest_limit_gets_the_applications_own_answer(bank: Bank) -> None:
    person, account = bank.customer()
    large = json.dumps({"transfers": [], "padding": "x" * (3 * MIB)}).encode()
    ordinary = json.dumps({"name": "x" * (MIB // 2 + 1)}).encode()

    batch = person.post("/api/transactions/batch", data=large)
    renamed = person.patch(f"/api/accounts/{account}", data=ordinary)

    assert (batch.status, batch.code) == (422, "validation_failed")
    assert (renamed.status, renamed.code) == (413, "body_too_large")


def test_a_body_that_is_cut_off_never_reaches_the_bank(bank: Bank, proxy: Proxy) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    key = new_key()
    whole = {"fromAccount": from_account, "toAccount": to_account, "amount": 400, "idempotencyKey": key}
    body = json.dumps(whole).encode()
    with proxy.connect() as connection:
        connection.sendall(post("/api/transactions/create", body[:-1], token=payer.token, length=len(body)))

    assert payer.transfer(from_account, to_account, 300, key).status == 201, "the key is not spent"
    assert payer.balance(from_account) == 700


def test_the_bank_records_the_clients_address_and_no_invented_one(
    bank: Bank, proxy: Proxy, database: Database[Document]
) -> None:
    _, account = bank.customer()
    spoofed = {"X-Forwarded-For": "203.0.113.9"}

    frozen = bank.system.patch(
        f"/api/admin/accounts/{account}/status", {"status": "FROZEN", "reason": "A test"}, headers=spoofed
    )

    assert frozen.status == 200, frozen.content
    record = database.audit_log.find_one({"action": "account_frozen"})
    assert record is not None
    assert record["address"] == CLIENT
    assert holds_within(30.0, lambda: f"{CLIENT} - - " in proxy.access_log.read_text())


def test_the_token_that_turns_letters_off_is_in_no_log(proxy: Proxy) -> None:
    assert proxy.send("GET", "/unsubscribe?token=s3cret", {}, None).status == 404
    assert proxy.send("GET", "/sign-in", {}, None).status == 200

    assert holds_within(30.0, lambda: "/sign-in" in proxy.access_log.read_text())
    assert "s3cret" not in proxy.access_log.read_text()
