"""The stateful contenders: Understudy, keepalived with conntrackd in two ways, and the same with nothing replicated.

conntrackd is set up as its manual advises, and where the manual leaves a choice, the better one for what is measured:

* FTFW, its reliable mode, over unicast UDP on the network that only the two gateways share, buffers of megabytes,
  caches of twice `nf_conntrack_max`, events filtered in the kernel, a resync at start and one second after an overrun
  (the default is half a minute);
* keepalived tells it what its `primary-backup.sh` does: on becoming master commit, flush, resync with the kernel and
  send in bulk; on becoming backup have the kernel's table flushed in a minute and ask for a resync; on a fault the flush;
* the window is not tracked (it makes the entries that it writes liberal), nothing is picked up in the middle, and what
  is invalid is dropped rather than delivered: a packet ahead of its entry must not be answered with a reset.

`conntrackd-direct` is the same with `DisableExternalCache`: entries go straight into the standby's kernel.

`unreplicated` is the control, the same without conntrackd. (Plain keepalived with `nf_conntrack_tcp_loose` 1 would save
most connections whose clients speak: both nodes translate alike. That is no replication, and saves no idle ones.)

conntrackd's scheduling class is its own default, the highest real-time priority.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from contenders import (
    CONTENDERS,
    Contender,
    environment,
    keepalived_config,
    keepalived_hand_over,
    keepalived_role,
    keepalived_take_part,
    peers,
    private_run,
    same_data_path,
)

from understudy.adapters.nftables import Nft
from understudy.config.plan import Plan
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab.build import AgentMain, Lab
from understudy.lab.namespace import write_sysctl
from understudy.units import NetworkName, NodeName

CONFIG, SOCKET, LOG, NOTIFIED = "conntrackd.conf", "conntrackd.ctl", "conntrackd.log", "notified"
UDP_PORT = 3780
ENTRIES_MAX = 262_144
"""`nf_conntrack_max` here; a child network namespace cannot change it."""
_BUFFER = 8 << 20
EVENTS_BUFFER = 64 << 20
"""From the start: growing to it would cost an overrun first."""
_START_TIMEOUT_S = 5.0

_NOT_INVALID = """table inet peer {
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        ct state invalid drop
    }
}
"""


# -- the files --


def sync_network(plan: Plan) -> NetworkName:
    """Where the two speak: a network on which only they are; if there is none, the last one that they share."""
    nodes = set(plan.groups[0].nodes)
    virtual = {router.network for router in plan.groups[0].routers}
    attached = {
        network.name: {node.name for node in plan.nodes if any(a.network == network.name for a in node.attachments)}
        for network in plan.networks
    }
    shared = [name for name, there in attached.items() if nodes <= there]
    if not shared:
        raise OperatorError("E6501", "the gateways share no network to replicate over", "add one to `networks`")
    return next((name for name in shared if name not in virtual and attached[name] == nodes), shared[-1])


def conntrackd_config(plan: Plan, node: NodeName, run_dir: Path, ports: Mapping[str, str], *, direct: bool) -> str:
    """conntrackd.conf(5) of one node."""
    network = sync_network(plan)
    mine, theirs = (_address(plan, name, network) for name in (node, _peer(plan, node)))
    own = "".join(f"            IPv4_address {address}\n" for address in ("127.0.0.1", *_own_addresses(plan)))
    return f"""Sync {{
    Mode FTFW {{
        ResendQueueSize {ENTRIES_MAX}
        DisableExternalCache {"yes" if direct else "no"}
        StartupResync yes
    }}
    UDP {{
        IPv4_address {mine}
        IPv4_Destination_Address {theirs}
        Port {UDP_PORT}
        Interface {ports[str(network)]}
        SndSocketBuffer {_BUFFER}
        RcvSocketBuffer {_BUFFER}
        Checksum on
    }}
    Options {{
        ExpectationSync on
    }}
}}
General {{
    Systemd no
    HashSize {ENTRIES_MAX // 4}
    HashLimit {2 * ENTRIES_MAX}
    LogFile {run_dir / LOG}
    LockFile {run_dir / "conntrackd.lock"}
    UNIX {{
        Path {run_dir / SOCKET}
    }}
    NetlinkBufferSize {EVENTS_BUFFER}
    NetlinkBufferSizeMaxGrowth {EVENTS_BUFFER}
    NetlinkOverrunResync 1
    Filter From Kernelspace {{
        Protocol Accept {{
            TCP
            SCTP
            UDP
            ICMP
        }}
        Address Ignore {{
{own}        }}
    }}
}}
"""


def _address(plan: Plan, node: NodeName, network: NetworkName) -> str:
    attachments = next(each for each in plan.nodes if each.name == node).attachments
    addresses = next(each.addresses for each in attachments if each.network == network)
    return str(next(each.ip for each in addresses if each.version == 4))


def _own_addresses(plan: Plan) -> list[str]:
    """Of both gateways: what comes from them is not forwarded. Virtual addresses are where balanced flows go to."""
    nodes = [node for node in plan.nodes if node.name in plan.groups[0].nodes]
    return [str(a.ip) for node in nodes for each in node.attachments for a in each.addresses if a.version == 4]


def _peer(plan: Plan, node: NodeName) -> NodeName:
    return next(each for each in plan.groups[0].nodes if each != node)


TOLD: Mapping[str, tuple[str, ...]] = {
    "primary": ("-c", "-f", "-R", "-B"),
    "backup": ("-t", "-n"),
    "fault": ("-t",),
}
"""What conntrackd is told at each move (conntrackd(8); its manual, chapter 6)."""

TOLD_DIRECT: Mapping[str, tuple[str, ...]] = {**TOLD, "backup": ("-n",), "fault": ()}
"""With copies in the standby's own kernel a flush there ends the flows at the Active too: conntrackd does it from a
process of its own, and takes the kernel's word of it for news (tried: every connection stalled when a node came back).
"""


def notify_script(run_dir: Path, root: Path, libraries: str, *, direct: bool) -> str:
    """What keepalived calls with one of the words of TOLD. The last line tells when it was through, for the bench."""
    cases = "".join(
        f"{word})\n" + "".join(f"    tell {option}\n" for option in options) + "    ;;\n"
        for word, options in (TOLD_DIRECT if direct else TOLD).items()
    )
    return f"""#!/bin/sh
export LD_LIBRARY_PATH={libraries}
tell() {{
    {root}/usr/sbin/conntrackd -C {run_dir / CONFIG} "$1" || echo "failed: $1" >>{run_dir / NOTIFIED}
}}
case "$1" in
{cases}esac
echo "$1 $(date +%s%N)" >>{run_dir / NOTIFIED}
"""


# -- the daemons --


def _beside_keepalived(*, replicates: bool = True, direct: bool = False) -> AgentMain:
    def main(plan: Plan, node: NodeName, run_dir: Path, _key: bytes) -> None:
        root = peers()
        if not (root / "usr/sbin/conntrackd").exists():
            raise OperatorError("E6501", f"conntrackd is not below {root}", "run scripts/peers")
        ports = same_data_path(plan, node)
        write_sysctl("net/netfilter/nf_conntrack_tcp_loose", 0)
        # Entries tell of their changes also if they are older than the daemon (2, the default, would leave them silent).
        write_sysctl("net/netfilter/nf_conntrack_events", 1)
        with Nft() as nft:
            nft.run(_NOT_INVALID)
        variables = environment(root)
        private_run()
        script = run_dir / "notify"
        if replicates:
            (run_dir / CONFIG).write_text(conntrackd_config(plan, node, run_dir, ports, direct=direct))
            script.write_text(notify_script(run_dir, root, variables["LD_LIBRARY_PATH"], direct=direct))
            script.chmod(0o700)
            for name in (SOCKET, "conntrackd.lock", NOTIFIED):
                (run_dir / name).unlink(missing_ok=True)
            _start_conntrackd(root, run_dir / CONFIG, run_dir / SOCKET, variables)
        text = keepalived_config(plan, node, run_dir, ports, vmac=False, notify=script if replicates else None)
        (run_dir / "keepalived.conf").write_text(text)
        (run_dir / "keepalived.conf").chmod(0o600)
        program = str(root / "usr/sbin/keepalived")
        os.execve(program, [program, "-n", "-l", "-G", "-D", "-P", "-f", str(run_dir / "keepalived.conf")], variables)

    return main


def _start_conntrackd(root: Path, config: Path, answers: Path, variables: Mapping[str, str]) -> None:
    """In the foreground, so that it belongs to this node's processes; returns once it takes commands."""
    program = str(root / "usr/sbin/conntrackd")
    if os.fork() == 0:
        os.execve(program, [program, "-C", str(config)], variables)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(answers):
        if time.monotonic() > deadline:
            raise EnvironmentFailure("start", "conntrackd", f"it does not listen at {answers}")
        time.sleep(0.01)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


# -- questions --


def ask(lab: Lab, node: str, *arguments: str) -> str:
    """What a node's conntrackd answers to one command."""
    root = peers()
    command = [str(root / "usr/sbin/conntrackd"), "-C", str(lab.run_dir(node) / CONFIG), *arguments]
    ended = subprocess.run(command, env=environment(root), capture_output=True, text=True, check=False, timeout=30)
    if ended.returncode:
        raise EnvironmentFailure("ask", f"conntrackd of {node}", (ended.stderr or ended.stdout).strip()[-300:])
    return ended.stdout


_CACHES = re.compile(r"cache (internal|external):\s*current active connections:\s*(\d+)")


def cached(statistics: str) -> dict[str, int]:
    """Entries of each cache, from what `-s` prints."""
    return {name: int(count) for name, count in _CACHES.findall(statistics)}


_COMMITTED = re.compile(r"commit .*?took ([\d.]+) seconds|commit has taken ([\d.]+) seconds", re.IGNORECASE)


def commits_s(log: str) -> list[float]:
    """How long each commit took, by conntrackd's own log."""
    return [float(one or other) for one, other in _COMMITTED.findall(log)]


def notified(lab: Lab, node: str) -> list[tuple[str, int]]:
    """What the script was called with, and when it was through: nanoseconds of the real-time clock."""
    path = lab.run_dir(node) / NOTIFIED
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(line[0], int(line[1])) for line in lines if len(line) == 2 and line[1].isdigit()]


_SETTING = (
    "keepalived 2.2.7 as in the comparison, telling conntrackd 1.4.7 at every move what its `primary-backup.sh` does; "
    "FTFW over UDP on the sync network, 64 MB for events, kernel filter, resync 1 s after an overrun, "
    "`nf_conntrack_tcp_loose` 0 and invalid packets dropped"
)
_TABLE = (
    ("conntrackd", f"{_SETTING}.", _beside_keepalived()),
    ("conntrackd-direct", f"{_SETTING}; `DisableExternalCache yes`.", _beside_keepalived(direct=True)),
    ("unreplicated", "Control: the same without conntrackd.", _beside_keepalived(replicates=False)),
)
STATEFUL: Mapping[str, Contender] = {
    "understudy": CONTENDERS["understudy"],
    **{
        name: Contender(
            name, sentence, main, keepalived_role, keepalived_hand_over, keepalived_take_part, virtual_mac=False
        )
        for name, sentence, main in _TABLE
    },
}
"""The last one is the control: nothing is replicated, so connections must be lost."""
