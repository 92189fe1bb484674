"""The kernel lease on the real kernel: who may refresh it, what it gates, and what may leave from a virtual MAC."""

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from nft_bed import Bed, Gateway, Machine, advertisement, bed, icmpv6, in_sandbox, link_address, mac_bytes

from understudy.render import grant_lease, lease_long_mark, lease_short_mark, render_node, revoke_lease
from understudy.units import MILLISECOND, SECOND

T = TypeVar("T")

VIP, VIP6 = "203.0.113.10", "2001:db8:1::10"
LOOKS_MAX = 8


def ever(look: Callable[[], list[T]], wanted: list[T]) -> list[T]:
    """What was so at one look at least: a busy machine is looked at again for what is missing, never for less."""
    seen = look()
    for _ in range(LOOKS_MAX):
        if all(now or not want for now, want in zip(seen, wanted, strict=True)):
            break
        seen = [before or now for before, now in zip(seen, look(), strict=True)]
    return seen


def ask_arp(asker: Machine, port: str, target: str, wait_s: float = 0.2) -> str | None:
    """The MAC that answers an ARP request for `target`, or None."""
    own = link_address(asker, port)
    frame = b"\xff" * 6 + mac_bytes(own) + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    frame += mac_bytes(own) + ip_address("203.0.113.100").packed + b"\0" * 6 + ip_address(target).packed

    def answer(data: bytes) -> str | None:
        is_reply = data[12:14] == b"\x08\x06" and data[20:22] == b"\0\2" and data[28:32] == ip_address(target).packed
        return data[22:28].hex(":") if is_reply else None

    return ask(asker, port, frame, answer, wait_s)


def ask_neighbour(asker: Machine, port: str, target: str, wait_s: float = 0.2) -> str | None:
    """The MAC in the neighbour advertisement for `target`, or None."""
    own, packed = mac_bytes(link_address(asker, port)), IPv6Address(target).packed
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + packed[13:]
    body = b"\0" * 4 + packed + b"\1\1" + own
    source = ip_address("2001:db8:1::100").packed
    frame = b"\x33\x33" + group[12:] + own + b"\x86\xdd" + icmpv6(135, source, group, body)

    def answer(data: bytes) -> str | None:
        is_advert = data[12:14] == b"\x86\xdd" and data[54:55] == b"\x88" and data[62:78] == packed
        return data[80:86].hex(":") if is_advert else None

    return ask(asker, port, frame, answer, wait_s)


def ask(asker: Machine, port: str, frame: bytes, answer: Callable[[bytes], str | None], wait_s: float) -> str | None:
    with asker.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((port, 3))
        wire.send(frame)
        deadline = time.monotonic() + wait_s
        while (left := deadline - time.monotonic()) > 0:
            wire.settimeout(left)
            try:
                found = answer(wire.recv(2048))
            except TimeoutError:
                break
            if found:
                return found
    return None


def pings(asker: Machine, target: str) -> bool:
    command = ["ping", "-c1", "-W0.3", target]
    return asker.run(subprocess.run, command, capture_output=True, check=False).returncode == 0


def active(world: Bed) -> Gateway:
    gateway = world.gateways["gw1"]
    gateway.activate()
    time.sleep(0.05)
    return gateway


def test_only_an_advertisement_of_ours_refreshes_the_lease() -> None:
    """Our sender's mark on protocol 112 from the virtual MAC counts; a farewell, another MAC or protocol does not.

    What does not count does not leave from the virtual MAC either, as long as there is no lease.
    """

    def story() -> list[object]:
        gateway = bed().gateways["gw1"]
        mac = gateway.config.links[0].mac
        vrrp = advertisement(mac)
        seen: list[object] = []
        for frame, mark in (
            (vrrp, 0),
            (vrrp.replace(mac_bytes(mac), b"\2\0\0\0\0\1", 1), lease_short_mark(1)),
            (vrrp[:23] + b"\x11" + vrrp[24:], lease_short_mark(1)),
            (vrrp, lease_short_mark(2)),
            (vrrp, lease_short_mark(1)),
        ):
            left = gateway.send("outside", frame, mark)
            seen.append((left, sorted(gateway.nft.leases())))
        return seen

    assert in_sandbox(story) == [(False, []), (True, []), (False, []), (False, []), (True, [1])]


def test_the_last_refresh_decides_how_long_the_lease_lives() -> None:
    """A long lease becomes short, and a short one long, with the next advertisement."""

    def story() -> list[int]:
        gateway = bed().gateways["gw1"]
        long, short = lease_long_mark(1), lease_short_mark(1)

        def after(*marks: int) -> int:
            for _ in range(10):  # who looks late finds a short one over
                for mark in marks:
                    gateway.advertise("inside", mark)
                if found := gateway.nft.leases().get(1, 0):
                    return found
            return 0

        return [after(long), after(long, short), after(short, long), after(long, short)]

    long, short, long_again, short_again = in_sandbox(story)
    assert 55 * SECOND < long <= 60 * SECOND
    assert 0 < short <= 142 * MILLISECOND
    assert 55 * SECOND < long_again <= 60 * SECOND
    assert 0 < short_again <= 142 * MILLISECOND


def test_an_ipv6_advertisement_refreshes_too() -> None:
    """Protocol 112 over IPv6 from the IPv6 virtual MAC is an advertisement as well."""

    def story() -> list[int]:
        gateway = bed().gateways["gw1"]
        mac = next(link.mac for link in gateway.config.links if link.family == 6)
        source, group = ip_address("fe80::1").packed, ip_address("ff02::12").packed
        head = struct.pack("!IHBB", 0x60000000, 8, 112, 255) + source + group
        gateway.send(
            "outside",
            bytes.fromhex("333300000012") + mac_bytes(mac) + b"\x86\xdd" + head + bytes(8),
            lease_short_mark(1),
        )
        return sorted(gateway.nft.leases())

    assert in_sandbox(story) == [1]


def test_without_lease_a_node_is_silent_about_its_virtual_addresses_only() -> None:
    """ARP, ND and frames to the virtual MAC are answered with lease only; the port's own address always."""

    def story() -> tuple[dict[str, list[object]], list[object]]:
        world = bed()
        gateway = active(world)
        macs = [link.mac for link in gateway.config.links[:2]]
        answers, silence = [*macs, True, True], [None, None, False, True]

        def look() -> list[object]:
            return [
                ask_arp(world.client, "outside", VIP),
                ask_neighbour(world.client, "outside", VIP6),
                pings(world.client, VIP),
                ask_arp(world.client, "outside", "203.0.113.1") == link_address(gateway.machine, "outside"),
            ]

        seen = {"alive": ever(look, answers)}
        gateway.nft.run(revoke_lease(1))
        seen["revoked"] = ever(look, silence)
        gateway.nft.run(grant_lease(1, SECOND * 60))
        seen["granted"] = ever(look, answers)
        gateway.nft.run(revoke_lease(1))
        gateway.nft.apply(render_node(world.plan, gateway.node, lease_enabled=False).ruleset)
        seen["control"] = ever(look, answers)
        return seen, answers

    seen, answers = in_sandbox(story)
    assert seen == {
        "alive": answers,
        "revoked": [None, None, False, True],
        "granted": answers,
        "control": answers,
    }


KEPT_BACK = {"mld", "ns from ::"}


def frames_from_virtual_macs(*, gated: bool) -> set[str]:
    """What the switch hears from virtual MACs while an Active's links come up, by kind."""

    def story() -> set[str]:
        world = bed()
        gateway = world.gateways["gw1"]
        if not gated:
            gateway.nft.apply("")
        macs = {mac_bytes(link.mac) for link in gateway.config.links}
        kinds: set[str] = set()
        stop = threading.Event()
        with world.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
            wire.bind(("out-gw1", 3))
            wire.settimeout(0.1)

            def listen() -> None:
                while not stop.is_set():
                    try:
                        frame, where = wire.recvfrom(2048)
                    except TimeoutError:
                        continue
                    if where[2] != socket.PACKET_OUTGOING and frame[6:12] in macs:
                        kinds.add(kind_of(frame))

            listener = threading.Thread(target=listen)
            listener.start()
            if gated:
                gateway.activate()
            for link in gateway.config.links:
                # Another address makes the kernel join a group and say so, as after any change.
                gateway.machine.sh(f"ip link set {link.name} up")
                if link.family == 6:
                    gateway.machine.sysctl(f"net/ipv6/conf/{link.name}/accept_dad", 1)
                    gateway.machine.sysctl(f"net/ipv6/conf/{link.name}/dad_transmits", 1)
                    gateway.machine.sh(f"ip addr add 2001:db8:1::77/128 dev {link.name}")
            # Both of these are said within two seconds; without the gate, one of them is enough.
            deadline = time.monotonic() + (2.2 if gated else 10)
            while time.monotonic() < deadline and (gated or not KEPT_BACK & kinds):
                time.sleep(0.05)
            stop.set()
            listener.join()
        return kinds

    return in_sandbox(story)


def kind_of(frame: bytes) -> str:
    match frame[12:14]:
        case b"\x08\x06":
            return "arp"
        case b"\x86\xdd":
            body = frame[54:]
            if frame[20] == 0:  # hop-by-hop options: MLD
                body = body[8:]
            kind = {130: "mld", 131: "mld", 132: "mld", 143: "mld", 133: "rs", 135: "ns", 136: "na"}.get(body[0], "ip6")
            return f"{kind} from ::" if frame[22:38] == bytes(16) else kind
    return "ip4"


def test_nothing_leaves_a_virtual_mac_that_moves_the_switch_port_by_itself() -> None:
    """With the table an Active's link says gratuitous ARP and unsolicited NA, no MLD and no DAD; without, it does."""
    assert frames_from_virtual_macs(gated=True) <= {"arp", "na"}
    assert KEPT_BACK & frames_from_virtual_macs(gated=False)


def test_applying_the_ruleset_again_keeps_the_lease_and_loses_nothing() -> None:
    """Thirty times under a stream of datagrams through the gateway: every one arrives, and the lease runs on."""

    def story() -> tuple[int, int, int]:
        world = bed()
        gateway = active(world)
        with (
            world.office.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            world.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind(("203.0.113.100", 7000))
            sender.connect(("203.0.113.100", 7000))
            sender.send(b"warm")
            receiver.settimeout(1)
            receiver.recv(16)
            done = threading.Event()
            sent = arrived = 0

            def stream() -> None:
                nonlocal sent
                while not done.is_set():
                    sender.send(b"x")
                    sent += 1
                    time.sleep(0.0005)

            def count() -> None:
                nonlocal arrived
                receiver.settimeout(0.5)
                while True:
                    try:
                        receiver.recv(16)
                        arrived += 1
                    except TimeoutError:
                        if done.is_set():
                            return

            threads = [threading.Thread(target=each) for each in (stream, count)]
            for thread in threads:
                thread.start()
            for _ in range(30):
                gateway.nft.apply(gateway.config.ruleset)
            done.set()
            for thread in threads:
                thread.join()
        return sent, arrived, gateway.nft.leases()[1]

    sent, arrived, lease = in_sandbox(story)
    assert sent > 100
    assert arrived == sent
    assert 40 * SECOND < lease < 60 * SECOND


def test_a_changed_ruleset_takes_the_place_of_the_old_one_without_touching_the_lease() -> None:
    """What the old text declared and the new one does not is gone; our tables only; an empty text removes them."""

    def story() -> tuple[bool, bool, list[int], str, str]:
        world = bed()
        gateway = world.gateways["gw1"]
        gateway.nft.run("add table inet other\nadd chain inet other mine\n")
        gateway.nft.run(grant_lease(1, 60 * SECOND))
        moved = render_node(world.plan, gateway.node, {"outside": "lo"})  # type: ignore[dict-item]
        gateway.nft.apply(moved.ruleset)
        listing = gateway.nft.list_table("netdev")
        leases = sorted(gateway.nft.leases())
        gateway.nft.apply("")
        return (
            "egress_lo" in listing,
            "egress_outside" in listing,
            leases,
            gateway.nft.list_table("netdev") + gateway.nft.list_table("inet"),
            gateway.nft.run("list tables\n").strip(),
        )

    assert in_sandbox(story) == (True, False, [1], "", "table inet other")
