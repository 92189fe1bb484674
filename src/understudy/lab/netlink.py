"""What the lab asks of a route netlink socket: bridges, cables between namespaces, routes (rtnetlink(7)).

Our own few lines instead of a library: a lab of ten nodes stands in 45 ms, importing pyroute2 alone takes 140; starting
`ip` costs 1-3 ms each time, in the way of a fault. Only what the lab needs is here. Constants carry the kernel's names.
"""

import socket
import struct
from dataclasses import dataclass

from understudy.adapters.netlink import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Request,
    RouteSocket,
    add_address,
    attribute,
)
from understudy.units import Address, Interface, Prefix

__all__ = [
    "Peer",
    "Request",
    "RouteSocket",
    "add_address",
    "add_bridge",
    "add_route",
    "add_veth",
    "delete",
    "move",
    "set_up",
]

IFLA_MASTER, IFLA_IFALIAS, IFLA_NET_NS_FD = 10, 20, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING = 1, 5, 23
VETH_INFO_PEER = 1
IFF_UP = 0x1
RTA_DST, RTA_GATEWAY = 1, 5
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1

_LINK = struct.Struct("=BxHiII")


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _link(index: int, *, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)


def _information(kind: str, data: bytes) -> bytes:
    return attribute(
        IFLA_LINKINFO | NLA_F_NESTED,
        attribute(IFLA_INFO_KIND, kind.encode()) + attribute(IFLA_INFO_DATA | NLA_F_NESTED, data),
    )


def add_bridge(index: int, name: str, alias: str) -> Request:
    """A bridge that is up, forwards at once on a new port and floods all multicast, as a plain switch does."""
    data = (
        attribute(IFLA_BR_FORWARD_DELAY, struct.pack("=I", 0))
        + attribute(IFLA_BR_STP_STATE, struct.pack("=I", 0))
        + attribute(IFLA_BR_MCAST_SNOOPING, b"\0")
    )
    payload = (
        _link(index, flags=IFF_UP, change=IFF_UP)
        + attribute(IFLA_IFNAME, _text(name))
        + attribute(IFLA_IFALIAS, alias.encode())
        + _information("bridge", data)
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, "add bridge", name)


def add_veth(index: int, name: str, alias: str, master: int, peer: "Peer") -> Request:
    """A cable: one end here as a port of bridge `master`, up; the other end in the namespace of `peer`, down."""
    other = (
        _link(peer.index)
        + attribute(IFLA_IFNAME, _text(peer.name))
        + attribute(IFLA_ADDRESS, peer.mac)
        + attribute(IFLA_NET_NS_FD, struct.pack("=i", peer.namespace_fd))
    )
    payload = (
        _link(index, flags=IFF_UP, change=IFF_UP)
        + attribute(IFLA_IFNAME, _text(name))
        + attribute(IFLA_IFALIAS, alias.encode())
        + attribute(IFLA_MASTER, struct.pack("=I", master))
        + _information("veth", attribute(VETH_INFO_PEER | NLA_F_NESTED, other))
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, "add cable", f"{name} ({alias})")


@dataclass(frozen=True, slots=True)
class Peer:
    """The node's end of a cable."""

    namespace_fd: int
    index: int
    name: str
    mac: bytes


def set_up(index: int, *, up: bool, subject: str) -> Request:
    flags = IFF_UP if up else 0
    return Request(RTM_NEWLINK, 0, _link(index, flags=flags, change=IFF_UP), f"set {'up' if up else 'down'}", subject)


def delete(index: int, subject: str) -> Request:
    """Remove a link; a cable goes with both ends."""
    return Request(RTM_DELLINK, 0, _link(index), "delete", subject)


def move(index: int, namespace_fd: int, subject: str) -> Request:
    """Carry a link to another namespace; it arrives down and without addresses, whatever stood on it is gone."""
    payload = _link(index) + attribute(IFLA_NET_NS_FD, struct.pack("=i", namespace_fd))
    return Request(RTM_NEWLINK, 0, payload, "move", subject)


def add_route(destination: Prefix, via: Address) -> Request:
    payload = (
        struct.pack(
            "=BBBBBBBBI",
            _family(via),
            destination.prefixlen,
            0,
            0,
            RT_TABLE_MAIN,
            RTPROT_STATIC,
            0,
            RTN_UNICAST,
            0,
        )
        + (attribute(RTA_DST, destination.network_address.packed) if destination.prefixlen else b"")
        + attribute(RTA_GATEWAY, via.packed)
    )
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, payload, "add route", f"{destination} via {via}")


def _family(value: Address | Interface) -> int:
    return socket.AF_INET if value.version == 4 else socket.AF_INET6
