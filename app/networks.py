"""IP addresses and networks, each in one form only."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# One customer usually has a whole /64 of IPv6 addresses, so it counts as one client.
IPV6_PREFIX_BITS = 64
# A server that listens on [::] sees IPv4 clients with mapped addresses: 203.0.113.5 as ::ffff:203.0.113.5.
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Return the networks for addresses such as 10.0.0.7 and ranges such as 10.0.0.0/8; raises ValueError."""
    return [_unmapped(ip_network(text)) for text in texts]


def client_network(text: str) -> str:
    """Return the part of an address that identifies the client: a whole IPv4 address, or the /64 of an IPv6 one."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), IPV6_PREFIX_BITS), strict=False))
    return text if address is None else str(address)


@lru_cache(maxsize=4_096)  # a client sends many requests
def parse_address(text: str) -> Address | None:
    """Return the address, or None if `text` is not one. Mapped addresses become IPv4; interface names are dropped."""
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
