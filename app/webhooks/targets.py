"""Decides which URLs a webhook may have, and which addresses it may reach. It resolves names, but connects nowhere.

Only public unicast addresses may be reached, and networks that the operator names. A name is as good as its worst
address: if one of its addresses may not be reached, none may.
"""

import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import idna

from app.networks import Address, Network

URL_LENGTH_MAX = 2_000
PORTS_BELOW_1024 = frozenset({80, 443})
RESOLVE_TIMEOUT_S = 5.0

# Networks that are global by the registries, but lead to translators, tunnels, relays or a cloud's own services.
_REFUSED = [
    ip_network(text)
    for text in (
        "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.175.48.0/24", "198.18.0.0/15", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
]  # fmt: skip
# All that is assigned as global unicast. Other addresses that embed an IPv4 address, such as NAT64, are outside.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_URL = re.compile(r"[!-~]+")
_BRACKETED = re.compile(r"\[[0-9a-fA-F:.]+\](:[0-9]*)?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")
# A last label that parsers of addresses would read as a number: 2130706433, 0177.0.0.1, 0x7f.1.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


class TargetRefused(Exception):
    """A URL may not be called; the text says why, and nothing about the network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts. `host` is a name in ASCII or an address; `path` has the query too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """Return the host if it is an address, or None if it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Return the value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """Return the parts of a URL; raises TargetRefused for one that no webhook may have, whatever its host."""
    if len(url) > URL_LENGTH_MAX:
        raise TargetRefused(f"The URL is longer than {URL_LENGTH_MAX} characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise TargetRefused("This is not a URL.") from None
    rest = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    # Some parsers strip these characters or read them as separators, and others do not.
    if "\\" in url or "%" in parts.netloc or not _URL.fullmatch(rest) or any(c <= " " or c == "\x7f" for c in url):
        raise TargetRefused("This is not a URL.")
    if parts.scheme not in ("http", "https") or not host:
        raise TargetRefused("The URL must start with https:// and name a host.")
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        raise TargetRefused("The host is not an address.")
    if "@" in parts.netloc:
        raise TargetRefused("The URL must not have a user name or a password.")
    if "#" in url:
        raise TargetRefused("The URL must not have a fragment.")
    port = port if port is not None else 443 if parts.scheme == "https" else 80
    if port < 1 or (port < 1024 and port not in PORTS_BELOW_1024):
        raise TargetRefused("Of the ports below 1024 only 80 and 443 may be called.")
    return Target(parts.scheme, _host(host, is_bracketed="[" in parts.netloc), port, rest)


def _host(text: str, *, is_bracketed: bool) -> str:
    if is_bracketed:
        try:
            return str(IPv6Address(text))
        except ValueError:
            raise TargetRefused("The host is not an address.") from None
    name = text.lower().removesuffix(".")
    try:
        name = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise TargetRefused("The host is not a name.") from None
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise TargetRefused("The host is not an address.") from None
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise TargetRefused("The host is not a name.")
    return name


def addresses_of(target: Target, allowed: Sequence[Network]) -> list[Address]:
    """Return the addresses of the target's host, all of which may be reached.

    Raises TargetRefused if one of them may not, or if there is none. The text is always the same, so that nobody learns
    of the bank's network. Over http only addresses that the operator names may be reached.
    """
    found = [target.address] if target.address else _resolve(target.host, target.port)
    good = all(is_allowed(each, allowed, only_allowed=not target.is_secure) for each in found)
    if not found or not good:
        raise TargetRefused("The host has no address that webhooks may reach.")
    return found


def is_allowed(address: Address, allowed: Sequence[Network], *, only_allowed: bool = False) -> bool:
    """Tell whether webhooks may reach an address: one of the networks that are allowed, or a public one."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = inner or address
    if any(address in network for network in allowed):
        return True
    if only_allowed or any(address in network for network in _REFUSED):
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast


def _resolve(host: str, port: int) -> list[Address]:
    found: list[Address] = []

    def look_up() -> None:
        # Whatever is wrong with the name, there is no address.
        try:
            told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(ip_address(str(each[4][0]).partition("%")[0]) for each in told))
        except (OSError, ValueError):
            found.clear()

    _within(look_up, RESOLVE_TIMEOUT_S)
    return list(found)


def _within(call: Callable[[], None], seconds: float) -> None:
    """Call the function in a thread of its own, and wait no longer than this. A resolver has no time limit."""
    thread = threading.Thread(target=call, name="resolver", daemon=True)
    thread.start()
    thread.join(seconds)
