"""A real lab: machines that talk, and faults that do what their names say and no more."""

import errno
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path

import pytest
from lab_worlds import DUAL, NOBODY, as_ordinary_user, ask, carrier, eventually, idle_agent, new_lab, pair

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.errors import OperatorError
from understudy.lab import netlink, processes, sandbox
from understudy.lab.build import Lab
from understudy.lab.namespace import Namespace
from understudy.lab.server import ECHO_PORT

OUTSIDE_CLIENT, INSIDE_CLIENT = "client-outside", "client-inside"


def in_lab(plan: Plan, state: Path, story: Callable[[Lab], object], *, agents: bool = False) -> None:
    """Build the lab in a sandbox, tell the story in it, take both away."""

    def main() -> None:
        lab = new_lab(plan, state)
        lab.up(agents=agents)
        story(lab)

    sandbox.run(main)


def give(lab: Lab, node: str, network: str, address: str) -> None:
    """Put an address on a node's port, as an agent would do with a virtual one."""
    index = lab.topology.port(node, network).index

    def inside() -> None:
        links = netlink.RouteSocket()
        links.commit([netlink.add_address(index, ip_interface(address), node)])
        links.close()

    lab.namespaces[node].run(inside)


def shell(lab: Lab, node: str, command: str) -> int:
    """Exit status of a command run on a node."""
    namespace = lab.switch if node == "switch" else lab.namespaces[node]

    def run() -> None:
        raise SystemExit(subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, check=False).returncode)

    return os.waitstatus_to_exitcode(os.waitpid(namespace.spawn(run), 0)[1])


def test_servers_answer_neighbours_and_through_a_gateway(tmp_path: Path) -> None:
    """A client beside the servers reaches them; one outside does through the node that holds the virtual addresses."""

    def story(lab: Lab) -> None:
        assert ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080).endswith(b"\r\n\r\nweb1\n")
        assert ask(lab, INSIDE_CLIENT, "10.9.0.12", ECHO_PORT, b"ping") == b"ping"
        assert ask(lab, OUTSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.1) == b""
        give(lab, "gw2", "outside", "203.0.113.10/24")
        give(lab, "gw2", "inside", "10.9.0.254/24")
        assert eventually(lambda: ask(lab, OUTSIDE_CLIENT, "10.9.0.12", 8080, timeout_s=0.5)).endswith(b"web2\n")
        assert ask(lab, "web1", "203.0.113.100", ECHO_PORT, b"pong") == b"pong"

    in_lab(pair(), tmp_path, story)


def test_ipv6_works_as_ipv4_does(tmp_path: Path) -> None:
    """Addresses are usable at once, routes lead through the group's IPv6 address, and the declared router exists."""

    def story(lab: Lab) -> None:
        assert ask(lab, INSIDE_CLIENT, "2001:db8:9::11", 8080).endswith(b"web1\n")
        give(lab, "gw1", "outside", "2001:db8:1::10/64")
        give(lab, "gw1", "inside", "2001:db8:9::fe/64")
        assert eventually(lambda: ask(lab, OUTSIDE_CLIENT, "2001:db8:9::12", 8080, timeout_s=0.5)).endswith(b"web2\n")
        assert shell(lab, "gw1", "ping -6 -c1 -W1 2001:db8:1::fe") == 0

    in_lab(load_plan(DUAL), tmp_path, story)


def test_machines_start_alike_whatever_this_machine_is_set_to(tmp_path: Path) -> None:
    """Gateways forward and others do not, no reverse path filter, no router advertisements are believed."""

    def story(lab: Lab) -> None:
        for node, forward in (("gw1", "1"), ("web1", "0"), (INSIDE_CLIENT, "0")):
            for path, value in (
                ("net/ipv4/ip_forward", forward),
                ("net/ipv6/conf/all/forwarding", forward),
                ("net/ipv4/conf/eth0/rp_filter", "0"),
                ("net/ipv6/conf/eth0/accept_ra", "0"),
            ):
                found = lab.namespaces[node].run(lambda path=path: Path("/proc/sys", path).read_text().strip())
                assert (node, path, found) == (node, path, value)

    in_lab(pair(), tmp_path, story)


@pytest.mark.parametrize("side", ["web1", INSIDE_CLIENT])
def test_a_cut_is_silent_both_ways_and_keeps_the_carrier(tmp_path: Path, side: str) -> None:
    """Neither end hears the other, both still see a link, and healing brings everything back."""

    def story(lab: Lab) -> None:
        received = Listening(lab, "web1", INSIDE_CLIENT)
        heard = Listening(lab, INSIDE_CLIENT, "web1")
        before = time.monotonic_ns()
        assert before <= lab.cut(side, "inside") <= time.monotonic_ns()
        received.drain()
        heard.drain()
        ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.1)
        ask(lab, "web1", "10.9.0.100", ECHO_PORT, timeout_s=0.1)
        assert received.frames() == heard.frames() == 0
        assert carrier(lab, side, "eth0") == "1"
        assert ask(lab, INSIDE_CLIENT, "10.9.0.12", 8080) if side == "web1" else ask(lab, "web2", "10.9.0.11", 8080)
        lab.cut(side, "inside")  # again: harmless
        lab.heal(side, "inside")
        assert ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080).endswith(b"web1\n")
        assert received.frames()
        assert heard.frames()

    in_lab(pair(), tmp_path, story)


def test_a_cut_leaves_the_other_networks_of_the_node_alone(tmp_path: Path) -> None:
    """A gateway cut off from the outside is still heard inside."""

    def story(lab: Lab) -> None:
        lab.cut("gw1", "outside")
        assert shell(lab, "gw1", "ping -c1 -W0.2 203.0.113.2") != 0
        assert shell(lab, "gw1", "ping -c1 -W1 10.9.0.2") == 0

    in_lab(pair(), tmp_path, story)


def test_a_link_down_takes_the_carrier_and_gives_it_back(tmp_path: Path) -> None:
    """The node sees its port without carrier; a cut made meanwhile outlives the link's return."""

    def story(lab: Lab) -> None:
        lab.link_down("web1", "inside")
        assert eventually(lambda: carrier(lab, "web1", "eth0") == "0")
        lab.cut("web1", "inside")
        lab.link_up("web1", "inside")
        assert eventually(lambda: carrier(lab, "web1", "eth0") == "1")
        assert not ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.2)
        lab.heal("web1", "inside")
        assert eventually(lambda: ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.5))

    in_lab(pair(), tmp_path, story)


def test_signals_reach_every_process_of_an_agent_and_no_other(tmp_path: Path) -> None:
    """Whether by group, session or descent: all four are stopped, continued and killed together."""

    def story(lab: Lab) -> None:
        # Each tells that it is there to stay; until then a short-lived parent of one may be counted.
        assert eventually(lambda: all(len(list(lab.run_dir(node).glob("process-*"))) == 4 for node in ("gw1", "gw2")))
        mine, others = lab.agent_pids("gw1"), lab.agent_pids("gw2")
        assert len(mine) == len(others) == 4
        lab.freeze_agent("gw1")
        assert eventually(lambda: states(mine) == "TTTT")
        assert "T" not in states(others)
        lab.thaw_agent("gw1")
        assert eventually(lambda: "T" not in states(mine))
        lab.freeze_agent("gw1")
        lab.kill_agent("gw1")
        assert eventually(lambda: lab.agent_pids("gw1") == ())
        assert processes.wait_until_gone(mine, 2)
        assert lab.agent_pids("gw2") == others
        lab.start_agent("gw1")
        assert eventually(lambda: len(lab.agent_pids("gw1")) == 4)

    in_lab(pair(), tmp_path, story, agents=True)


def test_a_node_without_power_is_silent_and_comes_back_with_a_fresh_kernel(tmp_path: Path) -> None:
    """Every process of the node dies and nothing is heard of it; after power-on nothing of its former state is left."""

    def story(lab: Lab) -> None:
        eventually(lambda: len(lab.agent_pids("gw1")) == 4)
        port = lab.topology.port("gw1", "outside")
        index = lab.switch.run(socket.if_nametoindex, port.switch_port)
        assert shell(lab, "gw1", "ip link add vmac link eth0 type macvlan mode bridge && ip link set vmac up") == 0
        assert shell(lab, "gw1", "ip addr add 203.0.113.10/24 dev vmac && ip rule add to 1.2.3.4 blackhole") == 0
        assert shell(lab, "gw1", "nft add table ip understudy") == 0
        assert shell(lab, "gw2", "ping -c1 -W1 203.0.113.10") == 0
        old = Namespace("old", os.dup(lab.namespaces["gw1"].fd))  # keeps the old kernel's state alive, as a probe may
        mine = processes.inside(lab.namespaces["gw1"].inode)
        assert len(mine) == 4

        lab.power_off("gw1")
        assert processes.wait_until_gone(mine, 2)
        assert lab.agent_pids("gw1") == ()
        assert shell(lab, "gw2", "ping -c1 -W0.2 203.0.113.1") != 0
        assert shell(lab, "gw2", "ping -c1 -W0.2 10.9.0.1") != 0

        lab.power_on("gw1")
        assert eventually(lambda: shell(lab, "gw2", "ping -c1 -W0.2 203.0.113.1") == 0)
        assert shell(lab, "gw1", "ip link show vmac 2>/dev/null || ip rule | grep 1.2.3.4 || nft list ruleset | grep .")
        assert shell(lab, "gw2", "ping -c1 -W0.2 203.0.113.10") != 0
        assert eventually(lambda: len(lab.agent_pids("gw1")) == 4)
        assert lab.switch.run(socket.if_nametoindex, port.switch_port) == index
        assert "vmac" not in [name for _, name in old.run(socket.if_nameindex)]
        old.close()

    in_lab(pair(), tmp_path, story, agents=True)


def test_a_power_cycled_server_serves_again(tmp_path: Path) -> None:
    """Its server is started anew; in between the address is dead."""

    def story(lab: Lab) -> None:
        lab.power_off("web1")
        assert not ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.1)
        lab.power_on("web1")
        assert eventually(lambda: ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.5)).endswith(b"web1\n")

    in_lab(pair(), tmp_path, story)


def test_a_killed_server_leaves_its_machine_refusing(tmp_path: Path) -> None:
    """The kernel of the host still answers, with a reset; a started server serves again."""

    def story(lab: Lab) -> None:
        lab.kill_server("web2")
        with lab.namespaces[INSIDE_CLIENT].socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            assert connection.connect_ex(("10.9.0.12", 8080)) == errno.ECONNREFUSED
        lab.start_server("web2")
        assert ask(lab, INSIDE_CLIENT, "10.9.0.12", 8080).endswith(b"web2\n")

    in_lab(pair(), tmp_path, story)


def test_a_server_that_cannot_start_is_named(tmp_path: Path) -> None:
    """Two servers want one port of a host: the error names the host and what the kernel said."""
    text = Path(DUAL.with_name("pair.yaml")).read_text().replace("web1:8080", f"web1:{ECHO_PORT}")
    with pytest.raises(OperatorError) as caught:
        in_lab(load_plan(text.encode()), tmp_path, lambda _: None)
    assert caught.value.code == "E5121"
    assert "web1" in caught.value.hint
    assert "Address already in use" in caught.value.hint


def test_ten_labs_in_one_process_leave_nothing_behind(tmp_path: Path) -> None:
    """After each `down` there are as many processes, links and descriptors as before."""

    def cycles() -> None:
        def census() -> tuple[int, int, int]:
            running = [name for name in os.listdir("/proc") if name.isdecimal()]
            return len(running), len(socket.if_nameindex()), len(os.listdir("/proc/self/fd"))

        before = census()
        for cycle in range(10):
            lab = new_lab(pair(), tmp_path / str(cycle))
            lab.up()
            assert census()[0] > before[0]
            lab.down()
            lab.down()  # again: harmless
            assert eventually(lambda: census() == before), (before, census())

    sandbox.run(cycles)


def test_a_lab_runs_without_root() -> None:
    """The same machines, faults and power cycle for an ordinary user."""
    # Not pytest's directory: an ordinary user may not enter the one of root.
    with tempfile.TemporaryDirectory() as directory:
        run_without_root(Path(directory))


def run_without_root(state: Path) -> None:
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
    plan = pair()

    def story(lab: Lab) -> None:
        lab.cut("web1", "inside")
        assert not ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080, timeout_s=0.1)
        lab.heal("web1", "inside")
        assert ask(lab, INSIDE_CLIENT, "10.9.0.11", 8080).endswith(b"web1\n")
        lab.power_off("gw1")
        lab.power_on("gw1")
        assert eventually(lambda: len(lab.agent_pids("gw1")) == 4)
        lab.link_down("gw2", "outside")
        assert eventually(lambda: carrier(lab, "gw2", "eth0") == "0")

    as_ordinary_user(lambda: in_lab(plan, state, story, agents=True))


def test_an_agent_gets_its_node_its_directory_and_the_clusters_key(tmp_path: Path) -> None:
    """Each gateway's agent runs in its node's namespace, with its own /sys, a private directory and one common key."""

    def agent(plan: Plan, node: str, run_dir: Path, key: bytes) -> None:
        links = ",".join(sorted(os.listdir("/sys/class/net")))
        (run_dir / "told").write_text(f"{plan.cluster} {node} {key.hex()} {links} {os.getsid(0) == os.getpid()}")
        print("spoken")

    def main() -> None:
        lab = Lab(pair(), tmp_path, key=bytes(range(32)), agent_main=agent)
        lab.up()
        for node in ("gw1", "gw2"):
            told = f"shop {node} {bytes(range(32)).hex()} eth0,eth1,eth2,lo True"
            assert eventually(lambda node=node: (tmp_path / node / "told").exists())
            assert eventually(lambda node=node, told=told: (tmp_path / node / "told").read_text() == told)
            assert eventually(lambda node=node: (tmp_path / node / "agent.log").read_text() == "spoken\n")
            assert (tmp_path / node).stat().st_mode & 0o077 == 0

    sandbox.run(main)


class Listening:
    """Counts frames that arrive at a host's port from another one, whatever they are."""

    def __init__(self, lab: Lab, host: str, speaker: str) -> None:
        self._speaker = lab.topology.port(speaker, "inside").mac
        self._socket = lab.namespaces[host].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.bind(("eth0", 0x0003))
        self._socket.setblocking(False)

    def frames(self) -> int:
        count = 0
        while True:
            try:
                _, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return count
            count += address[4] == self._speaker

    def drain(self) -> None:
        self.frames()


def states(pids: tuple[int, ...]) -> str:
    return "".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids)


assert idle_agent  # what `new_lab` starts on gateways
