"""Packet sockets on a port: what the agent sends from the virtual MAC, and what it must hear before anything else can
eat it.

One socket a port sees whole frames before macvlan's receive handler and before any firewall, and a filter in the kernel
lets only a handful of kinds through: VRRP, answers of ARP and neighbour discovery. So a forged or flooded rest costs no
Python.
"""

import ctypes
import fcntl
import socket
import struct

from understudy.errors import EnvironmentFailure
from understudy.units import Family

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_MULTICAST = 0
SO_ATTACH_FILTER = 26
SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
RECEIVE_MAX = 2048

VRRP_MULTICAST_MAC = {4: bytes.fromhex("01005e000012"), 6: bytes.fromhex("333300000012")}

# Classic BPF (linux/filter.h): load half word, load byte, and with a constant, jump if equal, return.
_LDH, _LDB, _AND, _JEQ, _RET = 0x28, 0x30, 0x54, 0x15, 0x06
_VLAN_TAG = 0xFFFFF000 + 44
"""SKF_AD_OFF + SKF_AD_VLAN_TAG: the kernel keeps the tag beside the frame, and the Ethernet header does not show it."""


def _program() -> bytes:
    """The filter: protocol 112 of either family, neighbour advertisements (type 136), ARP replies (operation 2).

    Nothing from a VLAN: a trunk's other LANs have virtual routers of their own.
    """
    instructions = (
        (_LDH, 0, 0, _VLAN_TAG),
        (_AND, 0, 0, 0x0FFF),
        (_JEQ, 0, 11, 0),
        (_LDH, 0, 0, 12),
        (_JEQ, 0, 2, 0x0800),
        (_LDB, 0, 0, 23),
        (_JEQ, 8, 7, 112),
        (_JEQ, 0, 5, 0x86DD),
        (_LDB, 0, 0, 20),
        (_JEQ, 5, 0, 112),
        (_JEQ, 0, 3, 58),
        (_LDB, 0, 0, 54),
        (_JEQ, 2, 1, 136),
        (_JEQ, 2, 0, 0x0806),
        (_RET, 0, 0, 0),
        (_RET, 0, 0, RECEIVE_MAX),
        (_LDH, 0, 0, 20),
        (_JEQ, 0, 1, 2),
        (_RET, 0, 0, RECEIVE_MAX),
        (_RET, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


class Port:
    """One port of the node, in the namespace in which it was made."""

    def __init__(self, name: str, families: frozenset[Family]) -> None:
        self.name = name
        try:
            self.index = socket.if_nametoindex(name)
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self._attach_filter()
            self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
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
        """The next frame, or None if there is none (or the port is gone for the moment)."""
        try:
            return self.socket.recv(RECEIVE_MAX)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return None  # ENETDOWN is reported once when the link goes down.

    def close(self) -> None:
        self.socket.close()

    def _attach_filter(self) -> None:
        program = _program()
        buffer = ctypes.create_string_buffer(program, len(program))
        fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
