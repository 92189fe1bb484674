"""A pair of real agents under what happens to agents: death, freezing, hand-over, rest, and the operator's mistakes."""

import json
import os
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent_processes import families, packet_sockets
from agent_worlds import NODES, ROOT, World, in_lab, other
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.config import load_plan
from understudy.config.key import create_key
from understudy.lab.redirected import Redirected

# Who serves shall not change in the middle of a story, also on a busy machine: whoever is killed is back in a lease.
TEXT = (
    (ROOT / "examples" / "pair.yaml")
    .read_text()
    .replace("every: 1s", "every: 200ms")
    .replace("advertise: 100ms", "advertise: 400ms")
    .replace("outage: 500ms", "outage: 3s")
)
ADDRESS = "203.0.113.10"
VIRTUAL_MAC = bytes.fromhex("00005e0001")
LEASE_S = 1.2
"""Three intervals: after so long without an advertisement a kernel is silent."""
DOWN_S = 1.6
"""An interval more: after so long a standby that has heard nothing serves, and has said so."""


@in_lab
def test_a_pair_comes_up_with_exactly_one_active(world: World) -> None:
    """One Active, one Backup, each hears the other on every LAN, the same file on both, no packet refused."""
    world.active()
    for node in NODES:
        world.until(lambda node=node: knows_peer(world, node))  # type: ignore[misc]
    # As it stands: in the first moment both may have taken over at once.
    before = refused(world)
    world.remains(lambda: refused(world) == before, 0.5)
    assert world.get(ADDRESS) in ("web1", "web2")
    assert {mac[:5] for mac in world.answers(ADDRESS)} == {VIRTUAL_MAC}


def knows_peer(world: World, node: str) -> bool:
    """By its latest heartbeats, which come a moment after what they tell."""
    status = world.status(node)
    (peer,) = status["groups"][0]["peers"]
    reach = {network["peer_reach"] for network in status["networks"]}
    known = peer["heard"] and peer["same_config"] and peer["role"] == world.role(other(node))
    return bool(known) and reach == {"reached"}


def refused(world: World) -> dict[str, dict[str, int]]:
    """Advertisements, by node and reason."""
    dropped = {node: world.status(node)["dropped"] for node in NODES}
    return {node: {why: n for why, n in each.items() if why.startswith("vrrp")} for node, each in dropped.items()}


@in_lab
def test_a_switchover_moves_the_group_once(world: World) -> None:
    """One move on each node, the reason on both sides, and the service goes on."""
    before, old = world.moves(), world.active()
    world.switch_over()
    world.until(lambda: world.moves() == {node: count + 1 for node, count in before.items()})
    assert world.group(old)["reason"] == f"handed over to {other(old)}"
    assert world.group(other(old))["reason"] == f"handed over by {old}"
    world.until(lambda: world.get(ADDRESS))  # the addresses follow the role


@in_lab
def test_the_quiet_end_of_a_switchover_ends_with_it(world: World) -> None:
    """The old Active may have to take over again a moment later: nothing may hold its advertisements back then."""
    old, new = world.active(), world.standby()
    world.switch_over()
    world.until(lambda: not world.group(new)["phase"])
    world.until(lambda: "elements" not in world.run(old, "nft list set netdev understudy quiet"))
    killed = time.monotonic_ns()
    world.lab.kill_agent(new)
    world.until(lambda: world.role(old) == "active")
    assert world.events(old, "error", killed) == []
    world.restart_agent(new)


@in_lab
def test_what_was_handed_over_is_not_adopted(world: World) -> None:
    """The old Active dies while it still forwards what switches bring: its successor on the node is Backup."""
    old, new = world.active(), world.standby()
    world.run_nft(old, "add element netdev understudy quiet { 1 timeout 60s }")
    since = time.monotonic_ns()
    world.restart_agent(old)
    assert [event["new"] for event in world.until(lambda: world.events(old, "moved", since))][:1] == ["backup"]
    assert world.events(old, "adopted", since) == []
    world.until(lambda: world.role(new) == "active" and world.role(old) == "backup")
    world.until(lambda: "elements" not in world.run(old, "nft list set netdev understudy quiet"))


@in_lab
def test_a_switchover_asked_of_the_standby_is_refused(world: World) -> None:
    """The control: nothing moves, and the answer says whom to ask."""
    before = world.moves()
    assert "ask the Active" in world.ask(world.standby(), "switchover", group="edge")["error"]
    assert "no group" in world.ask(world.active(), "switchover", group="nonsense")["error"]
    assert world.moves() == before


@in_lab
def test_a_killed_core_is_followed_by_one_that_goes_on(world: World) -> None:
    """On the Active: adopted, no change of role anywhere, the addresses answer throughout."""
    active = world.active()
    standby_moves, epoch = world.moves()[other(active)], world.status(active)["epoch"]
    for count in range(1, 4):
        killed = time.monotonic_ns()
        pid = world.signal(active, "core", signal.SIGKILL)
        assert world.answers(ADDRESS)
        world.until(lambda killed=killed: world.events(active, "moved", killed))  # type: ignore[misc]
        assert [event["reason"] for event in world.events(active, "moved", killed)] == ["adopted"]
        assert world.pid(active, "core") not in (0, pid)
        assert world.status(active)["epoch"] == epoch + count
    world.remains(lambda: world.role(other(active)) == "backup", DOWN_S)
    assert world.moves()[other(active)] == standby_moves


@in_lab
def test_killed_hands_take_the_core_along_and_both_go_on(world: World) -> None:
    """Neither believes that the other knows what the kernel holds; nobody outside notices."""
    active = world.active()
    before, core = world.moves()[other(active)], world.pid(active, "core")
    killed = time.monotonic_ns()
    world.signal(active, "hands", signal.SIGKILL)
    world.until(lambda: world.pid(active, "core") not in (0, core) and world.role(active) == "active")
    world.until(lambda: world.events(active, "moved", killed))
    assert [event["reason"] for event in world.events(active, "moved", killed)] == ["adopted"]
    world.remains(lambda: world.role(other(active)) == "backup", DOWN_S)
    assert world.moves()[other(active)] == before
    world.until(lambda: world.get(ADDRESS))


@in_lab
def test_killed_checks_are_replaced_and_nothing_else_happens(world: World) -> None:
    """The core stays the same process; servers stay up: a check may come too late, but none is refused."""
    active, since = world.active(), time.monotonic_ns()
    core = world.pid(active, "core")
    checks = world.signal(active, "checks", signal.SIGKILL)
    world.until(lambda: world.pid(active, "checks") not in (0, checks))
    assert world.pid(active, "core") == core
    world.until(lambda: all(server["up"] for server in world.status(active)["servers"]))
    assert "refused" not in str(world.events(active, "server", since)).lower()


@in_lab
def test_the_supervisors_death_is_the_nodes(world: World) -> None:
    """SIGKILL to it alone: every process is gone, the kernel silent within the lease, and the peer serves."""
    active = world.active()

    def four() -> tuple[int, ...]:
        """Supervisor, core, hands and checks, which begin a moment later; there may be others for a while."""
        pids = world.lab.agent_pids(active)
        return pids if len(pids) == 4 else ()

    pids = world.until(four)
    os.kill(pids[0], signal.SIGKILL)
    world.until(lambda: not [pid for pid in world.lab.agent_pids(active) if pid in pids])
    world.until(lambda: world.role(other(active)) == "active")
    world.until(lambda: world.get(ADDRESS))  # it says so with its first advertisement; the addresses follow


@in_lab
def test_sigterm_hands_over_and_leaves_nothing_of_ours(world: World) -> None:
    """Without waiting for any timer; links, tables and rules of ours are gone, those of others are there."""
    active = world.active()
    foreign = (
        "ip link add us0 type bridge\nip rule add pref 7 to 198.51.100.1 blackhole\nnft add table inet understudy2"
    )
    for line in foreign.splitlines():
        world.run(active, line)
    pids, asked = world.lab.agent_pids(active), time.monotonic_ns()
    os.kill(pids[0], signal.SIGTERM)
    world.until(lambda: world.role(other(active)) == "active")
    assert world.group(other(active))["reason"] == f"handed over by {active}"
    world.until(lambda: not world.lab.agent_pids(active))
    assert [event["reason"] for event in world.events(active, "moved", asked)] == [f"handed over to {other(active)}"]
    assert world.run(active, "nft list tables") == "table inet understudy2\n"
    links = world.run(active, "ip -brief link")
    assert "us0 " in links
    assert "us1n" not in links
    rules = world.run(active, "ip rule").splitlines()
    assert [rule.split(":")[0] for rule in rules] == ["0", "7", "32766", "32767"]
    assert not (world.lab.run_dir(active) / "control.sock").exists()
    for line in ("ip link del us0", "ip rule del pref 7", "nft delete table inet understudy2"):
        world.run(active, line)


@in_lab
def test_sigterm_without_a_peer_says_farewell_after_the_addresses_are_down(world: World) -> None:
    """Nobody to hand over to: silent first, then the farewell, then gone.

    RFC 9568, section 6.4.3: an advertisement with priority 0 is the last that a stopping Active sends.
    """
    active = world.active()
    world.lab.kill_agent(other(active))
    world.until(lambda: not world.group(active)["peers"][0]["heard"])
    asked = time.monotonic_ns()
    with world.lab.namespaces["client-outside"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 3))
        wire.setblocking(False)
        world.signal(active, "supervisor", signal.SIGTERM)
        world.until(lambda: not world.lab.agent_pids(active))
        priorities = []
        with suppress(BlockingIOError):
            while True:
                heard = wire.recv(2048)
                if heard[12:14] == b"\x08\0" and heard[23] == 112:
                    priorities.append(heard[36])
    assert priorities[-1] == 0
    kinds = [
        (event["kind"], event.get("state") or event.get("phase") or event.get("new"))
        for event in world.events(active, since=asked)
        if event["kind"] in ("moved", "lease", "farewell")
    ]
    assert kinds == [("moved", "backup"), ("lease", "revoked"), ("farewell", "sent")]
    assert world.answers(ADDRESS) == set()


@in_lab
def test_a_frozen_node_is_silent_after_its_lease_and_backup_when_it_thaws(world: World) -> None:
    """Its processes stopped, its kernel running: no answer once the lease is over; before that there was (control)."""
    active = world.active()
    world.lab.cut(other(active), "outside")  # so that whoever answers outside is the frozen one
    world.lab.cut(other(active), "inside")
    try:
        assert world.answers(ADDRESS)
        frozen = time.monotonic_ns()
        world.lab.freeze_agent(active)
        time.sleep(LEASE_S)
        assert world.answers(ADDRESS, during_s=0.3) == set()
    finally:
        world.lab.thaw_agent(active)
        for network in ("outside", "inside"):
            world.lab.heal(other(active), network)
    world.until(lambda: world.events(active, "moved", frozen))
    first = world.events(active, "moved", frozen)[0]
    assert (first["new"], first["reason"]) == ("backup", "resume guard")
    world.until(lambda: sorted(world.roles().values()) == ["active", "backup"])


@in_lab
def test_maintenance_hands_over_survives_a_restart_and_is_never_active(world: World) -> None:
    """Until it is taken off; the store says so on disk before the command is answered."""
    node = world.active()
    assert world.ask(node, "maintenance", on=True) == {"ok": True}
    assert json.loads((world.lab.run_dir(node) / "store.json").read_text())["maintenance"] is True
    world.until(lambda: world.role(other(node)) == "active" and world.role(node) == "backup")
    world.restart_agent(node)
    assert world.status(node)["maintenance"] is True
    world.lab.kill_agent(other(node))
    world.remains(lambda: world.role(node) == "backup", DOWN_S)
    world.restart_agent(other(node))
    world.until(lambda: world.role(other(node)) == "active")  # or both could take over now
    assert world.ask(node, "maintenance", on=False) == {"ok": True}
    world.until(lambda: world.group(node)["peers"][0]["heard"] and world.group(other(node))["peers"][0]["eligible"])
    world.switch_over()
    assert world.active() == node


@in_lab
def test_the_last_node_is_not_put_to_rest_by_accident(world: World) -> None:
    """Refused with the reason while nobody could take over; insisted on, it obeys."""
    node = world.active()
    world.lab.kill_agent(other(node))
    world.until(lambda: not world.group(node)["peers"][0]["heard"])
    assert "no standby could take over" in world.ask(node, "maintenance", on=True)["error"]
    assert world.role(node) == "active"
    assert world.ask(node, "maintenance", on=True, force=True) == {"ok": True}
    world.until(lambda: world.status(node)["maintenance"])
    assert world.ask(node, "maintenance", on=False) == {"ok": True}


@in_lab
def test_maintenance_that_cannot_be_stored_is_not_claimed(world: World) -> None:
    """Nothing can be written: an error, and the node goes on as it was, for itself and for its peer."""
    node = world.active()
    in_the_way = world.lab.run_dir(node) / ".store.json.new"
    in_the_way.mkdir()
    try:
        assert "Is a directory" in world.ask(node, "maintenance", on=True)["error"]
        world.remains(lambda: world.role(node) == "active" and not world.status(node)["maintenance"], 0.6)
        assert world.group(other(node))["peers"][0]["eligible"]
    finally:
        in_the_way.rmdir()
    assert world.ask(node, "maintenance", on=False) == {"ok": True}


@in_lab
def test_a_link_that_stays_down_costs_the_role_and_nothing_else(world: World) -> None:
    """Somebody else's link has its MAC: the standby cannot serve, gives up, says why, and the old Active serves on."""
    node = world.standby()
    world.run(node, "ip link add squatter link eth0 address 00:00:5e:00:01:1f type macvlan mode private")
    world.run(node, "ip link set squatter up")
    asked = time.monotonic_ns()

    def tried() -> bool:
        """An offer that lapsed before the standby could run is made again, as an operator would."""
        if world.group(other(node))["phase"]:
            return False
        taken = bool(world.events(node, "promotion", asked))
        if not taken:
            world.ask(other(node), "switchover", group="edge")
        return taken

    world.until(tried)
    refused = "bring up us1n1v4: Address already in use"
    world.until(lambda: refused in str(world.events(node, "kernel-refused", asked)))
    world.until(lambda: world.roles() == {node: "backup", other(node): "active"})
    world.until(lambda: world.get(ADDRESS))
    world.run(node, "ip link del squatter")
    world.restart_agent(node)


@in_lab
def test_hands_that_hang_cost_the_role_by_its_deadline(world: World) -> None:
    """The Active dies, the standby's kernel does not obey: it gives the role up rather than pretending."""
    node = world.standby()
    hands = world.signal(node, "hands", signal.SIGSTOP)
    killed = time.monotonic_ns()
    world.lab.kill_agent(other(node))
    try:
        world.until(lambda: any(event["phase"] == "failed" for event in world.events(node, "promotion", killed)))
        world.until(lambda: (world.role(node), world.group(node)["reason"]) == ("backup", "promotion failed"))
        assert world.answers(ADDRESS) == set()
    finally:
        os.kill(hands, signal.SIGCONT)
    world.restart_agent(node)


@in_lab
def test_sigterm_in_the_middle_of_a_promotion_ends_the_node(world: World) -> None:
    """Hands that hang, a promotion that waits for them, SIGTERM: gone in bounded time, and the kernel clean."""
    node = world.standby()
    world.signal(node, "hands", signal.SIGSTOP)
    killed = time.monotonic_ns()
    world.lab.kill_agent(other(node))
    world.until(lambda: any(event["step"] == "addresses" for event in world.events(node, "took_over_step", killed)))
    world.signal(node, "supervisor", signal.SIGTERM)
    world.until(lambda: not world.lab.agent_pids(node))
    assert "understudy" not in world.run(node, "nft list tables")
    assert "us1n" not in world.run(node, "ip -brief link")


@in_lab
def test_a_core_that_runs_in_circles_is_replaced(world: World) -> None:
    """Stopped alone, it says nothing: its peer serves, the supervisor ends it, and the next one stands by."""
    active = world.active()
    since = time.monotonic_ns()
    core = world.signal(active, "core", signal.SIGSTOP)
    world.until(lambda: world.role(other(active)) == "active")
    world.until(lambda: world.pid(active, "core") not in (0, core), 15)
    world.until(lambda: world.role(active) == "backup")
    world.until(lambda: world.events(active, "stuck", since))


@in_lab
def test_no_process_holds_what_it_does_not_need(world: World) -> None:
    """LAN sockets are the core's (the supervisor keeps them); the checks hold no socket but their own, and no right."""
    roles = ("supervisor", "core", "hands", "checks")
    seen: list[dict[str, dict[str, int]]] = []

    def settled() -> bool:
        """All are there, and the same as half a second ago: a new core has its checks begun anew."""
        seen.append({node: {role: world.pid(node, role) for role in roles} for node in NODES})
        time.sleep(0.5)
        return len(seen) > 1 and seen[-1] == seen[-2] and all(all(held.values()) for held in seen[-1].values())

    world.until(settled, 10)
    for held in seen[-1].values():
        assert packet_sockets(held["core"]) == packet_sockets(held["supervisor"]) == 3
        for role in ("hands", "checks"):
            assert packet_sockets(held[role]) == 0
            assert "udp" not in families(held[role])
        assert "netlink" not in families(held["checks"])
        rights = Path(f"/proc/{held['checks']}/status").read_text()
        assert "CapEff:\t0000000000000000" in rights
        assert "CapPrm:\t0000000000000000" in rights
        assert "NoNewPrivs:\t1" in rights


@in_lab
def test_packets_that_mean_no_good_are_counted_and_change_nothing(world: World) -> None:
    """Forged and broken advertisements, noise on the channel, a control client that babbles: counted, no role moves."""
    before = world.moves()
    node = world.standby()
    target = next(a.addresses[0].ip for a in world.lab.topology.host(node).ports if a.network == "outside")
    begun = {reason: world.dropped(node, reason) for reason in ("channel-magic", "channel-length")}
    known = {each: refusals(world, each) for each in NODES}
    client = world.lab.namespaces["client-outside"]
    with (
        client.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        wire.bind(("eth0", 0))
        for broken in broken_advertisements():
            for _ in range(50):
                wire.send(broken)
        for _ in range(200):
            udp.sendto(b"noise", (str(target), 4112))
            udp.sendto(b"noise" * 100, (str(target), 4112))
    world.until(lambda: world.dropped(node, "channel-length") >= begun["channel-length"] + 100)
    world.until(lambda: world.dropped(node, "channel-magic") >= begun["channel-magic"] + 100)
    for each in NODES:
        world.until(lambda each=each: refusals(world, each) >= known[each] + 50 * len(broken_advertisements()))  # type: ignore[misc]
    world.remains(lambda: world.moves() == before, 0.5)


def refusals(world: World, node: str) -> int:
    """Packets that a node refused, but for those of the channel."""
    dropped = world.status(node)["dropped"]
    return sum(count for name, count in dropped.items() if not name.startswith("channel"))


GOOD = bytes.fromhex("311ffe0100140000cb00710a")
"""An advertisement of our VRID, 31, for our address, with a priority above both nodes' and no checksum yet."""


def broken_advertisements() -> list[bytes]:
    """What RFC 9568, section 7.1 refuses, one thing wrong with each; the IP header is right, or no bridge passes it."""
    message = with_checksum(GOOD)
    return [
        frame(message, hop_limit=254),
        frame(message[:6] + b"\xde\xad" + message[8:]),
        frame(with_checksum(b"\x71" + GOOD[1:])),
        frame(with_checksum(GOOD[:1] + b"\x63" + GOOD[2:])),
        frame(message[:2]),
        frame(message[:10]),
        frame(b""),
    ]


def frame(message: bytes, hop_limit: int = 255) -> bytes:
    """From the virtual MAC and the outside client's address to the group of all routers."""
    header = bytes([0x45, 0xC0, 0, 20 + len(message), 0, 0, 0, 0, hop_limit, 112, 0, 0, *SOURCE, 224, 0, 0, 18])
    header = header[:10] + internet_checksum(header) + header[12:]
    return bytes.fromhex("01005e00001200005e00011f0800") + header + message


SOURCE = bytes([203, 0, 113, 100])


def with_checksum(message: bytes) -> bytes:
    """Over the message alone: one of the two forms that are seen in the field."""
    return message[:6] + internet_checksum(message) + message[8:]


def internet_checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


@in_lab
def test_a_message_without_a_fault_is_weighed_against_the_channel(world: World) -> None:
    """The control of the test above: it is taken for an advertisement, and the peer's own word refutes it."""
    before, active = world.moves(), world.active()
    contradicted = "vrrp-contradicts-channel"
    known = world.dropped(active, contradicted)
    with world.lab.namespaces["client-outside"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 0))

        def refuted() -> bool:
            wire.send(frame(with_checksum(GOOD)))
            time.sleep(0.1)
            return world.dropped(active, contradicted) > known

        world.until(refuted)
    assert world.moves() == before


@in_lab
def test_a_hostile_control_client_delays_no_advertisement(world: World) -> None:
    """A hundred that say nothing, drip, babble or never read: status is answered, and no role moves."""
    before, active = world.moves(), world.active()
    path = str(world.lab.run_dir(active) / "control.sock")
    held = []
    for number in range(100):
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(1)
        with suppress(OSError):
            end.connect(path)
            end.sendall([b"", b'{"comm', b"\xff" * 5000 + b"\n", b'{"command": "status"}\n'][number % 4])
        held.append(end)
    world.until(lambda: world.role(active) == "active")
    world.remains(lambda: world.moves() == before, 0.5)
    for end in held:
        end.close()


@in_lab
def test_a_dead_server_is_left_out_on_both_nodes_and_taken_back(world: World) -> None:
    """New connections reach the other one only; once it is back, both."""
    world.kill_server("web1")
    world.until(lambda: not any(server(world, node, "web1")["up"] for node in NODES))
    for node in NODES:
        world.until(lambda node=node: server(world, node, "web2")["up"])  # type: ignore[misc]
        world.until(lambda node=node: "refused" in server(world, node, "web1")["reason"].lower())  # type: ignore[misc]
    # A kernel follows its node's verdict a moment later.
    world.until(lambda: {world.get(ADDRESS) for _ in range(12)} == {"web2"})
    world.start_servers()
    world.until(lambda: all(server(world, node, "web1")["up"] for node in NODES))
    world.until(lambda: {world.get(ADDRESS) for _ in range(12)} == {"web1", "web2"})


def server(world: World, node: str, name: str) -> dict[str, Any]:
    servers: list[dict[str, Any]] = world.status(node)["servers"]
    return next(each for each in servers if each["name"].startswith(name))


@in_lab
def test_inside_clients_leave_with_the_groups_address(world: World) -> None:
    """What a server outside sees of them, before and after a switchover."""
    seen = []
    for _ in range(2):
        with world.lab.namespaces["client-outside"].socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            outside.bind(("203.0.113.100", 5353))
            outside.settimeout(0.5)
            with world.lab.namespaces["client-inside"].socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:

                def arrives(inside: socket.socket = inside, outside: socket.socket = outside) -> str:
                    """From whom; nothing while the addresses still follow the role."""
                    inside.sendto(b"?", ("203.0.113.100", 5353))
                    with suppress(TimeoutError):
                        return str(outside.recvfrom(100)[1][0])
                    return ""

                seen.append(world.until(arrives))
        world.switch_over()
    assert seen == [ADDRESS, ADDRESS]


@in_lab
def test_another_key_keeps_peers_apart_and_is_counted_by_name(world: World) -> None:
    """Neither believes the other's channel; VRRP still keeps the roles apart, and status shows why they are deaf."""
    node = world.standby()
    world.misconfigure(node, key=os.urandom(32))
    world.until(lambda: all(world.dropped(each, "channel-key") > 3 for each in NODES))
    world.until(lambda: not any(world.group(each)["peers"][0]["heard"] for each in NODES))
    world.remains(lambda: sorted(world.roles().values()) == ["active", "backup"], 0.5)


@in_lab
def test_another_file_is_noticed_on_both_sides(world: World) -> None:
    """They hear each other and say that their files differ."""
    node = world.standby()
    world.misconfigure(node, plan=load_plan(TEXT.replace("every: 200ms", "every: 300ms").encode()))
    world.until(lambda: all(world.group(each)["peers"][0]["heard"] for each in NODES))
    assert not any(world.group(each)["peers"][0]["same_config"] for each in NODES)


@in_lab
def test_the_service_manager_hears_of_every_change(world: World) -> None:
    """Ready, the role as it changes, signs of life of the core, and stopping."""
    node = world.standby()
    world.lab.kill_agent(node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(world.lab.state / "notify")
        manager.bind(path)
        manager.setblocking(False)
        os.environ |= {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000"}
        try:
            world.lab.start_agent(node)
        finally:
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
                del os.environ[name]
        world.until(lambda: world.role(node) == "backup")
        world.until(lambda: world.group(other(node))["peers"][0]["heard"])
        world.switch_over()
        heard: list[str] = []

        def lives() -> bool:
            with suppress(BlockingIOError):
                while True:
                    heard.append(manager.recv(4096).decode())
            return heard.count("WATCHDOG=1") >= 2

        world.until(lives)
        world.signal(node, "supervisor", signal.SIGTERM)
        world.until(lambda: not world.lab.agent_pids(node))
        lives()
    states = [each for each in heard if each != "WATCHDOG=1"]
    assert states[0] == "READY=1"
    assert states[1:3] == ["STATUS=edge: backup (started)", f"STATUS=edge: active (handed over by {other(node)})"]
    assert states[3].startswith("STOPPING=1")
    assert heard.count("WATCHDOG=1") >= 2


@in_lab
def test_plan_diff_is_empty_on_a_live_pair_and_names_what_was_meddled_with(world: World) -> None:
    """Neither a role, a lease nor a dead server is a difference; a rule, an address, a sysctl and a chain are."""
    world.kill_server("web1")
    world.until(lambda: not any(server(world, node, "web1")["up"] for node in NODES))
    for node in NODES:
        assert difference(world, node) == (0, "")
    node = world.active()
    world.signal(node, "hands", signal.SIGSTOP)  # or it would be repaired while we look
    world.run(node, f"ip addr del {ADDRESS}/32 dev us1n1v4")
    world.run(node, "ip rule del pref 10")
    world.run(node, "nft flush chain netdev understudy gate_1")
    code, text = difference(world, node)
    assert code == 2
    assert f"+ address {ADDRESS}/32 on us1n1v4\n" in text
    assert f"+ rule IPv4 pref 10 to {ADDRESS}" in text
    assert re.search(r"^\+.*@lease return$", text, re.MULTILINE)
    world.restart_agent(node)
    code, text = difference(world, node, "--json")
    assert code == 0, text
    assert json.loads(text)["differs"] is False


def difference(world: World, node: str, *more: str) -> tuple[int, str]:
    """What `plan --diff` says in a node's namespace: exit code and all that it said."""
    words = ["plan", str(world.file), "--node", node, "--diff", *more]
    done = world.lab.namespaces[node].run(CliRunner().invoke, app, words)
    return done.exit_code, done.output


@in_lab
def test_a_second_agent_is_refused_before_anything_changes(world: World) -> None:
    """In the same directory, and in another one: a code and a hint, the first agent untouched."""
    node = world.active()
    before = world.moves(), world.pid(node, "core"), world.run(node, "nft -a list ruleset")
    code, text = begun(world, node, world.lab.run_dir(node))
    assert (code, text.split()[0]) == (1, "E5209")
    code, text = begun(world, node, world.lab.state / "elsewhere")
    assert (code, text.split()[0]) == (1, "E5207")
    assert "UDP port 4112" in text
    after = world.moves(), world.pid(node, "core"), world.run(node, "nft -a list ruleset")
    assert without_leases(after[2]) == without_leases(before[2])
    assert after[:2] == before[:2]


def begun(world: World, node: str, run_dir: Path, name: str = "") -> tuple[int, str]:
    """`understudy agent` of a node, which ends by itself, in a process of its own: exit code and what it said.

    `name` is what it takes itself for.
    """
    key, output = world.lab.state / "begun.key", world.lab.state / "begun.log"
    if not key.exists():
        create_key(key)
    output.unlink(missing_ok=True)
    words = ["agent", str(world.file), "--node", name or node, "--key", str(key), "--run-dir", str(run_dir)]
    pid = world.lab.namespaces[node].spawn(Redirected(output, app), words)
    (status,) = world.until(lambda: [status for found, status in [os.waitpid(pid, os.WNOHANG)] if found])
    return os.waitstatus_to_exitcode(status), output.read_text()


def without_leases(ruleset: str) -> str:
    return "\n".join(line for line in ruleset.splitlines() if "expires" not in line)


@in_lab
def test_what_an_agent_lacks_is_said_at_the_start_by_name(world: World) -> None:
    """A directory, a right, the library, the node's address: code, what, and what to do; the kernel is untouched."""
    node = world.standby()
    world.lab.kill_agent(node)
    run_dir = world.lab.run_dir(node)
    in_the_way = world.lab.state / "a file"
    in_the_way.touch()
    # The killed agent's guard goes with its keeper, a moment later.
    world.until(lambda: "understudy_guard" not in world.run(node, "nft list tables"))
    before = world.run(node, "nft list tables"), world.run(node, "ip -brief link"), world.run(node, "ip rule")
    for expected, words, (code, text) in (
        ("E5208", "a file", begun(world, node, in_the_way / "x")),
        ("E5205", "CAP_NET_ADMIN and CAP_NET_RAW", world.agent(node, run_dir, prefix=NO_RIGHTS)),
        ("E9101", "libnftables1", world.agent(node, run_dir, before=WITHOUT_LIBRARY)),
        ("E5204", "203.0.113.", begun(world, node, run_dir, other(node))),
        ("E5201", "gw1", begun(world, node, run_dir, "gw9")),
        ("E5202", "web1", begun(world, node, run_dir, "web1")),
    ):
        assert code == 1
        assert text.startswith(expected), text
        assert words in text
        assert "hint: " in text
    assert (world.run(node, "nft list tables"), world.run(node, "ip -brief link"), world.run(node, "ip rule")) == before


WITHOUT_LIBRARY = "from understudy.adapters import nftables\nnftables.LIBRARY = 'libmissing.so.1'"
NO_RIGHTS = "setpriv --bounding-set=-all --inh-caps=-all"


@in_lab
def test_a_kernel_that_lets_no_advertisement_out_costs_the_role(world: World) -> None:
    """Somebody's firewall drops them on every port: the node must not go on believing that it is Active."""
    node = world.active()
    begun = time.monotonic_ns()
    for port in ("eth0", "eth1"):
        hook = f'{{ type filter hook egress device "{port}" priority 0; ip protocol 112 drop; }}'
        world.run_nft(node, f"add table netdev other\nadd chain netdev other {port} {hook}")
    world.until(lambda: world.role(other(node)) == "active" and world.role(node) == "backup")
    world.until(lambda: world.get(ADDRESS))
    world.until(lambda: "send on outside" in str(world.events(node, "error", begun)))
    world.run(node, "nft delete table netdev other")
    world.restart_agent(node)
