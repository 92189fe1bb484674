"""Links, addresses and rules on a real kernel: exactly what the file says, nothing of anybody else's."""

import functools
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from sandboxed import in_sandbox, shell

from ip_monitor import news_while
from understudy.adapters.links import Links, LinkWatch, PresentLink, write_sysctl
from understudy.config import load_plan
from understudy.errors import EnvironmentFailure
from understudy.render import NodeConfig, render_node
from understudy.units import NodeName

P = ParamSpec("P")
R = TypeVar("R")
EXAMPLES = Path(__file__).parents[3] / "examples"
DUAL, PAIR = EXAMPLES / "dual-stack.yaml", EXAMPLES / "pair.yaml"


def sandboxed(story: Callable[[], R]) -> Callable[[], R]:
    @functools.wraps(story)
    def run() -> R:
        return in_sandbox(story)

    return run


def world() -> tuple[Links, NodeConfig]:
    """A node's three ports, and what its kernel shall hold."""
    shell("ip link set lo up")
    for scope in ("all", "default"):
        write_sysctl(f"net/ipv6/conf/{scope}/accept_dad", "0")  # or its results come in the middle of a test
    for port in ("outside", "inside", "sync"):
        shell(f"ip link add {port} type veth peer name {port}-far\nip link set {port} up\nip link set {port}-far up")
    config = render_node(load_plan(DUAL), NodeName("gw1"))
    sysctls = tuple(each for each in config.sysctls if "netfilter" not in each[0])  # there once a rule set loads it
    return Links(), NodeConfig(config.node, "", config.links, sysctls, config.rules, config.addresses)


def apply(links: Links, config: NodeConfig) -> None:
    links.apply(config.links, config.sysctls, config.rules)


KINDS = ("link", "address", "rule")


def settled(links: Links) -> list[PresentLink]:
    """The links, once the kernel has said all that it says of a change: its link watch may wait for a second."""
    time.sleep(1.1)
    return links.links()


def picture() -> str:
    return "\n".join(
        shell(f"ip {question}") for question in ("link", "addr", "-4 -d rule", "-6 -d rule", "-4 route", "-6 route")
    )


@sandboxed
def test_after_apply_the_links_are_there_silent_and_bare() -> None:
    """Down, with the virtual MAC, without an address; the rules in place and the kernel's own rule behind them."""
    links, config = world()
    apply(links, config)
    present = {link.name: link for link in links.links()}
    for link in config.links:
        assert present[link.name].mac.hex(":") == link.mac
        assert not present[link.name].up
        assert "inet" not in shell(f"ip addr show dev {link.name}")
    rules = shell("ip rule").split("\n")
    assert rules[0].startswith("5:\tfrom all iif lo goto 20")
    assert "10:\tfrom all to 203.0.113.10 ipproto tcp dport 80 blackhole proto 117" in rules
    assert any(rule.startswith("20:\tfrom all lookup local") for rule in rules)
    assert not any(rule.startswith("0:") for rule in rules)


@sandboxed
def test_applying_again_changes_nothing() -> None:
    """Neither on a Backup nor on an Active does the kernel report any change."""
    links, config = world()
    apply(links, config)
    assert news_while(lambda: apply(Links(), config), *KINDS) == ""
    links.take(config.links)
    assert [link.carrier for link in settled(links) if link.is_ours] == [True] * len(config.links)
    before = picture()
    assert news_while(lambda: apply(Links(), config), *KINDS) == ""
    assert picture() == before


@sandboxed
def test_the_listener_of_these_tests_hears_changes() -> None:
    """The control of the test above: one address more or less is seen."""
    links, config = world()
    apply(links, config)
    assert "203.0.113.10" in news_while(lambda: links.take(config.links), *KINDS)


@sandboxed
def test_taking_and_releasing_brings_addresses_and_takes_them_again() -> None:
    """Twice each, as either may be repeated; IPv6 forgets addresses with the link and gets them back."""
    links, config = world()
    apply(links, config)
    for _ in range(2):
        for _ in range(2):
            links.take(config.links)
        shown = shell("ip addr")
        assert all(f" {address} " in shown for link in config.links for address in link.addresses)
        assert "tentative" not in "".join(shell(f"ip addr show dev {link.name}") for link in config.links)
        for _ in range(2):
            links.release(config.links)
        shown = shell("ip addr")
        assert not any(f" {address} " in shown for link in config.links for address in link.addresses)
        assert "203.0.113.10" not in shell("ip route show table local")


@sandboxed
def test_taking_a_link_that_disappeared_fails_by_name() -> None:
    """The role must be given up, so it must be said; releasing what is gone is fine."""
    links, config = world()
    apply(links, config)
    lost = config.links[-1].name
    shell(f"ip link del {lost}")
    with pytest.raises(EnvironmentFailure, match=f"bring up {lost}: there is no such link"):
        links.take(config.links)
    links.release(config.links)
    assert not any(link.up for link in links.links() if link.is_ours)


@sandboxed
def test_a_link_without_its_port_fails_by_name() -> None:
    """The file names a port that this machine lacks."""
    links, config = world()
    shell("ip link del inside")
    with pytest.raises(EnvironmentFailure, match="its port inside is gone"):
        links.apply(config.links, (), config.rules)


@sandboxed
def test_another_file_replaces_links_addresses_and_rules() -> None:
    """Another VRID is another MAC, another address another rule; the new file lacks IPv6, whose links and rules go."""
    links, config = world()
    apply(links, config)
    links.take(config.links)
    text = PAIR.read_text().replace("203.0.113.10", "203.0.113.11")
    new = render_node(load_plan(text.encode()), NodeName("gw1"))
    links.apply(new.links, (), new.rules)
    present = {link.name: link for link in links.links() if link.is_ours}
    assert {name: link.mac.hex(":") for name, link in present.items()} == {link.name: link.mac for link in new.links}
    assert len(present) < len(config.links)
    assert "203.0.113.10 " not in shell("ip rule")
    assert "203.0.113.11 " in shell("ip rule")
    assert "203.0.113.10/32" not in shell("ip addr")
    assert "proto 117" not in shell("ip -6 -d rule")
    assert shell("ip -6 rule").startswith("0:")


@sandboxed
def test_a_stop_leaves_everything_of_others_as_it_was() -> None:
    """Links, addresses and rules like ours, but not ours: untouched; the kernel's own rule is back at its place."""
    links, config = world()
    shell(
        """
        ip link add us0 type bridge
        ip link set us0 up
        ip link add us1n9v4 type bridge
        ip link add vrrp.51 link outside address 00:00:5e:00:01:33 type macvlan mode bridge
        ip addr add 192.0.2.9/24 dev outside
        ip addr add 192.0.2.10/24 dev us0
        ip rule add pref 10 to 198.51.100.1 blackhole
        ip rule add pref 30 from 198.51.100.0/24 lookup main
        ip -6 rule add pref 12 to 2001:db8::1 blackhole
        """
    )
    sysctl = "net/ipv4/conf/outside/arp_ignore"
    time.sleep(0.1)
    before = picture()
    apply(links, config)
    links.take(config.links)
    assert picture() != before
    links.remove()
    time.sleep(0.1)
    assert picture() == before
    assert Path("/proc/sys", sysctl).read_text() == "1\n"  # harmless, and not known any more what it was


@sandboxed
def test_the_local_table_is_never_missing_while_rules_come_and_go() -> None:
    """Some rule looks it up at every moment: an address of this node is reached throughout."""
    links, config = world()

    def come_and_go() -> None:
        apply(links, config)
        links.remove()

    lookups = {"0:": 1}
    for line in news_while(come_and_go, "rule").splitlines():
        deleted = line.startswith("Deleted ")
        text = line.removeprefix("Deleted ")
        if "lookup local" in text:
            key = text.split()[0]
            lookups[key] = lookups.get(key, 0) + (-1 if deleted else 1)
            assert any(lookups.values()), line
    assert lookups == {"0:": 1, "20:": 0}


@sandboxed
def test_an_own_arrangement_of_the_local_table_is_respected() -> None:
    """The operator moved the kernel's rule before us: removal does not put another one in front of it."""
    links, config = world()
    shell("ip rule add pref 100 lookup local\nip rule del pref 0")
    before = shell("ip -d rule")
    apply(links, config)
    links.remove()
    assert shell("ip -d rule") == before


@sandboxed
def test_carriers_are_heard_of() -> None:
    """A cable that is taken out and put back, a link that goes; and nothing when there is nothing."""
    world()
    watch = LinkWatch()
    index = next(link.index for link in Links().links() if link.name == "outside")
    shell("ip link set outside-far down")
    assert news_of(watch, index) is False
    shell("ip link set outside-far up")
    assert news_of(watch, index) is True
    shell("ip link del outside")
    assert news_of(watch, index) is False
    while watch.read():
        pass
    assert watch.read() == []


@sandboxed
def test_news_that_was_lost_is_admitted() -> None:
    """More than the socket holds: the caller is told to look for itself, and hears again afterwards."""
    world()
    watch = LinkWatch()
    watch.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    index = next(link.index for link in Links().links() if link.name == "outside")
    for _ in range(20):
        shell("ip link set outside alias x\nip link set outside alias y")
    assert None in [watch.read() for _ in range(40)]
    shell("ip link set outside down")
    assert news_of(watch, index) is False


def news_of(watch: LinkWatch, index: int) -> bool | None:
    """The first news of the link within two seconds; None if there is none."""
    for _ in range(100):
        if not select.select([watch.socket], [], [], 2)[0]:
            break
        for each, up in watch.read() or []:
            if each == index:
                return up
    return None
