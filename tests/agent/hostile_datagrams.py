"""Ten thousand datagrams that nobody with the key sent, at one of a node's channels: none may change anything."""

import os
import socket
import struct
import time

from agent_worlds import NODES

from understudy.adapters.channel import MAGIC, Channel, key_id

COUNT = 10_000
SAMPLE = 3
PATIENCE_S = 20.0


def flood(key: bytes, standby: str, port: int) -> None:
    """From the Active's own address and port: what it said before, and what somebody without the key can make of it."""
    number, sender = NODES.index(standby) + 1, 2 - NODES.index(standby)
    target = f"192.168.250.{number}"
    genuine = overheard(target, port)
    forger = Channel(bytes(32), sender, 1 << 31, frozenset({number}), port=port)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as end:
        for each in range(COUNT):
            sealed = forger.seal(os.urandom(each % 1200), number, 2)
            recorded = genuine[each % len(genuine)]
            kinds = (
                MAGIC + key_id(key) + sealed[8:],
                recorded,
                recorded[:20] + os.urandom(20) + recorded[40:],
                recorded[: each % len(recorded)],
                MAGIC + key_id(key) + os.urandom(each % 1392),
                sealed,
            )
            payload = kinds[each % len(kinds)]
            header = struct.pack("!HHHH", port, port, 8 + len(payload), 0)  # 0: no checksum
            end.sendto(header + payload, (target, 0))


def overheard(target: str, port: int) -> list[bytes]:
    """Some datagrams to this port in this namespace, as anybody on the cable has them."""
    found: list[bytes] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as tap:
        tap.settimeout(5)
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < SAMPLE:
            assert time.monotonic() < deadline, f"only {len(found)} datagrams to port {port} were heard"
            packet = tap.recv(2048)
            udp = packet[20:]
            if (
                packet[9] == socket.IPPROTO_UDP
                and packet[16:20] == socket.inet_aton(target)
                and udp[2:4] == port.to_bytes(2, "big")
            ):
                found.append(udp[8:])
    return found
