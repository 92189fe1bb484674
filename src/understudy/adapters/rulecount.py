"""What the counter of a chain's first rule says, by one netlink dump: 50 us, where a listing may fetch every element of
the table (`nft list chain`).
"""

import contextlib
import errno
import os
import socket
import struct
from typing import Final

from understudy.adapters.netlink import NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, attribute, attributes, news
from understudy.errors import EnvironmentFailure
from understudy.render.text import TABLE

NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES = 12, 10
NFT_MSG_NEWRULE, NFT_MSG_GETRULE = 6, 7
NFPROTO_INET = 1
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS = 1, 2, 4
NFTA_EXPR_NAME, NFTA_EXPR_DATA, NFTA_COUNTER_PACKETS = 1, 2, 2
NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TIMEOUT_S: Final = 2.0


class RuleCounts:
    """Belongs to the network namespace in which it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def read(self, chain: str) -> int | None:
        """Packets that the rule has counted; None if there is no such chain or rule. Raises EnvironmentFailure."""
        self._sequence += 1
        body = struct.pack("!BBH", NFPROTO_INET, 0, 0)
        body += attribute(NFTA_RULE_TABLE, TABLE.encode() + b"\0") + attribute(NFTA_RULE_CHAIN, chain.encode() + b"\0")
        kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE
        head = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        try:
            self._socket.send(head + body)
            return self._answer()
        except OSError as error:
            raise EnvironmentFailure("count", f"chain {chain}", os.strerror(error.errno or 0)) from error

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> int | None:
        found: int | None = None
        while True:
            data = self._socket.recv(1 << 17)
            _, _, _, sequence, _ = _HEADER.unpack_from(data)
            if sequence != self._sequence:
                continue  # of a question that we gave up
            for kind, _, payload in news(data):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    if number == errno.ENOENT:
                        return None
                    raise OSError(number, os.strerror(number))
                if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE and found is None:
                    found = _counted(attributes(payload, 4).get(NFTA_RULE_EXPRESSIONS, b""))


def _counted(expressions: bytes) -> int | None:
    """Of the first counter among a rule's expressions, each a nested element of the list."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(expressions):
        size, _ = _ATTRIBUTE.unpack_from(expressions, offset)
        if size < _ATTRIBUTE.size:
            break
        expression = attributes(expressions[offset + _ATTRIBUTE.size : offset + size], 0)
        if expression.get(NFTA_EXPR_NAME, b"").rstrip(b"\0") == b"counter":
            packets = attributes(expression.get(NFTA_EXPR_DATA, b""), 0).get(NFTA_COUNTER_PACKETS, b"")
            with contextlib.suppress(struct.error):
                return int(struct.unpack("!Q", packets)[0])
        offset += size + (-size % 4)
    return None
