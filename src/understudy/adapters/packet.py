"""Packet sockets on a port: what the agent sends from the virtual MAC, and what it must hear before anything else can
eat it.

One socket a port sees whole frames before macvlan's receive handler and before any firewall, and a filter in the kernel
lets only a handful of kinds through: VRRP, answers of ARP and neighbour discovery. So everything else costs no Python;
of what is forged in a flood the kernel lets only a share in (`adapters.sieve`).
"""

import fcntl
import socket
import struct
from collections.abc import Collection, Mapping
from functools import partial
from ipaddress import IPv4Address

from understudy.adapters.sieve import AND, JEQ, LDB, LDH, LDW, Kind, Sieve, Step, assemble, thinned
from understudy.errors import EnvironmentFailure
from understudy.units import Address, Family

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_MULTICAST = 0
SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
RECEIVE_MAX = 2048
"""Bytes taken of a frame: more than any that is believed."""
SHED_AT_ONCE = 64
"""Frames passed over in one `receive`, before others get their turn."""
QUEUE = 1 << 19
"""Bytes of the socket's queue: some 600 short frames, as many seconds of advertisements as a core may be away."""

VRRP_MULTICAST_MAC = {4: bytes.fromhex("01005e000012"), 6: bytes.fromhex("333300000012")}

_KINDS = (Kind.PEER_VRRP, Kind.LINK_LOCAL_VRRP, Kind.OTHER_VRRP, Kind.ANSWER)
_VLAN_TAG = 0xFFFFF000 + 44
"""SKF_AD_OFF + SKF_AD_VLAN_TAG: the kernel keeps the tag beside the frame, and the Ethernet header does not show it."""
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"


def _program(known: Collection[bytes], shifts: Mapping[Kind, int]) -> bytes:
    """The filter: protocol 112 of either family, neighbour advertisements (type 136), ARP replies (operation 2).

    Nothing from a VLAN: a trunk's other LANs have virtual routers of their own. `known` are IPv4 sources.
    """
    steps: list[Step] = [
        (LDH, _VLAN_TAG),
        (AND, 0x0FFF),
        (JEQ, 0, "", "drop"),
        (LDH, 12),
        (JEQ, 0x0800, "ipv4", ""),
        (JEQ, 0x86DD, "ipv6", ""),
        (JEQ, 0x0806, "", "drop"),
        (LDH, 20),
        (JEQ, 2, Kind.ANSWER, "drop"),
        "ipv6",
        (LDB, 20),
        (JEQ, 112, Kind.LINK_LOCAL_VRRP, ""),
        (JEQ, 58, "", "hidden"),
        (LDB, 54),
        (JEQ, 136, Kind.ANSWER, "drop"),
        "hidden",  # whatever goes to VRRP's group: an advertisement behind another header is to be counted
        (LDW, 38),
        (JEQ, 0xFF020000, "", "drop"),
        (LDW, 50),
        (JEQ, 0x12, Kind.LINK_LOCAL_VRRP, "drop"),
        "ipv4",
        (LDB, 23),
        (JEQ, 112, "", "drop"),
        (LDW, 26),
        *((JEQ, int.from_bytes(source, "big"), Kind.PEER_VRRP, "") for source in sorted(known)),
        (JEQ, 0, Kind.OTHER_VRRP, Kind.OTHER_VRRP),
    ]
    return assemble(steps + thinned(shifts))


class Port:
    """One port of the node, in the namespace in which it was made.

    `known` are the addresses from which nodes of the file advertise here: theirs is not shed with a stranger's flood.
    """

    def __init__(self, name: str, families: frozenset[Family], known: Collection[Address] = ()) -> None:
        self.name = name
        self._known = frozenset(address.packed for address in known if isinstance(address, IPv4Address))
        try:
            self.index = socket.if_nametoindex(name)
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self.sieve = Sieve(self.socket, _KINDS, partial(_program, self._known))
            self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
            for family in families:
                mac = VRRP_MULTICAST_MAC[family]
                membership = struct.pack("=iHH8s", self.index, PACKET_MR_MULTICAST, len(mac), mac.ljust(8, b"\0"))
                self.socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
            self.socket.bind((name, ETH_P_ALL))
            self.socket.setblocking(False)
        except OSError as error:
            raise EnvironmentFailure("open a packet socket on", name, str(error)) from error
        self._mark = 0

    @property
    def mac(self) -> bytes:
        """The port's own MAC address."""
        return bytes(self.socket.getsockname()[4])

    def has_carrier(self) -> bool:
        """Up, and something at the other end of the cable (netdevice(7)); also False once the port is gone."""
        try:
            answer = fcntl.ioctl(self.socket, SIOCGIFFLAGS, struct.pack("16sh22x", self.name.encode(), 0))
        except OSError:
            return False
        flags: int = struct.unpack_from("16sh", answer)[1]
        return bool(flags & IFF_UP) and bool(flags & IFF_RUNNING)

    def send(self, frame: bytes, mark: int = 0) -> None:
        """Send a whole frame; `mark` is what the lease table reads. Raises OSError."""
        if mark != self._mark:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            self._mark = mark
        self.socket.send(frame)

    def receive(self) -> bytes | None:
        """The next frame, or None if there is none (or the port is gone for the moment, or all are shed)."""
        for _ in range(SHED_AT_ONCE):
            try:
                frame = self.socket.recv(RECEIVE_MAX)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError:
                return None  # ENETDOWN is reported once when the link goes down.
            if self.sieve.admits(self._kind(frame)):
                return frame
        return None

    def _kind(self, frame: bytes) -> Kind:
        """As the filter has it."""
        ethertype = frame[12:14]
        if ethertype == _IPV4:
            return Kind.PEER_VRRP if frame[26:30] in self._known else Kind.OTHER_VRRP
        return Kind.LINK_LOCAL_VRRP if ethertype == _IPV6 and frame[20] != 58 else Kind.ANSWER

    def close(self) -> None:
        self.socket.close()
