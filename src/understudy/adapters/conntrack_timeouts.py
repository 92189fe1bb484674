"""How long the kernel gives a flow of its own accord: the sysctls of this namespace, by protocol and state."""

from pathlib import Path
from typing import Final

from understudy.wire.conntrack import assured, protocol_of, sctp_state, tcp_state
from understudy.wire.conntrack.flow import GRE, ICMP, ICMPV6, SCTP, TCP, UDP

_DIRECTORY: Final = Path("/proc/sys/net/netfilter")
_TCP: Final = (
    "", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "syn_sent",
)  # fmt: skip
_SCTP: Final = (
    "", "closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent", "shutdown_recd", "shutdown_ack_sent",
    "heartbeat_sent",
)  # fmt: skip
_STREAMS: Final = {
    UDP: ("udp_timeout", "udp_timeout_stream"),
    GRE: ("gre_timeout", "gre_timeout_stream"),
    ICMP: ("icmp_timeout", "icmp_timeout"),
    ICMPV6: ("icmpv6_timeout", "icmpv6_timeout"),
}
"""Before and after the flow has proved to be one."""
_OTHERWISE_S: Final = 600
"""The kernel's default for protocols it does not know."""


class Timeouts:
    """As they were when each was first asked for."""

    def __init__(self, directory: Path = _DIRECTORY) -> None:
        self._directory = directory
        self._read: dict[str, int] = {}

    def of(self, raw: bytes) -> int:
        """Seconds for an entry."""
        return self._seconds(_name(raw))

    def _seconds(self, name: str) -> int:
        if name not in self._read:
            try:
                self._read[name] = max(1, int((self._directory / f"nf_conntrack_{name}").read_text()))
            except (OSError, ValueError):
                self._read[name] = _OTHERWISE_S
        return self._read[name]


def _name(raw: bytes) -> str:
    protocol = protocol_of(raw)
    if protocol == TCP:
        state = tcp_state(raw)
        return f"tcp_timeout_{_TCP[state]}" if 0 < state < len(_TCP) else "tcp_timeout_close"
    if protocol == SCTP:
        state = sctp_state(raw)
        return f"sctp_timeout_{_SCTP[state]}" if 0 < state < len(_SCTP) else "sctp_timeout_closed"
    if protocol in _STREAMS:
        return _STREAMS[protocol][assured(raw)]
    return "generic_timeout"
