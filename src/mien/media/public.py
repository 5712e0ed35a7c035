"""Connections to public addresses only, for URLs from untrusted callers.

The name is resolved once, and the connection goes to the address that was checked. This prevents DNS rebinding, where a name resolves to
another address after the check.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NAT64 = IPv6Network("64:ff9b::/96")


def connect(host: str, port: int, timeout_s: float | None, allowed: Callable[[str], bool]) -> socket.socket:
    """Return a connection to the first IP address of ``host``, if all of them are allowed.

    Raises:
        OSError: an address is not allowed, or the host does not answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not allowed(str(address[0])):
            raise OSError("the address is not public")
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(timeout_s)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet. For an IPv6 address that embeds an IPv4 address, the latter decides.

    >>> [is_public(a) for a in ("93.184.216.34", "127.0.0.1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::1")]
    [True, False, False, False, False, False, False]
    """
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1] or (IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None)
        )
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
