"""Values that get mixed up when they are bare numbers and strings.

Time is an integer count of nanoseconds everywhere: an `Instant` on the monotonic clock, a `Duration` between two of
them.
"""

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal, NewType

Instant = NewType("Instant", int)
"""Nanoseconds of a monotonic clock."""

Duration = int
"""Nanoseconds between two instants."""

Vrid = NewType("Vrid", int)
"""Virtual router identifier, 1-255, one number space a LAN and address family (RFC 9568, section 5.2.3)."""

Priority = NewType("Priority", int)
"""VRRP priority: 0 gives up, 255 owns the address, 1-254 otherwise (RFC 9568, section 5.2.4)."""

NodeName = NewType("NodeName", str)
NetworkName = NewType("NetworkName", str)
GroupName = NewType("GroupName", str)
ServiceName = NewType("ServiceName", str)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network
Family = Literal[4, 6]

MICROSECOND: Duration = 1_000
MILLISECOND: Duration = 1_000_000
CENTISECOND: Duration = 10_000_000
SECOND: Duration = 1_000_000_000

_UNITS = {"us": MICROSECOND, "ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_DURATION = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?(us|ms|s|m|h|d)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """Read `100ms`, `1.5s`, `15m` or `2h`. Raises ValueError for anything else, a bare number included."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration like 100ms, 1s, 15m or 2h")
    whole, fraction, unit = match.groups()
    scale = _UNITS[unit]
    return int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)


def format_duration(duration: Duration) -> str:
    """Write a duration in the largest unit that keeps it exact: 1500 ms is `1.5s`, 90 s is `90s`."""
    for unit, scale in (("s", SECOND), ("ms", MILLISECOND), ("us", MICROSECOND)):
        if duration % scale == 0 or (duration >= scale and (duration * 1000) % scale == 0):
            return f"{duration / scale:g}{unit}" if duration % scale else f"{duration // scale}{unit}"
    return f"{duration}ns"
