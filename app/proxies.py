"""The client's address, written one way, and behind proxies believed only from those that the operator named."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# One customer's IPv6 addresses are as many as they like within their /64.
IPV6_PREFIX_BITS = 64
# A server that listens on [::] sees the IPv4 clients there: 203.0.113.5 as ::ffff:203.0.113.5.
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Return the networks that addresses such as 10.0.0.7 and ranges such as 10.0.0.0/8 name; raises ValueError."""
    return [_unmapped(ip_network(text)) for text in texts]


def client_network(text: str) -> str:
    """Return what of a client's address names the client: all of an IPv4 address, the network of an IPv6 one."""
    address = _parse(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), IPV6_PREFIX_BITS), strict=False))
    return text if address is None else str(address)


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
        peer = _parse(request.get("REMOTE_ADDR", ""))
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
            address = _parse(text.strip())
            if address is None or not self._is_trusted(client):
                break
            client = address
        return client

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _parse(text: str) -> Address | None:
    """Return the address, an IPv4 one where it is mapped into IPv6 and without the name of an interface."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(IPV4_MAPPED):
        bits = network.prefixlen - IPV4_MAPPED.prefixlen
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, bits))
    return network
