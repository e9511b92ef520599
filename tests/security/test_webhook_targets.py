"""Which URLs webhooks may have, and which addresses they may reach: a table of hostile ones."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from app.networks import parse_networks
from app.webhooks import outgoing, targets
from app.webhooks.outgoing import Answer
from app.webhooks.targets import TargetRefused
from local.processes import LOOPBACK
from tests.certificates import certificate_for
from tests.receiver import receiving

PUBLIC = "93.184.216.34"
# Well before a hostile server would have ended, or a limit that was not obeyed.
SOON_S = 15.0
LOCAL = parse_networks(["127.0.0.0/8"])

# What may not even be a webhook's URL, wherever its host is.
MALFORMED = [
    "", "shop.example", "//shop.example/", "ftp://shop.example/", "file:///etc/passwd", "gopher://shop.example/",
    "javascript:alert(1)", "https://", "https:///hook", "https://user@shop.example/", "https://user:pw@shop.example/",
    "https://shop.example@127.0.0.1/", "https://8.8.8.8%2f@127.0.0.1/", "https://shop.example\\@127.0.0.1/",
    "https://shop.example#@127.0.0.1/", "https://shop.example/#fragment", "https://shop.example:0/",
    "https://shop.example:22/", "https://shop.example:25/", "https://shop.example:1023/", "https://shop.example:65536/",
    "https://shop.example:port/", "https://shop.example/a b", "https://shop.example/\r\nHost: x", "https://shop\t.example/",
    " https://shop.example/", "https://shop.example/\x00", "https://shop.example/ü", "https://2130706433/",
    "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f000001/", "https://127.1/", "https://1.2.3/",
    "https://127.0.0.1.1/", "https://256.1.1.1/", "https://[::1/", "https://[::1%25lo]/", "https://[v1.x]/",
    "https://[127.0.0.1]/",
    "https://[2606:4700::1111]evil.example/", "https://evil.example[2606:4700::1111]/",
    "https://-shop.example/", "https://shop..example/", "https://.shop.example/",
    "https://" + "a" * 64 + ".example/", "https://" + "a." * 130 + "example/", "https://shop.example/" + "a" * 2_000,
    "https://*.example/", "https://shop.example:443:443/", "https://xn--/", "https://\u2066shop.example/",
]  # fmt: skip
# Hosts that are addresses, however they are written, and that nobody may reach.
HOSTILE = [
    "127.0.0.1", "127.0.0.1.", "127.255.255.254", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1",
    "0.0.0.0",  # noqa: S104 -- nothing listens there
    "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255", "169.254.0.1", "169.254.169.254",
    "168.63.129.16", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "\uff11\uff12\uff17.0.0.1",
    "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::5db8:d822]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:5db8:d822::]", "[2001::1]", "[2001:0:7f00:1::]", "[2001:db8::1]",
    "[2001:2::1]", "[2001:10::1]", "[2001:20::1]", "[100::1]", "[3fff::1]", "[5f00::1]", "[4000::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[2620:4f:8000::1]",
]  # fmt: skip
GOOD = [PUBLIC, "8.8.8.8", "1.1.1.1", "[2606:4700::1111]", "[2001:4860:4860::8888]", f"[::ffff:{PUBLIC}]"]

Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Say which addresses a name has: at its first lookup, its second, and so on."""
    known: dict[str, list[list[str]]] = {}

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror
        answers = known[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port)) for each in answer]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return lambda host, *answers: known.update({host: [list(answer) for answer in answers]})


def may_be_reached(url: str, allowed: Any = ()) -> bool:
    try:
        targets.addresses_of(targets.parse(url), allowed)
    except TargetRefused:
        return False
    return True


@pytest.mark.parametrize("url", MALFORMED)
def test_a_url_that_two_parsers_may_read_differently_is_refused(url: str, names: Names) -> None:
    with pytest.raises(TargetRefused):
        targets.parse(url)


@pytest.mark.parametrize("host", HOSTILE)
def test_an_address_that_is_not_public_is_not_reached(host: str, names: Names) -> None:
    assert not may_be_reached(f"https://{host}/")


@pytest.mark.parametrize("host", HOSTILE)
def test_a_name_is_no_way_to_such_an_address(host: str, names: Names) -> None:
    address = host.strip("[].").replace("\uff11\uff12\uff17", "127")
    names("shop.example", [PUBLIC, address])

    assert not may_be_reached("https://shop.example/")


@pytest.mark.parametrize("host", GOOD)
def test_a_public_address_is_reached(host: str) -> None:
    assert may_be_reached(f"https://{host}/")
    assert may_be_reached(f"https://{host}:8443/path?query=1")
    # In clear only where the operator says so.
    assert not may_be_reached(f"http://{host}/")


def test_a_name_is_looked_up_in_one_form(names: Names) -> None:
    names("xn--bcher-kva.example", [PUBLIC])
    names("shop.example", [PUBLIC])

    assert may_be_reached("https://bücher.example/")
    assert may_be_reached("https://BÜCHER.example/")
    assert may_be_reached("https://Shop.Example./")
    assert not may_be_reached("https://nowhere.example/")
    assert targets.parse("https://bücher.example:8443").authority == "xn--bcher-kva.example:8443"


def test_networks_that_the_operator_names_are_reached_over_http_too(names: Names) -> None:
    names("localhost", ["127.0.0.1"])
    names("mixed.example", ["127.0.0.1", "10.0.0.1"])

    assert may_be_reached("http://localhost:8080/", LOCAL)
    assert may_be_reached("https://127.0.0.1/", LOCAL)
    assert may_be_reached("http://[::ffff:127.0.0.1]/", LOCAL)
    assert not may_be_reached("http://10.0.0.1/", LOCAL)
    assert not may_be_reached("https://mixed.example/", LOCAL)
    assert not may_be_reached("http://localhost:22/", LOCAL)


def test_no_refusal_says_what_is_in_the_network(names: Names) -> None:
    names("inside.example", ["10.0.0.1"])
    told = set()
    for url in ("https://inside.example/", "https://nowhere.example/", "https://10.0.0.1/", "http://8.8.8.8/"):
        with pytest.raises(TargetRefused) as refused:
            targets.addresses_of(targets.parse(url), ())
        told.add(str(refused.value))

    assert len(told) == 1


def test_what_is_connected_to_is_what_was_checked(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    names("rebinding.example", [PUBLIC], ["127.0.0.1"])
    reached: list[Any] = []

    def connect(_self: socket.socket, address: Any) -> None:
        reached.append(address)
        raise OSError

    monkeypatch.setattr(socket.socket, "connect", connect)

    assert outgoing.post("https://rebinding.example/", b"{}", {}, allowed=()) == Answer(None)
    assert reached == [(PUBLIC, 443)]
    # By now the name leads elsewhere, and nothing is connected at all.
    assert outgoing.post("https://rebinding.example/", b"{}", {}, allowed=()) == Answer(None)
    assert len(reached) == 1


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with receiving() as inner, receiving() as outer:
        outer.answer = lambda _received: (302, {"Location": inner.url})
        answer = outgoing.post(outer.url, b"{}", {}, allowed=LOCAL)

    assert answer.status == 302
    assert not answer.is_success
    assert inner.received == []


@contextmanager
def speaking(say: Callable[[socket.socket], None]) -> Iterator[int]:
    """Have a server on loopback that does what it likes with a connection."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    say(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def sent_to(
    say: Callable[[socket.socket], None], timeout_s: float = 30.0, scheme: str = "http"
) -> tuple[Answer, float]:
    begun = time.monotonic()
    with speaking(say) as port:
        answer = outgoing.post(f"{scheme}://{LOOPBACK}:{port}/", b"{}", {}, allowed=LOCAL, timeout_s=timeout_s)
    return answer, time.monotonic() - begun


def drip(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"H")
        time.sleep(0.05)


def test_a_slow_drip_ends_with_the_time_limit() -> None:
    answer, took_s = sent_to(drip, timeout_s=0.4)

    assert answer == Answer(None)
    assert took_s < SOON_S


def test_a_silent_handshake_ends_with_the_time_limit() -> None:
    answer, took_s = sent_to(lambda _connection: time.sleep(30), timeout_s=0.4, scheme="https")

    assert answer == Answer(None)
    assert took_s < SOON_S


@pytest.mark.parametrize(
    "said",
    [
        b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, b"HTTP/1.1 103 Early\r\n\r\n" * 9,
    ],
)  # fmt: skip
def test_what_is_no_answer_counts_as_not_reached(said: bytes) -> None:
    assert sent_to(lambda connection: connection.sendall(said))[0] == Answer(None)


def test_an_endless_body_is_not_read() -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        for _ in range(100_000):
            connection.sendall(b"x" * 65_536)

    answer, took_s = sent_to(pour, timeout_s=30.0)

    assert answer.status == 200
    assert took_s < SOON_S


def test_interim_answers_are_passed_over_and_retry_after_is_read() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nretry-after: 120\r\n\r\n"
    answer, _ = sent_to(lambda connection: connection.sendall(said))

    assert (answer.status, answer.retry_after_s) == (503, 120.0)
    for text in (b"Wed, 21 Oct 2015 07:28:00 GMT", b"-5", b"soon", b"\xb2", b"Wed, 21 Oct 2015 07:28:00 -0000"):
        said = b"HTTP/1.1 503 Busy\r\nRetry-After: " + text + b"\r\n\r\n"
        answer, _ = sent_to(lambda connection, said=said: connection.sendall(said))  # type: ignore[misc]
        assert answer.retry_after_s in (None, 0.0)
    said = b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 400 + b"\r\n\r\n"
    answer, _ = sent_to(lambda connection: connection.sendall(said))
    assert (answer.retry_after_s or 0) > 10**9


def test_a_switch_of_protocols_is_a_failure_and_nothing_more_is_awaited() -> None:
    def switch(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        time.sleep(30)

    answer, took_s = sent_to(switch)

    assert (answer.status, answer.is_success) == (101, False)
    assert took_s < SOON_S


def test_a_certificate_must_be_the_names(tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    names("shop.example", [LOOPBACK])
    names("other.example", [LOOPBACK])
    certificate = certificate_for("shop.example", tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    told: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: told.append(name)

    def say(connection: socket.socket) -> None:
        with server.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4_096)
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def status(host: str) -> int | None:
        with speaking(say) as port:
            return outgoing.post(f"https://{host}:{port}/", b"{}", {}, allowed=LOCAL, timeout_s=30).status

    assert status("shop.example") is None
    monkeypatch.setattr(outgoing, "tls", lambda: trusting)
    assert status("shop.example") == 204
    assert status("other.example") is None
    assert told == ["shop.example", "shop.example", "other.example"]


def test_a_certificate_that_has_expired_is_none(tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    names("shop.example", [LOOPBACK])
    certificate = certificate_for("shop.example", tmp_path, has_expired=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    monkeypatch.setattr(outgoing, "tls", lambda: ssl.create_default_context(cafile=str(certificate)))

    def say(connection: socket.socket) -> None:
        with server.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4_096)
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with speaking(say) as port:
        assert outgoing.post(f"https://shop.example:{port}/", b"{}", {}, allowed=LOCAL, timeout_s=5) == Answer(None)


def test_a_mapped_address_counts_as_what_it_stands_for() -> None:
    assert targets.is_allowed(ip_address("::ffff:127.0.0.1"), LOCAL)
    assert not targets.is_allowed(ip_address("::ffff:127.0.0.1"), ())
