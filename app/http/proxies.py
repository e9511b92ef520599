"""Finds the client's address behind proxies. Only proxies that the operator named are believed."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.networks import Address, Network, parse_address

PEERS_KNOWN_MAX = 1_000
FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# Headers that proxies add. A request that has one of these comes from somebody behind the peer.
_OF_PROXIES = (FORWARDED_FOR, FORWARDED_PROTO, "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP")


def is_local(request: Mapping[str, Any]) -> bool:
    """Tell whether a WSGI request comes from this machine itself, and not through a proxy on it."""
    peer = parse_address(request.get("REMOTE_ADDR", ""))
    return peer is not None and peer.is_loopback and not any(name in request for name in _OF_PROXIES)


class ClientAddress:
    """WSGI middleware: takes the client's address and scheme from X-Forwarded-* headers that trusted proxies wrote.

    Anybody can send these headers, so they count only if the peer is a trusted proxy. Each proxy
    appends its own peer to X-Forwarded-For. So the list is read from the right, and the first
    address that is no trusted proxy is the client.

    The address is always rewritten in one form, even without proxies. Otherwise limits and the audit log could take
    one client for two, because an IPv4 address can also arrive as an IPv4-mapped IPv6 address.
    """

    def __init__(self, wsgi_app: Any, networks: Sequence[Network]) -> None:
        self._wsgi_app = wsgi_app
        self._networks = networks

    def __call__(self, request: dict[str, Any], start_response: Any, /) -> Any:
        peer, written = _known_peer(request.get("REMOTE_ADDR", ""))
        if peer is not None:
            forwarded_for = request.get(FORWARDED_FOR)
            request["REMOTE_ADDR"] = str(self._client(peer, forwarded_for)) if forwarded_for else written
            # The nearest proxy wrote the last value. It knows how it was reached.
            scheme = request.get(FORWARDED_PROTO, "").rpartition(",")[2].strip()
            if scheme in ("http", "https") and self._is_trusted(peer):
                request["wsgi.url_scheme"] = scheme
        return self._wsgi_app(request, start_response)

    def _client(self, peer: Address, forwarded_for: str) -> Address:
        client = peer
        for text in reversed(forwarded_for.split(",")):
            address = parse_address(text.strip())
            if address is None or not self._is_trusted(client):
                break
            client = address
        return client

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(PEERS_KNOWN_MAX)
def _known_peer(text: str) -> tuple[Address | None, str]:
    """Return a peer's address and how we write it. Most requests come from a few peers."""
    peer = parse_address(text)
    return peer, str(peer)
