"""From a topology to a running lab, and the faults that can be done to it.

Faults act on the switch's side, as in the field: nothing depends on the rules or the health of the node concerned.

A Lab belongs into a sandbox (`lab.sandbox`), whose end is the end of every process and link of it.
"""

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

from understudy.config.plan import Plan
from understudy.errors import OperatorError
from understudy.lab import netlink, processes, server, syscalls
from understudy.lab.hosts import LOOPBACK, Preparation, configure, prepare_switch
from understudy.lab.namespace import Namespace
from understudy.lab.readiness import wait_until_serving
from understudy.lab.redirected import Redirected
from understudy.lab.silence import SilentPorts
from understudy.lab.topology import SWITCH, Host, Kind, Port, Topology, lay_out
from understudy.units import SECOND, Duration, Instant, NodeName

AgentMain = Callable[[Plan, NodeName, Path, bytes], None]
"""Runs one node's agent in the calling process, for ever: plan, node, its run directory, the cluster's key."""

SERVER_FAILED = "E5121"


def run_agent(plan: Plan, node: NodeName, run_dir: Path, key: bytes) -> None:
    """The entry of the real agent."""
    from understudy.agent.supervisor import AgentOptions, run

    run(AgentOptions(plan=plan, node=node, run_dir=run_dir, key=key))


class Lab:
    """Every machine of a plan on this one. `up` builds it; faults may then come in any order, and again."""

    def __init__(
        self,
        plan: Plan,
        state: Path,
        *,
        key: bytes | None = None,
        agent_main: AgentMain = run_agent,
        disk_bytes: int = 0,
    ) -> None:
        """`state` holds each node's run directory; `key` is the cluster's, random if not given.

        With `disk_bytes` each gateway's run directory is a disk of its own of that size, seen only inside the sandbox.
        """
        self.plan = plan
        self.topology: Topology = lay_out(plan)
        self.state = state
        self.key = key or os.urandom(32)
        self.switch: Namespace
        self.namespaces: dict[str, Namespace] = {}
        """By host name: declared nodes and extras, not the switch. A power cycle keeps the object."""
        self._agent_main = agent_main
        self._disk_bytes = disk_bytes
        self.clocks_ahead: dict[str, Duration] = {}
        """By how much a node's clocks are, or were last, ahead of ours: its journal is written by them."""
        self._held = contextlib.ExitStack()
        """Descriptors of namespaces and sockets: the lab's links live by them."""
        self._links: netlink.RouteSocket
        self._silence: SilentPorts
        self._agents: dict[str, int] = {}
        self._servers: dict[str, int] = {}

    # -- building and removing --

    def up(self, *, agents: bool = True, timeout_s: float = 30.0) -> None:
        """Build it all and return once every server answers a neighbour.

        Raises EnvironmentFailure if the kernel refuses a link, OperatorError E5121 or E5122 if a server does not serve.
        """
        hold = self._held.enter_context
        self.switch = hold(closing(Namespace.create(SWITCH, prepare_switch)))
        self._links = hold(closing(self.switch.run(netlink.RouteSocket)))
        self._links.commit([netlink.add_bridge(b.index, b.name, b.network) for b in self.topology.bridges])
        for host in self.topology.hosts:
            self.namespaces[host.name] = hold(closing(Namespace.create(host.name, Preparation(host))))
        self._links.commit([self._cable(host, port) for host in self.topology.hosts for port in host.ports])
        ports = [port.switch_port for host in self.topology.hosts for port in host.ports]
        self._silence = hold(closing(self.switch.run(SilentPorts, ports)))
        for host in self.topology.hosts:
            self.namespaces[host.name].run(configure, host)
        if self._disk_bytes:
            for host in self.topology.gateways():
                self._mount_disk(self.run_dir(host.name))
        self._start_servers([host for host in self.topology.hosts if _serves(host)], timeout_s)
        if agents:
            for host in self.topology.gateways():
                self.start_agent(host.name)
        wait_until_serving(self.topology, self.namespaces, timeout_s)

    def down(self) -> None:
        """End every process of the lab and give its namespaces up. Harmless if it never came up whole."""
        for node in self.namespaces:
            find = partial(self.pids, node)
            pids = find()
            processes.signal_all(find, signal.SIGKILL, found=pids)
            processes.wait_until_gone(pids, timeout_s=5)
        self._reap(*self._agents.values(), *self._servers.values())
        self._agents.clear()
        self._servers.clear()
        self.namespaces.clear()
        self._held.close()

    def _cable(self, host: Host, port: Port) -> netlink.Request:
        end = netlink.Peer(self.namespaces[host.name].fd, port.index, port.interface, port.mac)
        master = self.topology.bridge(port.network).index
        return netlink.add_veth(port.switch_index, port.switch_port, f"{host.name}:{port.network}", master, end)

    def run_dir(self, node: str) -> Path:
        """The directory of a node's control socket, events and logs."""
        return self.state / node

    # -- servers --

    def _start_servers(self, hosts: Iterable[Host], timeout_s: float) -> None:
        ready, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        gc.freeze()  # a collection in a child would copy every page that it shares with us
        try:
            expected = 0
            for host in hosts:
                expected += 1
                output = self._output(host.name, "server.log")
                run = Redirected(output, server.serve)
                self._servers[host.name] = self.namespaces[host.name].spawn(run, host.name, host.http, write)
        finally:
            gc.unfreeze()
            os.close(write)
        with open(ready, "rb", buffering=0) as pipe:
            deadline = time.monotonic() + timeout_s
            listening = 0
            while listening < expected:
                readable = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]
                data = pipe.read(4096) if readable else b""
                if not data:
                    raise OperatorError(
                        SERVER_FAILED, f"{expected - listening} servers of the lab did not start", self._why()
                    )
                listening += len(data)

    def _why(self) -> str:
        """The last line of the first server's log that says anything."""
        for host in self.topology.hosts:
            log = self.run_dir(host.name) / "server.log"
            lines = log.read_text().splitlines() if log.exists() else []
            if lines:
                return f"{host.name}: {lines[-1]}"
        return f"see {self.state}/*/server.log"

    def kill_server(self, node: str) -> Instant:
        """End a host's server at once; its kernel refuses new connections from then on."""
        pid = self._servers.pop(node)
        instant = processes.signal_all(lambda: (pid,), signal.SIGKILL)
        self._reap(pid)
        return instant

    def start_server(self, node: str) -> None:
        """Start a host's server and wait until it listens."""
        self._start_servers([self.topology.host(node)], timeout_s=5)

    # -- agents --

    def start_agent(
        self, node: str, *, plan: Plan | None = None, key: bytes | None = None, clocks_ahead: Duration = 0
    ) -> int:
        """Fork the agent of a node; returns its process id, which is its session's and group's too.

        `plan`, `key` and `clocks_ahead` (whole seconds) make it differ from the others, as by an operator's mistake.
        """
        if self.agent_pids(node):
            raise ValueError(f"the agent of {node} is running")
        output = self._output(node, "agent.log")
        run = Redirected(output, self._agent_main, fresh_sysfs=True, clocks_ahead_s=clocks_ahead // SECOND)
        arguments = (plan or self.plan, NodeName(node), self.run_dir(node), key or self.key)
        if clocks_ahead:
            self.clocks_ahead[node] = clocks_ahead
        self._agents[node] = self.namespaces[node].spawn(run, *arguments)
        return self._agents[node]

    def agent_pids(self, node: str) -> tuple[int, ...]:
        """Every living process of the node's agent, the supervisor first; none if it is dead."""
        leader = self._agents.get(node)
        return () if leader is None else processes.of_session(leader)

    def kill_agent(self, node: str) -> Instant:
        """SIGKILL every process of the node's agent, back to back; return the instant before the first."""
        instant = self._signal_agent(node, signal.SIGKILL)
        self._reap(self._agents.pop(node, 0))
        return instant

    def freeze_agent(self, node: str) -> Instant:
        """SIGSTOP every process of the node's agent, back to back; its kernel goes on."""
        return self._signal_agent(node, signal.SIGSTOP)

    def thaw_agent(self, node: str) -> Instant:
        return self._signal_agent(node, signal.SIGCONT)

    def _signal_agent(self, node: str, number: int) -> Instant:
        return processes.signal_all(partial(self.agent_pids, node), number, group=self._agents.get(node, 0))

    # -- faults of links and machines --

    def cut(self, node: str, network: str) -> Instant:
        """Make a cable silent both ways without taking its carrier; return the instant before."""
        instant = Instant(time.monotonic_ns())
        self._silence.silence([self.topology.port(node, network).switch_index])
        return instant

    def heal(self, node: str, network: str) -> Instant:
        """Undo `cut`."""
        instant = Instant(time.monotonic_ns())
        self._silence.restore([self.topology.port(node, network).switch_index])
        return instant

    def link_down(self, node: str, network: str) -> Instant:
        """Take the carrier from a cable: the switch's end goes down. Return the instant before.

        Changes of links wait for the kernel's lock of links, which all network namespaces of a machine share.
        """
        return self._set_link(self.topology.port(node, network), up=False)

    def link_up(self, node: str, network: str) -> Instant:
        """Undo `link_down`."""
        return self._set_link(self.topology.port(node, network), up=True)

    def pids(self, node: str) -> tuple[int, ...]:
        """Every process of a node: its agent's, its server, and whatever else runs in its namespace."""
        # A child that was forked just now may not have entered the namespace yet.
        leaders = (leader for leaders in (self._agents, self._servers) if (leader := leaders.get(node)))
        return tuple(dict.fromkeys([*leaders, *processes.inside(self.namespaces[node].inode)]))

    def power_off(self, node: str) -> Instant:
        """All cables silent, then all processes dead, in one instant; return the instant before."""
        find = partial(self.pids, node)
        pids = find()
        instant = Instant(time.monotonic_ns())
        self._silence.silence(port.switch_index for port in self.topology.host(node).ports)
        processes.signal_all(find, signal.SIGKILL, group=self._agents.get(node, 0), found=pids)
        self._reap(self._agents.pop(node, 0), self._servers.pop(node, 0))
        return instant

    def power_on(self, node: str, *, agent: bool = True) -> None:
        """Start a powered-off node with a fresh kernel: new namespace, same cables, its server and agent.

        The switch's ports keep their names and indices, so that captures on them go on.
        """
        host = self.topology.host(node)
        namespace = self.namespaces[node]
        processes.wait_until_gone(self.pids(node), timeout_s=5)
        old = namespace.run(netlink.RouteSocket)
        links = namespace.run(socket.if_nameindex)
        namespace.renew(Preparation(host))
        # What stands on a cable must go first: a macvlan survives the move of its parent.
        own = {LOOPBACK, *(port.index for port in host.ports)}
        old.commit([netlink.delete(i, name) for i, name in links if i not in own], tolerate=_NOT_THERE)
        old.commit([netlink.move(port.index, namespace.fd, f"{node}:{port.network}") for port in host.ports])
        old.close()
        namespace.run(configure, host)
        self._silence.restore(port.switch_index for port in host.ports)
        if _serves(host):
            self._start_servers([host], timeout_s=5)
        if agent and host.kind is Kind.GATEWAY:
            self.start_agent(node)

    def _set_link(self, port: Port, *, up: bool) -> Instant:
        request = netlink.set_up(port.switch_index, up=up, subject=port.switch_port)
        instant = Instant(time.monotonic_ns())
        self._links.commit([request])
        return instant

    # -- helpers --

    def _mount_disk(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("disk", str(directory), "tmpfs", flags, f"size={self._disk_bytes},mode=700")

    def _output(self, node: str, name: str) -> Path:
        directory = self.run_dir(node)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory / name

    def _reap(self, *pids: int) -> None:
        """Take the exit status of our dead children, so that they leave the process table."""
        for pid in filter(None, pids):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


_NOT_THERE = (errno.ENODEV, errno.EOPNOTSUPP)
"""A link that went with another one, or that the namespace has by birth (`sit0`, `tunl0`)."""


def _serves(host: Host) -> bool:
    return host.kind in (Kind.CLIENT, Kind.SERVER) or bool(host.http)
