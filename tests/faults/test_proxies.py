"""The attack on kept connections behind real proxies with careless settings: nginx and HAProxy."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from local.processes import LOOPBACK, free_port, holds_within
from tests.certificates import certificate_for
from tests.documents import block
from tests.faults.wire import head, post, program, wire
from tests.server import running_server

REQUEST_TIMEOUT_S = 1
# Around the end of a request's time, and well behind it.
PAUSES_S = (0.5, 0.9, 1.1, 1.6, 2.5)
BODY = b'{"email": "nobody@fincore.example", "password": "whatever it is"}'
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n"

# It hands a body on as it comes, over connections that others use next.
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream bank {{ server 127.0.0.1:{upstream}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://bank; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_next_upstream off;
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  default_backend bank
backend bank
  server bank 127.0.0.1:{upstream} pool-max-conn 1
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    with running([program("nginx"), "-c", str(file), "-e", str(folder / "error.log")], port):
        yield port


@contextmanager
def haproxy(folder: Path, upstream: int) -> Iterator[int]:
    port = free_port()
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, upstream=upstream))
    with running([program("haproxy"), "-db", "-f", str(file)], port):
        yield port


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        assert holds_within(60.0, lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, "The proxy did not start; its reason is above."
        yield
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def upstream(mongo_uri: str) -> Iterator[int]:
    with running_server(mongo_uri, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_S=str(REQUEST_TIMEOUT_S)) as port:
        yield port


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_nobody_gets_an_answer_to_what_somebody_else_has_smuggled(
    upstream: int, tmp_path: Path, proxy: Callable[[Path, int], AbstractContextManager[int]]
) -> None:
    with proxy(tmp_path, upstream) as port:
        for pause_s in PAUSES_S:
            with wire(port) as attacker:
                attacker.send(post("/api/auth/login", BODY, length=len(BODY) + len(SMUGGLED)))
                time.sleep(pause_s)
                with suppress(ConnectionError):
                    attacker.send(SMUGGLED)
                for number in range(3):
                    with wire(port) as victim:
                        victim.send(head("GET", f"/api/of-the-victim/{number}", "X-Request-ID: victim\r\n"))
                        answer = victim.answer()
                    assert answer is not None
                    assert (answer.status, answer.headers["x-request-id"]) == (404, "victim"), pause_s
                refused = attacker.answer()
            assert refused is None or refused.status in (400, 408, 502), pause_s


def test_haproxy_takes_the_settings_of_the_guide(tmp_path: Path) -> None:
    certificate, settings = certificate_for("bank.example", tmp_path), tmp_path / "haproxy.cfg"
    shown = block("docs/operations.md", "defaults")
    assert "/etc/haproxy/bank.pem" in shown
    settings.write_text(shown.replace("/etc/haproxy/bank.pem", str(certificate)))

    checked = subprocess.run([program("haproxy"), "-c", "-f", settings], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
