"""Texts of Cisco IOS of any size: what bench/nat.py reads, and what it loads."""

from ipaddress import IPv4Address

HEAD = (
    "interface GigabitEthernet0/0",
    " ip address 10.0.0.254 255.0.0.0",
    " ip nat inside",
    "interface GigabitEthernet0/1",
    " ip address 198.18.0.1 255.254.0.0",
    " ip nat outside",
)
"""198.18.0.0/15 is for benchmarks (RFC 2544)."""
_LOCAL, _GLOBAL = int(IPv4Address("10.64.0.0")), int(IPv4Address("198.18.1.0"))


def local(number: int) -> IPv4Address:
    """The inside local address of a static entry."""
    return IPv4Address(_LOCAL + number)


def global_(number: int) -> IPv4Address:
    """Its inside global address."""
    return IPv4Address(_GLOBAL + number)


def statics(count: int) -> list[str]:
    return [f"ip nat inside source static {local(n)} {global_(n)}" for n in range(count)]


def mixed(lines: int) -> str:
    """Lines of every kind in the shares of a big router's text: half of it statics, a third lists."""
    text = list(HEAD)
    number = 0
    while len(text) < lines:
        text += _block(number)
        number += 1
    return "\n".join(text[:lines]) + "\n"


def _block(number: int) -> list[str]:
    """One site: 50 lines."""
    name, first, pool = f"SITE-{number}", 20 * number, global_(60_000 + 8 * number)
    hosts = [f"ip nat inside source static {local(n)} {global_(n)}" for n in range(first, first + 15)]
    ports = [
        f"ip nat inside source static {protocol} {local(n)} {port} {global_(n)} {port} extendable"
        for n in range(first + 15, first + 20)
        for protocol, port in (("tcp", 443), ("udp", 53))
    ]
    entries = [f" permit tcp host {local(n)} any eq www" for n in range(first, first + 15)]
    return [
        "!",
        f"interface Loopback{number}",
        f" description site {number}",
        *hosts,
        *ports,
        f"ip access-list extended {name}",
        f" remark what site {number} may",
        " deny ip any 10.0.0.0 0.255.255.255",
        *entries,
        f"access-list {100 + number % 100} permit udp any host {pool} range 1024 2048",
        f"ip nat pool {name} {pool} {pool + 3} prefix-length 29",
        f"ip nat inside source list {name} pool {name} overload",
    ]
