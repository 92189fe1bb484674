"""Two gateways' kernels with flow tables, and a client and a server around the first; nothing else."""

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType

from nft_bed import Machine

from understudy.adapters.conntrack import FlowEvents, FlowTable
from understudy.adapters.conntrack_socket import BATCH, CT_NEW
from understudy.adapters.conntrack_writer import FlowWriter
from understudy.adapters.netlink import NLM_F_CREATE, NLM_F_EXCL
from understudy.core.replication.events import Kind, Record
from understudy.lab.namespace import write_sysctl
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow

GROUP = 1
MARK = 0x400
CLIENT, OUTSIDE, INSIDE, SERVER = "10.9.0.11", "203.0.113.10", "10.9.0.254", "203.0.113.80"
CLIENT6, OUTSIDE6, INSIDE6, SERVER6 = "2001:db8:9::11", "2001:db8:1::10", "2001:db8:9::254", "2001:db8:1::80"
RULES = f"""
add table inet t
add chain inet t ours {{ type filter hook prerouting priority -150; }}
add rule inet t ours iif inside ct mark set {MARK}
add rule inet t ours iif outside ct mark set {MARK}
add chain inet t there {{ type nat hook prerouting priority -100; }}
add rule inet t there ip daddr {INSIDE} tcp dport 8080 dnat ip to {SERVER}:80
add chain inet t here {{ type nat hook postrouting priority 100; }}
add rule inet t here oif outside ip saddr 10.9.0.0/24 meta l4proto {{ tcp, udp }} snat ip to {OUTSIDE}:20000-29999
add rule inet t here oif outside ip6 saddr {INSIDE6}/64 meta l4proto {{ tcp, udp }} snat ip6 to [{OUTSIDE6}]:20000-29999
add rule inet t here oif outside ip saddr 10.9.0.0/24 snat ip to {OUTSIDE}
add rule inet t here oif outside ip6 saddr 2001:db8:9::/64 snat ip6 to {OUTSIDE6}
"""


class Kernel:
    """A namespace with its table of flows."""

    def __init__(self, name: str, buffer_bytes: int = 8 << 20) -> None:
        self.machine = Machine.new(name)
        self.machine.run(write_sysctl, "net/netfilter/nf_conntrack_events", 1)
        self.table: FlowTable = self.machine.run(FlowTable)
        self.news: FlowEvents = self.machine.run(FlowEvents, self.table.portid, buffer_bytes)

    def rules(self, text: str) -> None:
        for line in text.strip().splitlines():
            self.machine.sh(f"nft {line}")

    def have(self, *raws: bytes) -> None:
        """Entries as if this kernel's own traffic had made them: of any mark, and nobody's copies."""
        writer = self.machine.run(FlowWriter, 100, 100)
        creations = [(CT_NEW, NLM_F_CREATE | NLM_F_EXCL, conntrack.create_request(raw, 100)) for raw in raws]
        for start in range(0, len(creations), BATCH):
            assert writer.send(creations[start : start + BATCH]) == 0
        writer.close()

    def listed(self, group: int = GROUP) -> list[bytes]:
        return [raw for part in self.table.list({group}) for raw in part]

    def flows(self, group: int = GROUP) -> dict[bytes, Flow]:
        return {conntrack.identity(raw): conntrack.decode(raw) for raw in self.listed(group)}

    def until(self, condition: Callable[[], bool], seconds: float = 3) -> None:
        """Until it is so, or the time is over: who looks next finds out."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)

    def records(self, limit: int = 10_000) -> list[Record]:
        found, overrun = self.news.read(limit)
        assert not overrun
        return found

    def await_records(self, enough: Callable[[list[Record]], bool], seconds: float = 3) -> list[Record]:
        """News until there is enough of it."""
        found: list[Record] = []
        deadline = time.monotonic() + seconds
        while not enough(found):
            assert time.monotonic() < deadline, [(kind.name, describe(kind, raw)) for kind, raw in found]
            found += self.records()
            time.sleep(0.005)
        return found


class Nat:
    """client - gateway - server, and a second gateway that has no part in it but its kernel."""

    def __init__(self, *rules: str) -> None:
        self.client, self.server = Machine.new("client"), Machine.new("server")
        self.gateway, self.replica = Kernel("gateway"), Kernel("replica")
        self.client.cable(self.gateway.machine, "eth", "inside")
        self.server.cable(self.gateway.machine, "eth", "outside")
        for machine, link, *addresses in (
            (self.client, "eth", f"{CLIENT}/24", f"{CLIENT6}/64"),
            (self.server, "eth", f"{SERVER}/24", f"{SERVER6}/64"),
            (self.gateway.machine, "inside", f"{INSIDE}/24", f"{INSIDE6}/64"),
            (self.gateway.machine, "outside", f"{OUTSIDE}/24", f"{OUTSIDE6}/64"),
        ):
            machine.run(write_sysctl, f"net/ipv6/conf/{link}/accept_dad", 0)
            machine.run(write_sysctl, f"net/ipv6/conf/{link}/router_solicitations", 0)
            for address in addresses:
                machine.sh(f"ip addr add {address} dev {link}{' nodad' if ':' in address else ''}")
            machine.sh(f"ip link set {link} up")
        self.client.sh(f"ip route add default via {INSIDE}\nip -6 route add default via {INSIDE6}")
        self.gateway.machine.sysctl("net/ipv4/ip_forward", 1)
        self.gateway.machine.sysctl("net/ipv6/conf/all/forwarding", 1)
        self.gateway.rules(RULES)
        for each in rules:
            self.gateway.rules(each)

    def tcp(self, address: str = SERVER, port: int = 80, listen: str = SERVER) -> "Pair":
        """A connection through the gateway, with a word each way."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.server.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((listen, port if listen == address else 80))
            listener.listen()
            listener.settimeout(3)
            inner = self.client.socket(family, socket.SOCK_STREAM)
            inner.settimeout(3)
            inner.connect((address, port))
            outer, _ = listener.accept()
        outer.settimeout(3)
        # Whole lines: a helper reads along.
        inner.sendall(b"?\n")
        assert outer.recv(2) == b"?\n"
        outer.sendall(b"!\n")
        assert inner.recv(2) == b"!\n"
        return Pair(inner, outer)

    def copy(self) -> int:
        """The gateway's news so far into the replica's kernel. Returns how many were refused."""
        return self.replica.table.write(self.gateway.records())


class Pair:
    """Both ends of a conversation."""

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self.inner, self.outer = inner, outer

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for end in (self.inner, self.outer):
            with contextlib.suppress(OSError):
                end.close()


def describe(kind: Kind, raw: bytes) -> str:
    return conntrack.describe(raw) if kind in (Kind.CHANGED, Kind.GONE) else "expectation"
