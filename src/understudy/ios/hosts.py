"""What two entries of lists have in common: addresses with wildcards, whose open bits need not be at the end."""

from ipaddress import IPv4Address

from understudy.ios.model import Entry, Host

ANYBODY = Host()
_ALL = 0xFFFFFFFF


def meet(one: Host, other: Host) -> bool:
    """Whether some address matches both. A group is taken to match anything."""
    if one.group is not None or other.group is not None:
        return True
    fixed = ~(int(one.wildcard) | int(other.wildcard)) & _ALL
    return int(one.address) & fixed == int(other.address) & fixed


def covers(one: Host, other: Host) -> bool:
    """Whether all that matches `other` matches `one`."""
    if one.group is not None or other.group is not None:
        return False
    fixed = ~int(one.wildcard) & _ALL
    return not (fixed & int(other.wildcard)) and int(one.address) & fixed == int(other.address) & fixed


def host_count(host: Host) -> int:
    """Hosts that match, a subnet's own two addresses left out."""
    bits = int(host.wildcard).bit_count()
    return (1 << bits) - 2 if bits > 1 else 1 << bits


def destination(entry: Entry) -> Host:
    """Of a standard list: anybody."""
    return entry.destination if entry.destination is not None else ANYBODY


def as_host(address: IPv4Address) -> Host:
    """A single address."""
    return Host(address, IPv4Address(0))
