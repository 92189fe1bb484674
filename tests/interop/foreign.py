"""Other people's daemons on a node of the lab: Debian's keepalived and FRR, unpacked by scripts/peers, never installed.

Each gets its configuration from the same settings that our agent would get on that node, a mount namespace of its own
for the directories it insists on, and leaves with the lab.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from understudy.core.settings import GroupSettings, RouterSettings
from understudy.lab import processes, syscalls
from understudy.lab.build import Lab
from understudy.wire.vrrp import virtual_mac

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / ".peers/root"
MS_BIND = 0x1000
PATIENCE_S = 5.0

Start = Callable[["Node"], list[list[str]]]
"""Writes the configuration and returns the commands, in the order to start them."""


@dataclass
class Node:
    """One daemon (or its set of processes) on one node of a lab."""

    lab: Lab
    name: str
    group: GroupSettings
    """As the plan has it for this node."""
    sources: dict[int, str]
    """The node's own address by family, on its one network; of two networks those of the first."""
    kind: str
    options: dict[str, str] = field(default_factory=dict)
    """Peculiarities of one trial, for the configuration."""
    pids: list[int] = field(default_factory=list)
    links_made: bool = False

    @property
    def directory(self) -> Path:
        path = self.lab.run_dir(self.name) / self.kind
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return path

    def interface(self, router: RouterSettings) -> str:
        return self.lab.topology.port(self.name, router.network).interface

    def start(self) -> None:
        commands = KINDS[self.kind](self)
        for command in commands:
            run = partial(_become, command, self.directory)
            self.pids.append(self.lab.namespaces[self.name].spawn(run))
            if self.kind == "frr":
                self._wait_for_socket(Path(command[0]).name)

    def stop(self) -> None:
        """Politely, as a service manager does: it says farewell if it is Active."""
        for pid in reversed(self.pids):
            os.kill(pid, signal.SIGTERM)
            processes.wait_until_gone([pid], PATIENCE_S)
        self.kill()

    def kill(self) -> None:
        """At once; its addresses stay in the kernel, as they do."""
        for pid in self.pids:
            processes.signal_all(partial(processes.of_session, pid), signal.SIGKILL)
        self.forget()

    def forget(self) -> None:
        """Its processes are dead already."""
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.pids.clear()

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def ip(self, text: str) -> None:
        done = self.lab.namespaces[self.name].run(subprocess.run, ["ip", *text.split()], capture_output=True, text=True)
        assert done.returncode == 0, f"ip {text}: {done.stderr}"

    def _wait_for_socket(self, daemon: str) -> None:
        socket = self.directory / f"{daemon}.vty"
        deadline = time.monotonic() + PATIENCE_S
        while not socket.exists():
            assert time.monotonic() < deadline, f"{daemon} does not start: {self.log()}"
            time.sleep(0.01)


def _become(command: Sequence[str], directory: Path) -> None:
    """In the forked child: private directories, the log, and the program in our place."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    for name, lines in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\nfrrvty:x:0:root\n")):
        (directory / name).write_text(lines)
        syscalls.mount(str(directory / name), f"/etc/{name}", None, MS_BIND)
    (directory / "run").mkdir(exist_ok=True)
    syscalls.mount(str(directory / "run"), "/run", None, MS_BIND)
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    libraries = sorted({str(path.parent) for path in FILES.rglob("lib*.so*")})
    os.execve(command[0], list(command), {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(libraries)})


# --- keepalived


def _keepalived(node: Node) -> list[list[str]]:
    instances, names = [], []
    for number, router in enumerate(node.group.routers):
        name = f"r{number}"
        names.append(name)
        instances.append(_instance(node, router, name))
    together = f"vrrp_sync_group all {{\n  group {{\n    {' '.join(names)}\n  }}\n}}\n" if len(names) > 1 else ""
    file = node.directory / "keepalived.conf"
    file.write_text("global_defs {\n  router_id lab\n}\n" + together + "".join(instances))
    own = node.directory
    arguments = ["-n", "-l", "-D", "-P", "-f", str(file), "-p", str(own / "pid"), "-r", str(own / "vrrp.pid")]
    return [[str(FILES / "usr/sbin/keepalived"), *arguments]]


def _instance(node: Node, router: RouterSettings, name: str) -> str:
    port = node.interface(router)
    interval = float(node.options.get("advertise", router.advertisement_interval_cs / 100))
    version = node.options.get("version", router.version)
    behind = f"/128 dev {port} -nodad" if router.family == 6 else f"/32 dev {port}"
    addresses = "".join(f"    {address}{behind}\n" for address in router.addresses)
    named = () if "multicast" in node.options else router.unicast
    peers = "".join(f"    {address}\n" for address in named)
    unicast = (
        f"  unicast_src_ip {node.sources[router.family]}\n  unicast_ttl 255\n  unicast_peer {{\n{peers}  }}\n"
        if peers
        else ""
    )
    return f"""vrrp_instance {name} {{
  state BACKUP
  interface {port}
  version {version}
  virtual_router_id {router.vrid}
  priority {node.options.get("priority", router.priority)}
  advert_int {interval:g}
  {"preempt" if node.group.preempt else "nopreempt"}
{node.options.get("instance", "")}{unicast}  virtual_ipaddress {{
{addresses}  }}
}}
"""


# --- FRR


def _frr(node: Node) -> list[list[str]]:
    """zebra and vrrpd. The macvlans that vrrpd takes up and down are the operator's to make."""
    lines = ["log stdout informational"]
    for number, router in enumerate(node.group.routers):
        port = node.interface(router)
        if not node.links_made:
            mac = virtual_mac(router.vrid, router.family).hex(":")
            link = f"vrrp{number}"
            # Or the port answers for the macvlan's addresses with its own MAC, in whatever state the router is.
            sysctls = f"net/ipv4/conf/{port}/"
            node.lab.namespaces[node.name].sysctl(sysctls + "arp_ignore", 1)
            node.lab.namespaces[node.name].sysctl(sysctls + "arp_announce", 2)
            node.ip(f"link add {link} link {port} address {mac} type macvlan mode bridge")
            node.ip(f"link set {link} addrgenmode random")
            for address in router.addresses:
                node.ip(f"address add {address}/{128 if router.family == 6 else 32} dev {link} nodad")
            node.ip(f"link set {link} up")
        vrid, family = router.vrid, "ipv6" if router.family == 6 else "ip"
        lines += [
            f"interface {port}",
            f" vrrp {vrid} version 3",
            f" vrrp {vrid} priority {router.priority}",
            f" vrrp {vrid} advertisement-interval {router.advertisement_interval_cs * 10}",
            *(f" vrrp {vrid} {family} {address}" for address in router.addresses),
            f" {'' if node.group.preempt else 'no '}vrrp {vrid} preempt",
        ]
    node.links_made = True
    own = node.directory
    for stale in own.glob("*.vty"):
        stale.unlink()
    (own / "zebra.conf").write_text("log stdout\n")
    (own / "vrrpd.conf").write_text("\n".join(lines) + "\n")
    return [
        [
            str(FILES / "usr/lib/frr" / name),
            *("-u", "root", "-g", "root", "-P", "0", "--log", "stdout"),
            *("-f", str(own / f"{name}.conf"), "-i", str(own / f"{name}.pid"), "-z", str(own / "zserv.api")),
            *("--vty_socket", str(own)),
        ]
        for name in ("zebra", "vrrpd")
    ]


KINDS: dict[str, Start] = {"keepalived": _keepalived, "frr": _frr}
