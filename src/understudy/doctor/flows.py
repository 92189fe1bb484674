"""What kept flows and helpers need of the kernel, tried over the loopback of a scratch namespace."""

import socket
import subprocess
from pathlib import Path
from typing import Final

from understudy.adapters.nftables import Nft

_NETLINK_NETFILTER: Final = 12
_GROUP_NEW: Final = 1
"""NFNLGRP_CONNTRACK_NEW as a mask of groups: one bit each."""
_EVENTS: Final = Path("/proc/sys/net/netfilter/nf_conntrack_events")
_WAIT_S: Final = 2.0
_LINE_MAX: Final = 200

_TRACKED: Final = """
table inet probe {
	chain out { type filter hook output priority 0; policy accept; ct state new accept; }
}
"""
_HELPED: Final = """
table inet probe {
	ct helper ftp { type "ftp" protocol tcp; }
	ct helper tftp { type "tftp" protocol udp; }
	chain out { type filter hook output priority 0; policy accept; tcp dport 21 ct helper set "ftp"; }
	chain away { type nat hook postrouting priority srcnat; policy accept; tcp dport 21 snat ip to 127.0.0.2; }
}
"""


def flow_events() -> str:
    """Netlink must tell of a new flow while we listen: what `state: copy` and `state: replicate` live on."""
    _loopback()
    with Nft() as nft:
        nft.run(_TRACKED)
        try:
            _EVENTS.write_text("1")
            with (
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as listener,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker,
            ):
                listener.bind((0, _GROUP_NEW))
                listener.settimeout(_WAIT_S)
                speaker.sendto(b"?", ("127.0.0.1", 9))
                try:
                    listener.recv(8192)
                except TimeoutError:
                    raise ValueError("a new flow was tracked and no event came") from None
        finally:
            nft.run("delete table inet probe\n")
    return "a new flow is told over netlink"


def flow_helpers() -> str:
    """An FTP client behind source NAT: its address must be translated inside of its line as well."""
    _loopback()
    with Nft() as nft:
        nft.run(_HELPED)
        try:
            heard = _ftp_line()
        finally:
            nft.run("delete table inet probe\n")
    if not heard.startswith(b"PORT 127,0,0,2,"):
        raise ValueError("the line of an FTP client behind NAT keeps its inside address")
    return "FTP and TFTP, through NAT"


def _ftp_line() -> bytes:
    with (
        socket.create_server(("127.0.0.1", 21)) as listener,
        socket.create_connection(("127.0.0.1", 21), _WAIT_S) as client,
    ):
        listener.settimeout(_WAIT_S)
        server, _ = listener.accept()
        with server:
            server.settimeout(_WAIT_S)
            client.sendall(b"NOOP\r\n")  # the helper reads what follows a line's end
            server.recv(_LINE_MAX)
            client.sendall(b"PORT 127,0,0,1,200,10\r\n")
            return server.recv(_LINE_MAX)


def _loopback() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
