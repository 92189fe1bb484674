"""The way to the process that hands out addresses: "give this one back". A datagram socket with an abstract name.

Such names belong to a network namespace, so nothing but the name need be known, and nobody outside the node can send
there. The kernel says who sent: only our own user is heard.
"""

import contextlib
import os
import socket
import struct

_NAME = "\0understudy-pools"
_CREDENTIALS = struct.Struct("3i")
_ADDRESS = struct.Struct("!BI")
_READ_MAX = 1024


class PoolOrders:
    """The receiving end; belongs to the network namespace in which it is made."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Of two in one namespace the first is heard: the other goes on without.
        with contextlib.suppress(OSError):
            self.socket.bind(_NAME)

    def read(self) -> list[int | None]:
        """Addresses to be given back, in order; None: all."""
        asked: list[int | None] = []
        for _ in range(_READ_MAX):
            try:
                data, ancillary, _, _ = self.socket.recvmsg(_ADDRESS.size + 1, socket.CMSG_SPACE(_CREDENTIALS.size))
            except OSError:
                break
            users = [
                _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]
                for level, kind, content in ancillary
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
            ]
            if len(data) == _ADDRESS.size and users == [os.geteuid()]:
                one, address = _ADDRESS.unpack(data)
                asked.append(address if one else None)
        return asked

    def close(self) -> None:
        self.socket.close()


def give_back(address: int | None) -> bool:
    """Ask for it; False if nobody hands out addresses in this namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.settimeout(1.0)
        try:
            end.sendto(_ADDRESS.pack(address is not None, address or 0), _NAME)
        except OSError:
            return False
    return True
