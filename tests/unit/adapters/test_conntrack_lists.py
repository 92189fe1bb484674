"""A list that ends before its end: by the kernel's word, or by silence."""

import errno
import socket
import struct

import pytest

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.netlink import NLMSG_ERROR
from understudy.errors import EnvironmentFailure

LATER = b"what comes later"


def test_a_refused_list_is_over_at_once_and_its_socket_is_not_used_again() -> None:
    """After the kernel's no there is nothing to wait for: whoever waited would hold up all that this process does."""
    refusal = struct.pack("=IHHIIi", 20, NLMSG_ERROR, 0, 1, 0, -errno.ENOMEM)
    source, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    table = FlowTable()
    with source, kernel, source.dup() as watched:
        source.settimeout(0.2)
        watched.setblocking(False)
        for unused in table._idle:
            unused.close()
        table._idle = [source]
        kernel.send(refusal)
        kernel.send(LATER)
        with pytest.raises(EnvironmentFailure, match="Cannot allocate memory"):
            list(table.list({1}))
        assert watched.recv(100) == LATER
        assert source.fileno() == -1
    assert table._idle == []
    table.close()
