"""Packets that a rule logged whole (nfnetlink_log), and a way to send one again as it was.

`PacketLog` reads what `log group N` says; `Resender` sends an IPv4 packet with its own header, marked, by a chosen
interface. Both belong to the namespace in which they are made. What a packet holds is its sender's, and hostile.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from understudy.adapters.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, attribute, attributes, messages
from understudy.adapters.watch import NETLINK_NETFILTER
from understudy.errors import EnvironmentFailure
from understudy.wire.checksum import checksum, is_intact

NFNL_SUBSYS_ULOG: Final = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = NFNL_SUBSYS_ULOG << 8, NFNL_SUBSYS_ULOG << 8 | 1
NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_NLBUFSIZ, NFULA_CFG_QTHRESH = 1, 2, 3, 5
NFULNL_CFG_CMD_BIND: Final = 1
NFULNL_COPY_PACKET: Final = 2
NFULA_MARK, NFULA_IFINDEX_OUTDEV, NFULA_PAYLOAD, NFULA_PREFIX = 2, 5, 9, 10
COPY_MAX: Final = 0xFFFF
_MESSAGE_MAX: Final = 1 << 17
_PATIENCE_S: Final = 5
_HEADER = struct.Struct("=IHHII")
_IP_PKTINFO: Final = 8
_SO_RCVBUFFORCE: Final = 33
_MORE_FRAGMENTS, _DONT_FRAGMENT, _OFFSET = 0x2000, 0x4000, 0x1FFF
_CHECKSUM_AT: Final = {socket.IPPROTO_TCP: 16, socket.IPPROTO_UDP: 6}
FRAGMENT_MTU_MIN: Final = 576


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    prefix: str
    mark: int
    leaving: int
    """Index of the interface by which it was to leave; 0 if it had none yet."""
    packet: bytes


class PacketLog:
    """Of one group. What comes faster than it is read is lost once `buffer_bytes` are full, and counted."""

    def __init__(self, group: int, buffer_bytes: int = 4 << 20) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self.overruns = 0
        """How often the kernel said that packets were lost."""
        try:
            self.socket.bind((0, 0))
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
            except OSError:  # bounded by net.core.rmem_max then
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self.socket.settimeout(_PATIENCE_S)
            mode = struct.pack("!IBx", COPY_MAX, NFULNL_COPY_PACKET)
            for settings in (
                attribute(NFULA_CFG_CMD, struct.pack("!B", NFULNL_CFG_CMD_BIND)),
                attribute(NFULA_CFG_MODE, mode)
                + attribute(NFULA_CFG_NLBUFSIZ, struct.pack("!I", _MESSAGE_MAX))
                # Each packet at once: none waits for others.
                + attribute(NFULA_CFG_QTHRESH, struct.pack("!I", 1)),
            ):
                self._configure(group, settings)
            self.socket.setblocking(False)
        except BaseException:
            self.socket.close()
            raise

    def read(self, limit: int) -> list[LoggedPacket]:
        """What there is, at most so many messages. Never waits."""
        found: list[LoggedPacket] = []
        for _ in range(limit):
            try:
                data = self.socket.recv(_MESSAGE_MAX)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            for kind, payload in messages(data):
                if kind == NFULNL_MSG_PACKET:
                    found.append(_logged(attributes(payload, 4)))
        return found

    def close(self) -> None:
        self.socket.close()

    def _configure(self, group: int, settings: bytes) -> None:
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group) + settings
        flags = NLM_F_REQUEST | NLM_F_ACK
        self.socket.send(_HEADER.pack(16 + len(body), NFULNL_MSG_CONFIG, flags, 1, 0) + body)
        while True:
            for kind, payload in messages(self.socket.recv(_MESSAGE_MAX)):
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    if number:
                        name = errno.errorcode.get(number, str(number))
                        # The kernel says EPERM for a group that another socket has bound.
                        reason = f"{name}: another program reads it" if number in (errno.EBUSY, errno.EPERM) else name
                        raise EnvironmentFailure("read", f"log group {group}", reason)
                    return


def _logged(found: dict[int, bytes]) -> LoggedPacket:
    return LoggedPacket(
        prefix=found.get(NFULA_PREFIX, b"").rstrip(b"\0").decode("ascii", "replace"),
        mark=int.from_bytes(found.get(NFULA_MARK, b""), "big"),
        leaving=int.from_bytes(found.get(NFULA_IFINDEX_OUTDEV, b""), "big"),
        packet=found.get(NFULA_PAYLOAD, b""),
    )


def source_of(packet: bytes) -> int | None:
    """The source of a whole IPv4 packet; None if it is none."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or not 20 <= (packet[0] & 15) * 4 <= len(packet):
        return None
    if int.from_bytes(packet[2:4], "big") != len(packet):
        return None
    return int.from_bytes(packet[12:16], "big")


def flow_of(packet: bytes) -> tuple[int, int, int, int, int] | None:
    """Protocol, source and its port, destination and its port, of a packet that has a source; None if it has no ports.

    As conntrack has them: of ICMP the identifier, and type and code.
    """
    header, protocol = (packet[0] & 15) * 4, packet[9]
    body = packet[header : header + 8]
    if len(body) < 8 or protocol not in (socket.IPPROTO_ICMP, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    source, target = int.from_bytes(packet[12:16], "big"), int.from_bytes(packet[16:20], "big")
    first, second, third, _ = struct.unpack("!HHHH", body)
    if protocol == socket.IPPROTO_ICMP:
        return protocol, source, third, target, first
    return protocol, source, first, target, second


class Resender:
    """Sends packets as the router's own, with the headers that they have."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        self._socket.setblocking(False)
        self.failures: dict[str, int] = {}
        """Packets that could not be sent, by reason."""

    def send(self, packet: bytes, mark: int, leaving: int) -> bool:
        """`leaving` stands in for a route where the packet's destination has none before it is translated."""
        control = [(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))]
        if leaving:
            control.append((socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", leaving, bytes(4), bytes(4))))
        packet = completed(packet)
        target = (socket.inet_ntoa(packet[16:20]), 0)
        try:
            try:
                self._socket.sendmsg([packet], control, 0, target)
            except OSError as error:
                if error.errno != errno.EMSGSIZE or packet[6] << 8 & _DONT_FRAGMENT:
                    raise
                # The kernel had put it together for the translation, and does so again.
                for fragment in fragments(packet, FRAGMENT_MTU_MIN):
                    self._socket.sendmsg([fragment], control, 0, target)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            self.failures[name] = self.failures.get(name, 0) + 1
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def completed(packet: bytes) -> bytes:
    """With the checksum that a sender on this machine left for its card to add: NAT corrects it, and needs a whole one.

    One that is wrong otherwise stays wrong: whoever gets the packet must find out.
    """
    header = (packet[0] & 15) * 4
    body, protocol = packet[header:], packet[9]
    at = _CHECKSUM_AT.get(protocol)
    fragmented = int.from_bytes(packet[6:8], "big") & (_MORE_FRAGMENTS | _OFFSET)
    if at is None or fragmented or len(body) < at + 2:
        return packet
    pseudo = int.from_bytes(packet[12:16], "big") + int.from_bytes(packet[16:20], "big") + protocol + len(body)
    stored = int.from_bytes(body[at : at + 2], "big")
    if is_intact(body, pseudo) or stored != pseudo % 0xFFFF:
        return packet
    bare = body[:at] + bytes(2) + body[at + 2 :]
    summed = checksum(bare, pseudo) or 0xFFFF
    return packet[:header] + body[:at] + summed.to_bytes(2, "big") + body[at + 2 :]


def fragments(packet: bytes, mtu: int) -> Iterator[bytes]:
    """A packet in pieces of at most `mtu` bytes (RFC 791, section 3.2); options stay in the first one only."""
    header = (packet[0] & 15) * 4
    body = packet[header:]
    # One number for all of them: the kernel would give each its own in place of zero.
    position, head = 0, packet[:4] + (packet[4:6] if any(packet[4:6]) else b"\0\1") + packet[6:header]
    while position < len(body):
        room = (mtu - len(head)) & ~7
        part = body[position : position + room]
        more = _MORE_FRAGMENTS if position + len(part) < len(body) else 0
        fields = struct.pack("!H", len(head) + len(part)) + head[4:6] + struct.pack("!H", more | position >> 3)
        yield head[:2] + fields + head[8:] + part
        position += len(part)
        head = bytes((0x45,)) + head[1:20]


def drain(log: PacketLog) -> None:
    """Forget what was logged before anybody was there to answer it."""
    with contextlib.suppress(OSError):
        while log.read(256):
            pass
