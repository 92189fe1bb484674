"""What others change behind the agents' back: put right by events, told, and given up when somebody insists."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from agent_worlds import NODES, PATIENCE_S, ROOT, World, in_lab, other

from understudy.render.diff import canonical

# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = (
    (ROOT / "examples" / "pair.yaml")
    .read_text()
    .replace("every: 1s", "every: 200ms")
    .replace("advertise: 100ms", "advertise: 400ms")
    .replace("outage: 500ms", "outage: 3s")
)
ADDRESS = "203.0.113.10"
LINK = "us1n1v4"
PAIRS = "nft list map inet understudy pairs4"
CHANGES = (
    ("ruleset", "nft flush ruleset", "table inet understudy deleted"),
    ("ruleset", "nft delete table netdev understudy", "table netdev understudy deleted"),
    ("ruleset", "nft flush chain inet understudy forward", "rule deleted in forward of inet understudy"),
    ("ruleset", "nft flush map inet understudy pairs4", "element deleted in pairs4 of inet understudy"),
    ("addresses", f"ip addr del {ADDRESS}/32 dev {LINK}", f"address {ADDRESS}/32 is missing on {LINK}"),
    ("addresses", f"ip addr add 198.51.100.7/32 dev {LINK}", f"address 198.51.100.7/32 is on {LINK}"),
    ("links", f"ip link del {LINK}", f"link {LINK} is gone"),
    ("links", f"ip link set {LINK} down", f"link {LINK} is down"),
    ("links", f"ip link set {LINK} address 02:00:00:00:00:01", f"link {LINK} has the MAC address 02:00:00:00:00:01"),
    ("rules", "ip rule del pref 10", f"+ rule IPv4 pref 10 to {ADDRESS}"),
    ("rules", "ip rule add pref 0 lookup local", "- rule IPv4 pref 0 lookup local"),
    ("sysctls", "sysctl -q -w net.ipv4.ip_forward=0", "net.ipv4.ip_forward is 0"),
    ("sysctls", "sysctl -q -w net.netfilter.nf_conntrack_tcp_loose=0", "net.netfilter.nf_conntrack_tcp_loose is 0"),
    ("sysctls", f"sysctl -q -w net.ipv4.conf.{LINK}.arp_ignore=0", f"net.ipv4.conf.{LINK}.arp_ignore is 0"),
)


def drifts(world: World, node: str, kind: str, since: int) -> list[dict[str, Any]]:
    return [event for event in world.events(node, "drift", since) if event["object"] == kind]


def telling(world: World, node: str, kind: str, since: int, words: str) -> list[dict[str, Any]]:
    return [event for event in drifts(world, node, kind, since) if words in event["what"]]


def alarms(world: World, node: str) -> dict[str, str]:
    return {alarm["object"]: alarm["reason"] for alarm in world.status(node)["drift"]["alarms"]}


def kernel(world: World, node: str) -> str:
    """All of ours, without what belongs to the moment or to one link's making."""
    listing = "".join(world.run(node, f"nft -s list table {table} understudy") for table in ("inet", "netdev"))
    (link,) = (line.split() for line in world.run(node, "ip -br link").splitlines() if line.startswith(LINK))
    name, _, mac, flags = link  # the state in words may be a second late
    addresses = world.run(node, f"ip -4 -br addr show dev {LINK}").split()[2:]
    names = [f"net.ipv4.conf.{LINK}.{name}" for name in ("arp_ignore", "rp_filter", "forwarding")]
    sysctls = world.run(node, f"sysctl net.ipv4.ip_forward net.netfilter.nf_conntrack_tcp_loose {' '.join(names)}")
    up = "up" if "UP" in flags.strip("<>").split(",") else "down"
    return "\n".join(
        (
            canonical(listing),
            pairs(world, node),
            name,
            mac,
            up,
            *addresses,
            *sorted(world.run(node, "ip rule").splitlines()),
            sysctls,
        )
    )


def pairs(world: World, node: str) -> str:
    """Which server each pair of the balancer leads to now."""
    return "\n".join(sorted(re.findall(r"\S+ \. \S+ \. 0x\w+ : 0x\w+", world.run(node, PAIRS))))


def becomes(world: World, node: str, wanted: str) -> None:
    """The kernel is so again; the difference if not."""
    deadline = time.monotonic() + PATIENCE_S
    while kernel(world, node) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kernel(world, node).splitlines() == wanted.splitlines()


@in_lab
def test_each_kind_of_change_is_undone_and_told(world: World) -> None:
    """The Active's kernel is as before, the journal says what was found, and no role moved for it."""
    node, moves = world.active(), world.moves()
    before, count = kernel(world, node), world.status(node)["drift"]["count"]
    for kind, command, words in CHANGES:
        since = time.monotonic_ns()
        world.run(node, command)
        # What the change before did to the same kind of object may be told late.
        told = world.until(partial(telling, world, node, kind, since, words))[0]
        assert told["error"] == ""
        assert kind != "ruleset" or re.fullmatch(r"nft \(pid \d+\)", told["who"])
        becomes(world, node, before)
    assert world.status(node)["drift"]["count"] >= count + len(CHANGES)
    assert world.status(node)["drift"]["alarms"] == []
    world.until(lambda: bool(world.get(ADDRESS)))
    assert world.moves() == moves


@in_lab
def test_a_repaired_active_advertises_and_announces_at_once(world: World) -> None:
    """The lease went with the rule set: its gates open again by our own advertisement, in the round that follows."""
    node = world.active()
    since = time.monotonic_ns()
    world.run(node, "nft flush ruleset")
    world.until(lambda: drifts(world, node, "ruleset", since))

    def after_the_drift() -> list[str]:
        kinds = [event["kind"] for event in world.events(node, "", since)]
        return kinds[kinds.index("drift") + 1 :]

    assert world.until(after_the_drift)[0] == "announced"
    assert "expires" in world.run(node, "nft list set netdev understudy lease")


@in_lab
def test_a_restored_rule_set_knows_which_servers_are_down(world: World) -> None:
    """The balancer's pairs are those of before, not those of the file."""
    node = world.active()
    everyone = pairs(world, node)
    world.kill_server("web1")
    world.until(lambda: not all(server["up"] for server in world.status(node)["servers"]))
    world.until(lambda: pairs(world, node) not in ("", everyone))  # the kernel follows what is said
    before = kernel(world, node)
    since = time.monotonic_ns()
    world.run(node, "nft flush ruleset")
    world.until(lambda: drifts(world, node, "ruleset", since))
    becomes(world, node, before)


@in_lab
def test_a_backup_that_somebody_brings_up_is_silenced(world: World) -> None:
    """An address on its link, and the link up: both go, nobody else answers, and the Active stays what it is."""
    node, moves = world.standby(), world.moves()
    before, since = kernel(world, node), time.monotonic_ns()
    world.run(node, f"ip addr add {ADDRESS}/32 dev {LINK}")
    world.until(lambda: drifts(world, node, "addresses", since))
    world.run(node, f"ip link set {LINK} up")
    world.until(lambda: drifts(world, node, "links", since))
    becomes(world, node, before)
    assert len(world.answers(ADDRESS)) == 1
    assert world.moves() == moves


@in_lab
def test_without_a_watch_the_damage_stays(world: World) -> None:
    """The control: nothing but the hands repairs. Frozen, they leave it; thawed, they find it in their queue."""
    node = world.active()
    before, since = kernel(world, node), time.monotonic_ns()
    hands = world.signal(node, "hands", signal.SIGSTOP)
    try:
        world.run(node, "nft flush chain inet understudy forward")
        world.run(node, f"ip addr del {ADDRESS}/32 dev {LINK}")
        damaged = kernel(world, node)
        world.remains(lambda: kernel(world, node) == damaged != before, 0.5)
        assert world.events(node, "drift", since) == []
    finally:
        os.kill(hands, signal.SIGCONT)
    becomes(world, node, before)
    world.until(lambda: {event["object"] for event in world.events(node, "drift", since)} == {"ruleset", "addresses"})


@contextmanager
def repeated(world: World, node: str, command: str) -> Iterator[None]:
    """Again and again, as fast as another manager's event loop: far more often than the budget allows."""
    words = ["sh", "-c", f"while :; do {command}; sleep .05; done"]
    with world.lab.namespaces[node].run(subprocess.Popen, words) as somebody:
        try:
            yield
        finally:
            somebody.kill()


@in_lab
def test_a_fight_ends_in_an_alarm_and_not_in_a_loop(world: World) -> None:
    """Somebody undoes every repair: it stops, says who and what, leaves the rest in order, and no role moves."""
    node, moves = world.active(), world.moves()
    since = time.monotonic_ns()
    with repeated(world, node, "nft flush chain inet understudy input"):
        world.until(lambda: "ruleset" in alarms(world, node), 2 * PATIENCE_S)
        world.until(lambda: world.events(node, "drift-alarm", since))
    reason = alarms(world, node)["ruleset"]
    assert re.search(r"nft \(pid \d+\)", reason)
    assert "rule deleted in input of inet understudy" in reason
    repairs = len(drifts(world, node, "ruleset", since))
    world.run(node, "nft flush chain inet understudy input")
    world.remains(lambda: "drop" not in world.run(node, "nft list chain inet understudy input"), 0.3)
    assert len(drifts(world, node, "ruleset", since)) == repairs
    world.run(node, f"ip addr del {ADDRESS}/32 dev {LINK}")
    world.until(lambda: drifts(world, node, "addresses", since))
    code, text, _ = world.understudy(node, "status", "--run-dir", str(world.lab.run_dir(node)))
    assert code == 2
    assert f"! {node}: ruleset: nft (pid" in text
    assert f"{node} was changed behind its back" in text
    assert [event["on"] for event in world.events(node, "drift-alarm", since)] == [True]
    assert world.moves() == moves
    world.restart_agent(node)
    assert alarms(world, node) == {}


@in_lab
def test_a_port_that_is_renamed_is_an_alarm_until_it_is_back(world: World) -> None:
    """Nothing crashes, the peer serves, and the alarm ends by itself."""
    node, since = world.standby(), time.monotonic_ns()
    pids = {role: world.pid(node, role) for role in ("core", "hands")}
    for command in ("ip link set eth0 down", "ip link set eth0 name away", "ip link set away up"):
        world.run(node, command)
    # Hands that look between two of the commands find other reasons first.
    world.until(lambda: "port eth0 is gone" in alarms(world, node).get("links", ""))
    assert world.get(ADDRESS)
    for command in ("ip link set away down", "ip link set away name eth0", "ip link set eth0 up"):
        world.run(node, command)
    world.until(lambda: alarms(world, node) == {})

    def told() -> list[bool]:
        return [event["on"] for event in world.events(node, "drift-alarm", since)]

    world.until(lambda: told()[-1:] == [False])
    assert told()[0]
    assert {role: world.pid(node, role) for role in pids} == pids
    assert world.active() == other(node)


@in_lab
def test_new_hands_make_a_guard_of_their_own(world: World) -> None:
    """The table goes with its keeper and is there again with the next one."""
    world.until(lambda: all("understudy_guard" in world.run(node, "nft list tables") for node in NODES))
    node = world.standby()
    hands = world.signal(node, "hands", signal.SIGKILL)
    world.until(lambda: world.pid(node, "hands") not in (0, hands) and world.role(node) == "backup")
    world.until(lambda: "understudy_guard" in world.run(node, "nft list tables"))
