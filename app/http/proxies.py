"""The client's address behind proxies, believed only from those that the operator named."""

from collections.abc import Sequence
from typing import Any

from app.networks import Address, Network, parse_address

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"


class ClientAddress:
    """WSGI middleware: takes the client's address and scheme from X-Forwarded-* as far as trusted proxies wrote them.

    Anybody can send these headers. So they count only if the peer is a trusted proxy,
    and of X-Forwarded-For, to which each proxy appends its own peer, only the part
    from the right up to the first address that is no trusted proxy: the client.

    Whoever the client is, and without any proxies too, the address is written one way: limits and the audit log
    shall not take one client for two because it came in by IPv4 first and by a mapped address then.
    """

    def __init__(self, wsgi_app: Any, networks: Sequence[Network]) -> None:
        self._wsgi_app = wsgi_app
        self._networks = networks

    def __call__(self, request: dict[str, Any], start_response: Any, /) -> Any:
        peer = parse_address(request.get("REMOTE_ADDR", ""))
        if peer is not None:
            request["REMOTE_ADDR"] = str(self._client(peer, request.get(FORWARDED_FOR, "")))
            # The nearest proxy's word: it knows how it was reached.
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
