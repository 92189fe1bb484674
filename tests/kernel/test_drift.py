"""The watch over one kernel, with no agent around it: what is drift, what is none, and what becomes of lost news."""

import functools
import multiprocessing
import re
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nft_bed import in_sandbox, shell

from understudy.adapters.links import Links, write_sysctl
from understudy.adapters.nftables import Nft
from understudy.agent.drift import FIRST_TURN_LATER, SYSCTLS_EVERY, Drift
from understudy.agent.ruleset_news import MISSING, TOO_MANY
from understudy.config import load_plan
from understudy.render import render_node, unquieten
from understudy.render.diff import canonical
from understudy.units import SECOND, GroupName, NodeName

R = TypeVar("R")
FILE = b"""
cluster: watched
networks: {outside: [203.0.113.0/24, "2001:db8:1::/64"], inside: 10.9.0.0/24}
nodes:
  gw1: {outside: [203.0.113.1, "2001:db8:1::1"], inside: 10.9.0.1}
  gw2: {outside: [203.0.113.2, "2001:db8:1::2"], inside: 10.9.0.2}
redundancy:
  edge:
    mode: active-standby
    nodes: [gw1, gw2]
    addresses: {outside: [203.0.113.10, "2001:db8:1::10"], inside: 10.9.0.254}
nat:
  - {source: inside, to: outside}
"""
CABLE = "ip link add {0} type veth peer name {0}-far\nip link set {0} up\nip link set {0}-far up"
EDGE = GroupName("edge")
MANY = ", ".join(f"10.{n >> 8}.{n & 255}.1" for n in range(5000))
A_LOT = f"add table ip other\nadd set ip other many {{ type ipv4_addr; elements = {{ {MANY} }}; }}\n"


def sandboxed(story: Callable[[], R]) -> Callable[[], R]:
    @functools.wraps(story)
    def run() -> R:
        return in_sandbox(story)

    return run


class World:
    """gw1's kernel as the file wants it, in the role of a Backup, or of the Active."""

    def __init__(self, *, active: bool = False) -> None:
        shell("ip link set lo up")
        for port in ("outside", "inside"):
            shell(CABLE.format(port))
        self.config = render_node(load_plan(FILE), NodeName("gw1"))
        self.nft, self.others = Nft(), Nft()
        self.links = Links()
        self.nft.apply(self.config.ruleset)
        self.links.apply(self.config.links, self.config.sysctls, self.config.rules)
        if active:
            self.links.take(self.config.links)
        self.drift = self.watch()
        self.drift.role(EDGE, active)

    def watch(self) -> Drift:
        drift = Drift(self.config, self.nft, lambda: self.config.ruleset, lambda: unquieten(1))
        drift.begin()
        drift.work(())
        return drift

    def serve_once(self) -> None:
        """As another process."""
        self.nft = Nft()
        self.nft.apply(self.config.ruleset)
        self.watch().close()

    def told(self) -> list[dict[str, Any]]:
        """What a turn has to say, the settings included."""
        time.sleep(SYSCTLS_EVERY / SECOND)
        message = self.drift.work(self.drift.sockets)
        return message["lines"] if message else []

    def found(self) -> list[tuple[str, str, str]]:
        """Object, what and error of each repair."""
        return [(line["object"], line["what"], line["error"]) for line in self.told()]

    def has_guard(self) -> bool:
        return "understudy_guard" in self.others.run("list tables\n")


@sandboxed
def test_what_we_do_and_what_is_not_ours_is_no_drift() -> None:
    """Our rule set once more, a role, another's table, link, address and rule: nothing is said, nothing is touched."""
    world = World()
    assert world.told() == []
    world.nft.apply(world.config.ruleset)
    world.drift.role(EDGE, True)
    world.links.take(world.config.links)
    shell(
        "nft add table inet other\nnft add chain inet other forward\nip link add us0 type bridge\n"
        "ip addr add 198.51.100.1/24 dev outside\nip rule add pref 7 to 198.51.100.9 blackhole"
    )
    write_sysctl("net/ipv4/conf/outside/proxy_arp", "1")
    assert [world.told() for _ in range(3)] == [[], [], []]


@sandboxed
def test_a_setting_without_news_is_put_right_by_the_clock_alone() -> None:
    """Nothing is ready to be read when the time to look has come; while all is right, nothing is said."""
    world = World()
    time.sleep(FIRST_TURN_LATER / SECOND)

    def later() -> Any:
        time.sleep(SYSCTLS_EVERY / SECOND)
        return world.drift.work(())

    assert later() is None
    path, wanted = world.config.links[0].sysctls[0]
    write_sysctl(path, "8")
    message = later()
    assert message is not None
    assert [line["object"] for line in message["lines"]] == ["sysctls"]
    assert Path("/proc/sys", path).read_text().strip() == wanted
    assert later() is None


@sandboxed
def test_who_changed_a_rule_set_is_named() -> None:
    """The process and its number, as the kernel has them; of a flush the tables, not their every rule."""
    world = World()
    shell("nft flush ruleset")
    (line,) = world.told()
    assert line["what"] == "table netdev understudy deleted, table inet understudy deleted"
    assert re.fullmatch(r"nft \(pid \d+\)", line["who"])
    assert world.nft.holds(world.config.ruleset)
    assert world.told() == []


@sandboxed
def test_what_the_hands_before_us_made_is_no_drift() -> None:
    """We listened already when they made the rule set and learned their number; others are told as ever."""
    world = World()
    heirs = Drift(world.config, world.nft, lambda: world.config.ruleset, lambda: unquieten(1))
    before = multiprocessing.get_context("fork").Process(target=world.serve_once)
    before.start()
    before.join(10)
    assert before.exitcode == 0
    world.drift.rest()
    world.nft.apply(world.config.ruleset)
    heirs.begin()
    world.drift = heirs
    assert [world.told() for _ in range(3)] == [[], [], []]
    shell("nft flush ruleset")
    assert [what for _, what, _ in world.found()] == ["table netdev understudy deleted, table inet understudy deleted"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("", TOO_MANY),
        ("flush chain inet understudy forward\n", TOO_MANY),
        ("delete table inet understudy\n", MISSING),
    ],
)
def test_lost_news_are_a_reason_to_repair_and_our_own_are_not(damage: str, expected: str) -> None:
    """More changes than the socket holds: applied once, and that, which overruns it again, is no news."""

    def story() -> tuple[list[str], list[dict[str, Any]], bool]:
        world = World()
        before = canonical(world.nft.list_table("inet", terse=False))
        for watched in world.drift.sockets:
            watched.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        world.others.run(A_LOT + damage)
        told = [line.get("what") or line["detail"] for line in world.told()]
        return told, world.told(), canonical(world.nft.list_table("inet", terse=False)) == before

    assert in_sandbox(story) == ([expected], [], True)


@sandboxed
def test_lost_news_of_links_are_a_reason_to_look() -> None:
    """Hundreds of addresses elsewhere hide that one of ours went: it is found all the same, and nothing else is."""
    world = World(active=True)
    assert world.told() == []
    for watched in world.drift.sockets:
        watched.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    shell("\n".join(f"ip addr add 198.51.100.{n}/32 dev outside" for n in range(1, 60)))
    shell("ip addr del 203.0.113.10/32 dev us1n1v4")
    assert world.found() == [("addresses", "address 203.0.113.10/32 is missing on us1n1v4", "")]


@sandboxed
def test_ipv6_addresses_that_a_link_forgot_are_back() -> None:
    """A link that is set down and up again has lost them, and nobody announced it as a deletion of ours."""
    world = World(active=True)
    held = {each.interface for each in world.links.held()}
    shell("ip link set us1n1v6 down\nip link set us1n1v6 up")
    assert [kind for kind, _, error in world.found() if not error] == ["addresses"]
    assert {each.interface for each in world.links.held()} == held


@sandboxed
def test_a_foreign_link_of_our_name_is_an_alarm_and_left_alone() -> None:
    """It has another index than ours had: whose it is we do not know."""
    world = World()
    assert world.told() == []
    shell("ip link del us1n1v4\nip link add us1n1v4 type bridge")
    lines = world.told()
    assert [line["kind"] for line in lines] == ["drift", "drift-alarm"]
    assert "not ours" in lines[1]["detail"]
    shell("ip link del us1n1v4")
    assert [line["kind"] for line in world.told()] == ["drift", "drift-alarm"]
    assert world.drift.summary()["alarms"] == []


@sandboxed
def test_a_port_that_was_replaced_gets_its_links_and_chains_back() -> None:
    """Macvlans and netdev chains go with their port; while it is gone that is an alarm. Afterwards it is another one:
    the agent, whose sockets were bound to the first, must be restarted.
    """
    world = World()
    assert world.told() == []
    shell("ip link del outside")
    assert [line["kind"] for line in world.told()] == ["drift", "drift-alarm"]
    assert [alarm["object"] for alarm in world.drift.summary()["alarms"]] == ["links"]
    shell(CABLE.format("outside"))
    for _ in range(3):
        world.told()
    (alarm,) = world.drift.summary()["alarms"]
    assert "port outside was made anew" in alarm["reason"]
    assert "the agent must be restarted" in alarm["reason"]
    assert {"us1n1v4", "us1n1v6"} <= {link.name for link in world.links.links()}
    assert world.nft.holds(world.config.ruleset)


@sandboxed
def test_a_port_that_is_gone_keeps_no_other_from_repair() -> None:
    """Links and addresses on the ports that are there are put right, by the role, and the alarm stands."""
    world = World(active=True)
    assert world.told() == []
    shell("ip link del outside")
    world.told()
    shell("ip link del us1n2v4")
    world.told()
    assert ip_address("10.9.0.254") in [address for _, address, _ in world.links.addresses()]
    (alarm,) = world.drift.summary()["alarms"]
    assert "port outside is gone" in alarm["reason"]


@sandboxed
def test_what_somebody_put_into_the_quiet_set_goes_with_the_repair() -> None:
    """An element outlives the rules; only a group that is being handed over stays quiet."""
    world = World()
    assert world.told() == []
    shell("nft add element netdev understudy quiet { 1 timeout 60s }")
    assert [what for _, what, _ in world.found()] == ["element added in quiet of netdev understudy"]
    assert world.nft.quiet() == {}


@sandboxed
def test_resting_hands_leave_everything_alone() -> None:
    """No repair and no guard, so that others can take over; what they left is repaired when the watch begins anew."""
    world = World()
    assert world.has_guard()
    world.drift.rest()
    assert not world.has_guard()
    shell("ip link del us1n1v4\nip rule del pref 5")
    assert world.drift.sockets == ()
    assert world.drift.wait_s is None
    world.drift.begin()
    assert sorted(kind for kind, _, _ in world.found()) == ["links", "rules"]
    assert world.has_guard()


@sandboxed
def test_a_second_guard_waits_until_the_first_is_gone() -> None:
    """Two hands at once, for a moment: the later one tries again, and has it as soon as it can."""
    world = World()
    successor = world.watch()
    world.drift.rest()
    assert not world.has_guard()
    deadline = time.monotonic() + 10
    while not world.has_guard() and time.monotonic() < deadline:
        time.sleep(0.05)
        successor.work(())
    assert world.has_guard()
