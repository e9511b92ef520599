"""The client's address behind proxies: believed only from those that the operator named."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# One customer's IPv6 addresses are as many as they like within their /64.
IPV6_PREFIX_BITS = 64
Network = IPv4Network | IPv6Network


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Return the networks that addresses such as 10.0.0.7 and ranges such as 10.0.0.0/8 name; raises ValueError."""
    return [ip_network(text) for text in texts]


def client_network(text: str) -> str:
    """Return what of a client's address names the client: all of an IPv4 address, the network of an IPv6 one."""
    if not _is_address(text) or ip_address(text).version == 4:
        return text
    return str(ip_network((text, IPV6_PREFIX_BITS), strict=False))


class TrustedProxies:
    """WSGI middleware: takes the client's address and scheme from X-Forwarded-* as far as trusted proxies wrote them.

    Anybody can send these headers. So they count only if the peer is a trusted proxy,
    and of X-Forwarded-For, to which each proxy appends its own peer, only the part
    from the right up to the first address that is no trusted proxy: the client.
    """

    def __init__(self, wsgi_app: Any, networks: Sequence[Network]) -> None:
        self._wsgi_app = wsgi_app
        self._networks = networks

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            environ["REMOTE_ADDR"] = self._client(environ)
            # The nearest proxy's word: it knows how it was reached.
            scheme = environ.get(FORWARDED_PROTO, "").rpartition(",")[2].strip()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        return self._wsgi_app(environ, start_response)

    def _client(self, environ: dict[str, Any]) -> str:
        client: str = environ["REMOTE_ADDR"]
        for text in reversed(environ.get(FORWARDED_FOR, "").split(",")):
            if not _is_address(text.strip()):
                break
            client = text.strip()
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, text: str) -> bool:
        if not _is_address(text):
            return False
        address = ip_address(text)
        return any(address in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
