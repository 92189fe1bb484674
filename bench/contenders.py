"""Who is compared: Understudy, keepalived in its two modes, FRR's vrrpd; each as the `agent` of the same lab.

All of them get the same file's group: VRRPv3 on both LANs, VRID, priorities, interval, no preemption. The others' nodes
get, before the daemon starts, the same data path as ours, so that the same probes cross the pair: the balancer's and the
NAT's table as `understudy plan` prints it (not the lease's: that is Understudy's own), forwarding, conntrack's and ARP's
sysctls. What differs is who decides, who answers and when, which is what is measured.

The daemons come from Debian's packages, unpacked into `.peers/` by `scripts/peers` and installed nowhere. Each runs in
the network namespace of its node and in mounts of its own: they see a private /run.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from understudy.adapters.nftables import Nft
from understudy.agent.options import find_interfaces, find_node
from understudy.config.plan import Group, Plan
from understudy.drill import control
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import syscalls
from understudy.lab.build import AgentMain, Lab, run_agent
from understudy.lab.namespace import write_sysctl
from understudy.render.nat import render_nat
from understudy.render.sysctls import link_sysctls, node_sysctls
from understudy.units import MILLISECOND, NodeName

ROOT = Path(__file__).resolve().parents[1]
_MS_BIND = 0x1000
_REAL_TIME = 50
"""keepalived(8) and keepalived.conf(5) advise real-time scheduling where a late advertisement would cost the role."""
PREEMPT_DELAY_S = 5
_UNIT_PRIORITY = 10
"""CPUSchedulingPriority of our own unit."""
NOT_UNPACKED = "the daemons to compare with are not there"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the comparison."""

    name: str
    sentence: str
    """How it is set up, for the page."""
    main: AgentMain
    role: Callable[[Lab, Group, str], str]
    """A node's role in its own words: `active`, `standby`, or anything else while it is neither."""
    switch_over: Callable[[Lab, Group, str], None] | None
    """Move the group away from its active node, the way its manual has it; None if it knows none."""
    after_switchover: Callable[[Lab, str], None] | None = None
    """What the operator has to undo later."""
    virtual_mac: bool = True


def peers() -> Path:
    """Where the daemons were unpacked. Raises OperatorError if nobody did."""
    # Where the link leads, so that a program and its libraries are of one set.
    root = Path(os.environ.get("PEERS", ROOT / ".peers/root")).resolve()
    if not (root / "usr/sbin/keepalived").exists() or not (root / "usr/lib/frr/vrrpd").exists():
        raise OperatorError("E6501", f"{NOT_UNPACKED}: {root}", "run scripts/peers")
    return root


def environment(root: Path) -> dict[str, str]:
    libraries = [root / part / "x86_64-linux-gnu" for part in ("usr/lib", "lib")]
    libraries += [library / "frr" for library in libraries]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}


# -- the data path that all share --


def same_data_path(plan: Plan, node: NodeName) -> Mapping[str, str]:
    """Load into this kernel what ours would hold but for the lease; returns the node's port on each network."""
    ports = find_interfaces(find_node(plan, node))
    groups = [group for group in plan.groups if node in group.nodes]
    with Nft() as nft:
        nft.apply(render_nat(plan, groups, ports))
    routers = [router for group in groups for router in group.routers]
    for path, value in node_sysctls((4,), tuple(dict.fromkeys(ports[router.network] for router in routers))):
        write_sysctl(path, value)
    return {str(network): port for network, port in ports.items()}


def private_run() -> None:
    """A /run of its own, in mounts of its own already: nothing of the daemon's appears on this machine."""
    syscalls.mount("tmpfs", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)


def _interval_ms(group: Group) -> int:
    return group.advertise // MILLISECOND


# -- keepalived --


def keepalived_config(
    plan: Plan, node: NodeName, run_dir: Path, ports: Mapping[str, str], *, vmac: bool, notify: Path | None = None
) -> str:
    """keepalived.conf of one node: one instance a LAN, joined in a sync group, with a file that hands over.

    `notify` is a script that is told of every move of the sync group.
    """
    group = plan.groups[0]
    instances = "".join(
        f"""vrrp_instance {router.network} {{
    state BACKUP
{_preempt_lines(group, bool(notify))}    interface {ports[router.network]}
    virtual_router_id {router.vrid}
    priority {group.priorities[node]}
    advert_int {_interval_ms(group) / 1000:g}
{_vmac_lines(number) if vmac else ""}    virtual_ipaddress {{
{"".join(f"        {address.ip}/32{chr(10)}" for address in router.addresses)}    }}
}}
"""
        for number, router in enumerate(group.routers, 1)
    )
    return f"""global_defs {{
    router_id {node}
    vrrp_version 3
    vrrp_rt_priority {_REAL_TIME}
    vrrp_no_swap
    vrrp_rlimit_rttime 1000000
{"    script_user root" + chr(10) if notify else ""}}}
track_file hand_over {{
    file "{_hand_over_file(run_dir)}"
    weight 0
    init_file 0 overwrite
}}
vrrp_sync_group {group.name} {{
    group {{
{"".join(f"        {router.network}{chr(10)}" for router in group.routers)}    }}
    track_file {{
        hand_over weight 0
    }}
{_notify_lines(notify) if notify else ""}}}
{instances}"""


def _preempt_lines(group: Group, stateful: bool) -> str:
    """Who keeps state gets a while to fetch it before it takes over again."""
    if not group.preempt:
        return "    nopreempt\n"
    return f"    preempt_delay {PREEMPT_DELAY_S}\n" if stateful else ""


def _notify_lines(script: Path) -> str:
    moves = (("master", "primary"), ("backup", "backup"), ("fault", "fault"))
    return "".join(f'    notify_{move} "{script} {word}"\n' for move, word in moves)


def _vmac_lines(number: int) -> str:
    return f"    use_vmac kvrrp{number}\n    vmac_xmit_base\n"


def _hand_over_file(run_dir: Path) -> Path:
    return run_dir / "hand_over"


def _keepalived(*, vmac: bool) -> AgentMain:
    def main(plan: Plan, node: NodeName, run_dir: Path, _key: bytes) -> None:
        root = peers()
        config = run_dir / "keepalived.conf"
        config.write_text(keepalived_config(plan, node, run_dir, same_data_path(plan, node), vmac=vmac))
        config.chmod(0o600)
        private_run()
        program = str(root / "usr/sbin/keepalived")
        os.execve(program, [program, "-n", "-l", "-G", "-D", "-P", "-f", str(config)], environment(root))

    return main


_ENTERED = re.compile(r"\((\w+)\) Entering (MASTER|BACKUP|FAULT) STATE")
_STARTED = "Starting Keepalived v"


def keepalived_role(lab: Lab, group: Group, node: str) -> str:
    """By its log: active or standby once every instance is, of the daemon that lives now."""
    if not lab.agent_pids(node):
        return ""
    try:
        text = (lab.run_dir(node) / "agent.log").read_text(errors="replace")
    except OSError:
        return ""
    states = dict.fromkeys((str(router.network) for router in group.routers), "")
    states.update(_ENTERED.findall(text.rpartition(_STARTED)[2]))
    found = set(states.values())
    return {"MASTER": "active", "BACKUP": "standby"}.get(found.pop(), "") if len(found) == 1 else ""


def keepalived_hand_over(lab: Lab, _: Group, active: str) -> None:
    _hand_over_file(lab.run_dir(active)).write_text("1\n")


def keepalived_take_part(lab: Lab, node: str) -> None:
    _hand_over_file(lab.run_dir(node)).write_text("0\n")


# -- FRR --


def frr_config(plan: Plan, node: NodeName, ports: Mapping[str, str]) -> str:
    """vrrpd.conf of one node. There are no sync groups: each LAN decides for itself."""
    group = plan.groups[0]
    return "".join(
        f"""interface {ports[router.network]}
 vrrp {router.vrid} version 3
 vrrp {router.vrid} priority {group.priorities[node]}
 vrrp {router.vrid} advertisement-interval {_interval_ms(group)}
 no vrrp {router.vrid} preempt
{"".join(f" vrrp {router.vrid} ip {address.ip}{chr(10)}" for address in router.addresses)}exit
"""
        for router in group.routers
    )


def _frr(plan: Plan, node: NodeName, run_dir: Path, _key: bytes) -> None:
    root = peers()
    (run_dir / "zserv").unlink(missing_ok=True)
    ports = same_data_path(plan, node)
    # vrrpd finds the macvlan by its MAC, among the links below the port; who carries it is told by `protodown`.
    for number, router in enumerate(plan.groups[0].routers, 1):
        name = f"fvrrp{number}"
        links = f"link add {name} link {ports[router.network]} address {router.mac} type macvlan mode bridge\n"
        links += "".join(f"address add {address.ip}/32 dev {name}\n" for address in router.addresses)
        _ip(links)
        for path, value in link_sysctls(name, 4):
            write_sysctl(path, value)
        _ip(f"link set {name} protodown on\nlink set {name} up\n")
    config = run_dir / "vrrpd.conf"
    config.write_text(frr_config(plan, node, ports))
    private_run()
    _group_for_frr(run_dir)
    common = ["-u", "root", "-g", "root", "--vty_socket", str(run_dir), "-z", str(run_dir / "zserv"), "--log", "stdout"]
    variables = environment(root)
    zebra, vrrpd = (str(root / "usr/lib/frr" / name) for name in ("zebra", "vrrpd"))
    if os.fork() == 0:
        os.execve(zebra, [zebra, "-f", os.devnull, "-i", str(run_dir / "zebra.pid"), *common], variables)
    # vrrpd asks for zebra once and then only every ten seconds.
    deadline = time.monotonic() + 5
    while not (run_dir / "zserv").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.execve(vrrpd, [vrrpd, "-f", str(config), "-i", str(run_dir / "vrrpd.pid"), *common], variables)


def _group_for_frr(run_dir: Path) -> None:
    """Debian's FRR will not start without a group `frrvty` that its user is in."""
    copy = run_dir / "group"
    copy.write_text(Path("/etc/group").read_text() + "frrvty:x:989:root\n")
    syscalls.mount(str(copy), "/etc/group", None, _MS_BIND)


def _ip(commands: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True, timeout=10)


def _frr_role(lab: Lab, group: Group, node: str) -> str:
    if not lab.agent_pids(node):
        return ""
    try:
        routers = json.loads(_ask_vrrpd(lab.run_dir(node) / "vrrpd.vty", "show vrrp json"))
        found = {router["v4"]["status"] for router in routers}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if len(routers) != len(group.routers) or len(found) != 1:
        return ""
    return {"Master": "active", "Backup": "standby"}.get(found.pop(), "")


def _ask_vrrpd(path: Path, command: str) -> str:
    """One command over vrrpd's own socket, as vtysh asks: text and a zero there, text and three zeros and a code back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\0")
        reply = b""
        while b"\0\0\0" not in reply:
            data = sock.recv(65536)
            if not data:
                raise EnvironmentFailure("ask", str(path), "vrrpd hung up")
            reply += data
    return reply.partition(b"\0\0\0")[0].decode()


# -- Understudy --


def understudy(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """As packaging/understudy@.service starts it: in a real-time class, which the agent hands on to whom it needs."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_UNIT_PRIORITY))
    run_agent(plan, node, run_dir, key)


def understudy_role(lab: Lab, group: Group, node: str) -> str:
    role = control.role(lab.run_dir(node), group.name)
    return "standby" if role == "backup" else role


def understudy_hand_over(lab: Lab, group: Group, active: str) -> None:
    reply = control.ask(lab.run_dir(active), {"command": "switchover", "group": group.name})
    if reply.get("error"):
        raise EnvironmentFailure("switch over", group.name, str(reply["error"]))


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            "understudy",
            "Understudy as its systemd unit starts it (SCHED_RR 10); hand-over by `understudy switchover`.",
            understudy,
            understudy_role,
            understudy_hand_over,
        ),
        Contender(
            "keepalived",
            "keepalived 2.2.7: `vrrp_version 3`, both LANs in a `vrrp_sync_group`, `nopreempt`, `vrrp_rt_priority 50`, "
            "`vrrp_no_swap`; addresses on the ports themselves; hand-over by a `track_file` of weight 0.",
            _keepalived(vmac=False),
            keepalived_role,
            keepalived_hand_over,
            keepalived_take_part,
            virtual_mac=False,
        ),
        Contender(
            "keepalived-vmac",
            "The same with `use_vmac` and `vmac_xmit_base`.",
            _keepalived(vmac=True),
            keepalived_role,
            keepalived_hand_over,
            keepalived_take_part,
        ),
        Contender(
            "frr",
            "FRR 8.4.4 zebra and vrrpd: `version 3` on both LANs, `no preempt`, macvlans made by hand; it has no groups "
            "and no hand-over.",
            _frr,
            _frr_role,
            None,
        ),
    )
}
