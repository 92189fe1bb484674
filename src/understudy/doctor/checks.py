"""What Understudy needs of this machine, tried and not guessed: each capability is used once in a scratch namespace.

A row says what was tried, what came of it and what to do. Required rows make the difference between working and not;
the others between working well and working.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from understudy.adapters.nftables import Nft
from understudy.config.plan import Group, Plan, Router
from understudy.doctor.flows import flow_events, flow_helpers
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.render import lease_long_mark, lease_short_mark
from understudy.render.guard import GUARD_TABLE, render_guard
from understudy.render.lease import render_lease
from understudy.render.nat import render_nat
from understudy.units import MILLISECOND, SECOND, GroupName, NetworkName, NodeName, Priority, Vrid

_PORT: Final = NetworkName("port0")
_VRRP: Final = bytes.fromhex("4500001c00000000ff70000000000000e0000012") + bytes(8)
_CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13}


@dataclass(frozen=True, slots=True)
class Check:
    """One row. `remedy` is empty if all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class _Trial:
    """Something to try; `attempt` returns a detail, or raises what then stands as the reason."""

    name: str
    attempt: Callable[[], str]
    remedy: str
    required: bool = True

    def run(self) -> Check:
        try:
            return Check(self.name, True, self.attempt(), "", self.required)
        except OperatorError as error:
            return Check(self.name, False, error.message, error.hint or self.remedy, self.required)
        except (EnvironmentFailure, OSError, ValueError, subprocess.SubprocessError) as error:
            return Check(self.name, False, _sentence(error), self.remedy, self.required)


def examine() -> tuple[Check, ...]:
    """Try everything. Nothing outside of the scratch namespaces is touched."""
    rows = [trial.run() for trial in _HERE]
    try:
        rows += sandbox.run(lambda: tuple(trial.run() for trial in _INSIDE))
    except OperatorError as error:
        rows.append(Check("namespaces", False, error.message, error.hint))
        rows += [Check(trial.name, False, "not tried: no scratch namespace", "", trial.required) for trial in _INSIDE]
    return tuple(rows)


def _nft_command() -> str:
    done = subprocess.run(["nft", "--version"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _iproute() -> str:
    return subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout.strip()


def _library() -> str:
    with Nft():
        return "libnftables.so.1 loads"


def _rootless() -> str:
    """As root only the switches can be read; without root the scratch namespace itself is the proof."""
    if os.geteuid() != 0:
        sandbox.run(lambda: None)
        return "user namespaces work for this user"
    for name, forbids in _SWITCHES:
        file = Path("/proc/sys", name.replace(".", "/"))
        if file.exists() and file.read_text().strip() == forbids:
            raise ValueError(f"{name} = {forbids} keeps users without root from making a lab")
    return "no switch forbids user namespaces (running as root)"


_SWITCHES: Final = (
    ("user.max_user_namespaces", "0"),
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
)


def _capabilities() -> str:
    """Of this process outside of any scratch namespace: what the agent needs on a real node."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    held = int(found[1], 16) if found else 0
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        raise ValueError(f"this user lacks {' and '.join(missing)}")
    return "NET_ADMIN and NET_RAW"


def _realtime() -> str:
    """In a child, so that this process keeps its scheduling."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os._exit(0)
        except OSError:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise ValueError("SCHED_FIFO is refused: a busy machine may delay advertisements")
    return "SCHED_FIFO is allowed"


def _port() -> None:
    if _PORT not in {name for _, name in socket.if_nameindex()}:
        _ip(f"link add {_PORT} type veth peer name port1")
        _ip(f"link set {_PORT} up")
        _ip("link set port1 up")


def _ip(arguments: str) -> None:
    done = subprocess.run(["ip", *arguments.split()], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")


def _packet_socket() -> str:
    _port()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((_PORT, 0))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 112):
        return "packet sockets with SO_MARK, raw sockets of protocol 112"


def _macvlan() -> str:
    _port()
    _ip(f"link add probe link {_PORT} address {_router().mac} type macvlan mode private")
    _ip("link del probe")
    return f"a link with the virtual MAC {_router().mac}"


def _egress() -> str:
    _port()
    with Nft() as nft:
        nft.run(
            "add table netdev probe\n"
            f'add chain netdev probe out {{ type filter hook egress device "{_PORT}" priority 0; }}\n'
            "delete table netdev probe\n"
        )
    return f"Linux {platform.release()}"


def _lease() -> str:
    """The real table, the real frame: a marked advertisement must lengthen the lease, and shorten it again."""
    _port()
    frame = bytes.fromhex("01005e000012") + bytes.fromhex(_router().mac.replace(":", "")) + b"\x08\0" + _VRRP
    with Nft() as nft, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        nft.apply(render_lease([_group()], {_PORT: str(_PORT)}))
        sender.bind((_PORT, 0))
        remaining = []
        for mark in (lease_long_mark(1), lease_short_mark(1)):
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sender.send(frame)
            remaining.append(nft.leases().get(1, 0))
        nft.apply("")
    long, short = remaining
    if not (long > 50 * SECOND and 0 < short <= 300 * MILLISECOND):
        raise ValueError(f"an advertisement left {long} and then {short} ns of lease")
    return "refreshed, lengthened and shortened by our own advertisements"


def _nat() -> str:
    _port()
    plan = Plan("doctor", 1, b"", (), (), (_group(),), (), (), ())
    with Nft() as nft:
        nft.apply(render_nat(plan, [_group()], {_PORT: str(_PORT)}))
        nft.apply("")
    Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("1")
    return "tables load, conntrack's settings can be written"


def _guard() -> str:
    """The real table: a flush by somebody else must pass it over, and it must go with the one who made it."""
    _port()
    with Nft() as others:
        with Nft() as keeper:
            keeper.run(render_guard(Plan("doctor", 1, b"", (), (), (_group(),), (), (), ()), [_group()], {}))
            others.run("flush ruleset\n")
            if GUARD_TABLE not in others.run("list tables inet\n"):
                raise ValueError("a table with an owner went with `nft flush ruleset`")
        if GUARD_TABLE in others.run("list tables inet\n"):
            raise ValueError("a table with an owner outlived it")
    return "a table of our own outlasts `nft flush ruleset`"


def _vrfs() -> str:
    """What the VRFs of NAT lines rest on. Devices of the kernel are none of it: not every kernel has them."""
    with Nft() as nft:
        nft.run(
            "add table inet probe\n"
            "add chain inet probe zoning { type filter hook prerouting priority raw; }\n"
            "add rule inet probe zoning ct original zone set 1 meta mark set 1\n"
            "delete table inet probe\n"
        )
    try:
        _ip("link add probe type vrf table 99")
        _ip("link del probe")
        devices = "VRF devices are there too"
    except OSError:
        devices = "this kernel has no VRF devices, and needs none for it"
    return f"zones of conntrack and packet marks; {devices}"


def _rules() -> str:
    _ip("rule add pref 20 lookup local")
    _ip("rule add pref 5 iif lo goto 20")
    _ip("rule add pref 10 to 203.0.113.10 ipproto tcp dport 80 blackhole")
    _ip("rule del pref 0")
    return "rules by protocol and port ahead of the local table"


def _router() -> Router:
    address = ip_interface("203.0.113.10/24")
    return Router(GroupName("doctor"), _PORT, 4, Vrid(1), (address,), None)


def _group() -> Group:
    node = NodeName("here")
    return Group(GroupName("doctor"), 1, (node,), {node: Priority(100)}, (_router(),), 100 * MILLISECOND, False)


def _sentence(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename and shutil.which(str(error.filename)) is None:
        return f"{error.filename}: not found"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


_HERE: Final = (
    _Trial("python", platform.python_version, "install Python 3.11 or newer"),
    _Trial("nft command", _nft_command, "apt-get install nftables"),
    _Trial("ip command", _iproute, "apt-get install iproute2"),
    _Trial("rootless lab", _rootless, "set it otherwise with sysctl -w, or run the lab as root", required=False),
    _Trial(
        "capabilities",
        _capabilities,
        "only the agent on a real node needs them: run it as root or by the systemd unit",
        required=False,
    ),
    _Trial(
        "real-time priority",
        _realtime,
        "let the systemd unit set CPUSchedulingPolicy=fifo, or run as root",
        required=False,
    ),
)
_INSIDE: Final = (
    _Trial("libnftables", _library, "apt-get install libnftables1"),
    _Trial("packet sockets", _packet_socket, "the kernel needs CONFIG_PACKET"),
    _Trial("macvlan", _macvlan, "modprobe macvlan; the kernel needs CONFIG_MACVLAN"),
    _Trial("netdev egress hook", _egress, "needs Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS"),
    _Trial("kernel lease", _lease, "needs Linux 5.16 or newer and nftables 1.0.6 or newer"),
    _Trial("conntrack and NAT", _nat, "modprobe nft_chain_nat nft_socket nft_hash; the kernel needs nf_conntrack"),
    _Trial(
        "rule set guard",
        _guard,
        "needs Linux 5.12 or newer; without, `nft flush ruleset` resets translated connections",
        required=False,
    ),
    _Trial(
        "flow events",
        flow_events,
        "modprobe nf_conntrack_netlink; the kernel needs CONFIG_NF_CONNTRACK_EVENTS; without, `state` stays `none`",
        required=False,
    ),
    _Trial(
        "flow helpers",
        flow_helpers,
        "modprobe -a nf_nat_ftp nf_nat_tftp; without, `helpers` of `nat` do nothing",
        required=False,
    ),
    _Trial(
        "VRFs of NAT", _vrfs, "the kernel needs CONFIG_NF_CONNTRACK_ZONES; only for lines with `vrf`", required=False
    ),
    _Trial("routing rules", _rules, "needs Linux 4.17 or newer with CONFIG_IP_MULTIPLE_TABLES"),
)
