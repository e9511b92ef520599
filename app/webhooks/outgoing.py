"""Sends one request to a webhook's URL: to a checked address, within one time limit, without following redirects.

It reads only the head of the answer, and of the head only the status and Retry-After.
"""

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from app import clock
from app.networks import Address, Network
from app.webhooks import targets
from app.webhooks.targets import Target, TargetRefused

TIMEOUT_S = 15.0
HEAD_BYTES_MAX = 16 * 1024
# Statuses below 200, except this one, only announce another answer.
_INTERIM_MAX = 5
_SWITCHING_PROTOCOLS = 101
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])( [^\r\n]*)?")
UNREACHABLE = "could not be reached"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request. Without a status, the host could not be reached or did not answer in time.

    `retry_after_s` is the time that the answer asked for, if any.
    """

    status: int | None
    duration_ms: int | None = None
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Sequence[Network],
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send the body, and return the result. Nothing that the other side does makes this raise.

    The result has a duration only if there was an answer, so that nobody can use it to explore the bank's network.
    """
    begun = time.monotonic()
    deadline = begun + timeout_s
    try:
        target = targets.parse(url)
        found = targets.addresses_of(target, allowed)
        with _connected(target, found, deadline) as connection:
            connection.settimeout(_left(deadline))
            connection.sendall(_request(target, body, headers))
            status, told = _head(connection, deadline)
    except (OSError, ValueError, TargetRefused):
        return Answer(None)
    return Answer(status, round((time.monotonic() - begun) * 1_000), _retry_after_s(told))


def _connected(target: Target, addresses: Sequence[Address], deadline: float) -> socket.socket:
    """Return a connection to the first address that takes it. The name is never looked up again."""
    error: OSError = OSError("There is no address.")
    for address in addresses:
        plain = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            plain.settimeout(_left(deadline))
            plain.connect((str(address), target.port))
            if not target.is_secure:
                return plain
            plain.settimeout(_left(deadline))
            # The certificate must be for the name, although we connect to an address.
            return tls().wrap_socket(plain, server_hostname=target.host)
        except OSError as failed:
            plain.close()
            error = failed
        except BaseException:
            plain.close()
            raise
    raise error


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Return a context that checks certificates against the authorities that this machine trusts."""
    return ssl.create_default_context()


def _request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = {
        "Host": target.authority,
        "User-Agent": "Fincore-Webhooks/1.0",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept": "*/*",
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _head(connection: socket.socket, deadline: float) -> tuple[int, dict[bytes, bytes]]:
    """Return the status and the headers of the answer; raises ValueError if it is not HTTP."""
    received = b""
    for _ in range(_INTERIM_MAX):
        while b"\r\n\r\n" not in received:
            if len(received) > HEAD_BYTES_MAX:
                raise ValueError("The head is too long.")
            connection.settimeout(_left(deadline))
            part = connection.recv(4_096)
            if not part:
                raise ValueError("The answer ended early.")
            received += part
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        told = _STATUS.fullmatch(first)
        if told is None:
            raise ValueError("This is not HTTP.")
        status = int(told[1])
        if status >= 200 or status == _SWITCHING_PROTOCOLS:
            pairs = (line.partition(b":") for line in lines)
            return status, {name.lower(): value.strip() for name, _, value in pairs}
    raise ValueError("The answer never came.")


def _retry_after_s(headers: Mapping[bytes, bytes]) -> float | None:
    text = headers.get(b"retry-after", b"").decode("latin-1")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at: datetime = parsedate_to_datetime(text)
        return max(0.0, (at - clock.now()).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("It took too long.")
    return left
