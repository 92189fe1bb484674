"""Flows of real traffic through one gateway, written into another kernel: what is listed there is what was here."""

import contextlib
import os
import socket
from dataclasses import replace

import pytest
from flow_bed import CLIENT, GROUP, INSIDE, MARK, OUTSIDE, SERVER, SERVER6, Kernel, Nat
from nft_bed import in_sandbox

from understudy.adapters.conntrack import FlowTable
from understudy.adapters.conntrack_tries import NOT_SHARED
from understudy.core.replication.events import Kind
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow, Tcp, requests

GRE, ESP = 47, 50
LIBERAL = 0x08
FIXED = 0x400
"""Of the status: what GRE's copies have, for packets not to end them."""
TOLD_ONCE = 0x10 | 0x20 | 0x40
"""TCP flags of what one kernel has seen: they stay where they are."""


def without_drift(flow: Flow) -> Flow:
    """An entry without what a copy has otherwise: how long it holds, and how TCP's windows are judged."""
    tcp = flow.tcp
    if tcp is not None:
        kept = (each & ~LIBERAL & ~TOLD_ONCE for each in (tcp.flags_original, tcp.flags_reply))
        tcp = Tcp(tcp.state, tcp.scale_original, tcp.scale_reply, *kept)
    return replace(flow, status=(flow.status or 0) & ~FIXED, timeout=None, tcp=tcp)


def both(nat: Nat) -> tuple[dict[bytes, Flow], dict[bytes, Flow]]:
    """What the two kernels list, but for the drift."""
    here, there = (
        {who: without_drift(flow) for who, flow in each.flows().items()} for each in (nat.gateway, nat.replica)
    )
    return here, there


def only(flows: dict[bytes, Flow]) -> Flow:
    (flow,) = flows.values()
    return flow


def raw_exchange(nat: Nat, protocol: int, payload: bytes) -> None:
    """A packet of a protocol from the client to the server, and one back to whom it seems to come from."""
    with (
        nat.client.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as client,
        nat.server.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as server,
    ):
        client.settimeout(3)
        server.settimeout(3)
        client.sendto(payload, (SERVER, 0))
        _, (address, _) = server.recvfrom(256)
        assert address == OUTSIDE
        server.sendto(payload, (address, 0))
        client.recv(256)


@pytest.mark.parametrize(
    ("address", "port", "listen", "translated"),
    [(SERVER, 80, SERVER, 0x10), (INSIDE, 8080, SERVER, 0x30), (SERVER6, 80, SERVER6, 0x10)],
    ids=["source", "both", "ipv6"],
)
def test_a_tcp_connection_is_the_same_in_the_other_kernel(
    address: str, port: int, listen: str, translated: int
) -> None:
    """Tuples, translation, status, mark, state, window scale; the copy is liberal, holds, and follows to its end."""

    def story() -> None:
        nat = Nat()
        with nat.tcp(address, port, listen) as pair:
            assert nat.copy() == 0
            here, there = both(nat)
            assert here == there
            flow = only(nat.replica.flows())
            assert flow.status is not None
            assert flow.status & 0x30 == translated
            assert flow.tcp is not None
            assert (flow.tcp.state, flow.mark) == (3, MARK)
            assert flow.tcp.scale_original > 0 < flow.tcp.scale_reply
            assert flow.tcp.flags_original & flow.tcp.flags_reply & LIBERAL
            assert (flow.timeout or 0) > conntrack.UNTOUCHED_S
            pair.inner.shutdown(socket.SHUT_WR)
            assert pair.outer.recv(1) == b""
            nat.gateway.await_records(lambda found: bool(nat.replica.table.write(found)) or bool(found))
            here, there = both(nat)
            assert here == there
            assert only(there).tcp != only({b"": without_drift(flow)}).tcp
            nat.gateway.machine.sh("conntrack -F")
            nat.gateway.await_records(
                lambda found: any(kind is Kind.GONE for kind, _ in found) and nat.replica.table.write(found) == 0
            )
            assert nat.replica.flows() == {}

    in_sandbox(story)


def test_the_copy_carries_the_connection() -> None:
    """The proof of it: the other kernel takes the gateway's links, and the connection goes on, with large segments."""

    def story() -> None:
        nat = Nat()
        with nat.tcp(INSIDE, 8080) as pair:
            assert nat.copy() == 0
            move(nat)
            for sender, receiver in ((pair.outer, pair.inner), (pair.inner, pair.outer)):
                sender.sendall(bytes(200_000))
                left = 200_000
                while left:
                    left -= len(receiver.recv(1 << 16))

    in_sandbox(story)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_copy_of_a_tunnel_outlives_its_packets(fixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The far side of a GRE tunnel speaks, and nobody inside: packets arrive. Without a fixed timeout, the control, the
    first one at most. Written once more, the copy is still one.
    """
    if not fixed:
        monkeypatch.setattr(requests, "_FIXED", requests._CREATED)

    def story() -> None:
        nat = Nat()
        header = bytes.fromhex("00000800")
        raw_exchange(nat, GRE, header + bytes(20))
        records = nat.gateway.records()
        assert nat.replica.table.write(records) == 0
        move(nat)
        arrived = []
        with (
            nat.client.socket(socket.AF_INET, socket.SOCK_RAW, GRE) as client,
            nat.server.socket(socket.AF_INET, socket.SOCK_RAW, GRE) as server,
        ):
            client.settimeout(0.2)
            for number in range(10):
                server.sendto(header + bytes([number]) * 20, (OUTSIDE, 0))
                with contextlib.suppress(TimeoutError):
                    arrived.append(client.recv(256)[-1])
        assert len(arrived) >= 5 if fixed else len(arrived) <= 1
        if fixed:
            assert nat.replica.table.write(records) == 0
            assert len(nat.replica.listed()) == 1
            assert list(nat.replica.table.renew({GROUP})) is not None  # it is refused that, and nothing breaks
            assert len(nat.replica.listed()) == 1

    in_sandbox(story)


def test_without_the_copy_the_connection_does_not_go_on() -> None:
    """Control of the above."""

    def story() -> None:
        nat = Nat()
        with nat.tcp(INSIDE, 8080) as pair:
            move(nat)
            pair.outer.sendall(b"?")
            pair.inner.settimeout(0.5)
            with pytest.raises(OSError):
                pair.inner.recv(1)

    in_sandbox(story)


def move(nat: Nat) -> None:
    """The gateway's links with all their addresses go to the replica, which has hooks and not a single translation."""
    old, new = nat.gateway.machine, nat.replica.machine
    new.sysctl("net/ipv4/ip_forward", 1)
    # Known flows are translated in the hooks of nat chains, and tracked where a rule asks for it.
    nat.replica.rules(
        """
        add table inet t
        add chain inet t there { type nat hook prerouting priority -100; }
        add chain inet t here { type nat hook postrouting priority 100; }
        add rule inet t here ct state established accept
        """
    )
    for link, address in (("inside", f"{INSIDE}/24"), ("outside", f"{OUTSIDE}/24")):
        mac = old.output(f"ip -br link show {link}").split()[2]
        old.sh(f"ip link set {link} netns /proc/{os.getpid()}/fd/{new.fd}")
        new.sh(f"ip link set {link} address {mac}\nip addr add {address} dev {link}\nip link set {link} up")


def test_datagrams_pings_and_tunnels_are_copied() -> None:
    """UDP before and after an answer, ICMP, ICMPv6, GRE, and a protocol that the kernel knows by number only."""

    def story() -> None:
        nat = Nat()
        with (
            nat.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
            nat.client.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client6,
            nat.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        ):
            server.bind((SERVER, 53))
            for end in (client, server):
                end.settimeout(3)
            client.sendto(b"?", (SERVER, 53))
            client6.sendto(b"?", (SERVER6, 53))
            _, back = server.recvfrom(16)
            assert back[0] == OUTSIDE
            assert nat.replica.table.write(nat.gateway.await_records(lambda found: len(found) >= 2)) == 0
            here, there = both(nat)
            assert here == there
            assert len(there) == 2
            server.sendto(b"!", back)
            client.recv(16)
        nat.client.sh(f"ping -c 1 -W 2 {SERVER}\nping -6 -c 1 -W 2 {SERVER6}")
        raw_exchange(nat, GRE, bytes.fromhex("00000800") + bytes(20))
        raw_exchange(nat, ESP, bytes(16))
        assert nat.copy() == 0
        here, there = both(nat)
        assert here == there
        assert sorted(flow.original.protocol for flow in there.values()) == [1, 17, 17, 47, 50, 58]
        assert all((flow.status or 0) & 0x10 for flow in there.values())

    in_sandbox(story)


@pytest.mark.parametrize("zone", ["ct zone set 7", "ct original zone set 7"])
def test_labels_and_zones_are_copied(zone: str) -> None:
    """A flow in a zone, both ways or one, with labels that its first packet got and its later ones do not repeat."""

    def story() -> None:
        chain = "add chain inet t raw { type filter hook prerouting priority -300; }"
        links = "iif inside" if "original" in zone else "iif { inside, outside }"
        nat = Nat(chain, f"add rule inet t raw {links} {zone}", "add rule inet t ours ct label set 5")
        # The kernel has room for labels where a rule speaks of them: the file is the same on both nodes.
        nat.replica.rules("add table inet t\nadd chain inet t any\nadd rule inet t any ct label set 5")
        with nat.tcp():
            assert nat.copy() == 0
            here, there = both(nat)
            assert here == there
            assert only(there).labels == bytes((32,)) + bytes(15)
            assert 7 in (only(there).zone, only(there).original.zone)
            (raw,) = nat.replica.listed()
            assert nat.replica.table.delete(raw)
            assert nat.replica.flows() == {}

    in_sandbox(story)


@pytest.mark.usefixtures("helpers")
def test_ftp_goes_on_in_the_other_kernel() -> None:
    """The helper, the expectation of an active transfer, sequence numbers, then the related flow with its master."""

    def story() -> None:
        nat = Nat(
            'add ct helper inet t ftp { type "ftp" protocol tcp; }',
            "add chain inet t help { type filter hook prerouting priority 0; }",
            'add rule inet t help tcp dport 21 ct helper set "ftp"',
        )
        with nat.tcp(SERVER, 21) as pair, nat.client.socket(socket.AF_INET, socket.SOCK_STREAM) as data:
            data.bind((CLIENT, 0))
            data.listen()
            data.settimeout(3)
            port = data.getsockname()[1]
            pair.outer.sendall(b"220 ready\r\n")
            pair.inner.recv(64)
            pair.inner.sendall(f"PORT {CLIENT.replace('.', ',')},{port >> 8},{port & 255}\r\n".encode())
            words = pair.outer.recv(64).decode().split()[1].split(",")
            assert ".".join(words[:4]) == OUTSIDE
            records = nat.gateway.await_records(lambda found: any(kind is Kind.EXPECTED for kind, _ in found))
            assert nat.replica.table.write(records) == 0
            expected = [
                [conntrack.expectation(raw) for part in each.table.expectations() for raw in part]
                for each in (nat.gateway, nat.replica)
            ]
            assert expected[0] == expected[1] != []
            assert nat.replica.table.write(records[-1:]) == 0  # once more is no harm
            (announced,) = (raw for kind, raw in records if kind is Kind.EXPECTED)
            stranger: FlowTable = nat.replica.machine.run(lambda: FlowTable(groups={GROUP + 1}))
            assert stranger.write([(Kind.UNEXPECTED, announced)]) == 1  # its master is not of that group
            assert expected[1] == [
                conntrack.expectation(raw) for part in nat.replica.table.expectations() for raw in part
            ]
            assert nat.replica.table.write([(Kind.UNEXPECTED, announced)]) == 0
            assert stranger.write([(Kind.EXPECTED, announced)]) == 1
            assert [part for part in nat.replica.table.expectations() if part] == []
            assert nat.replica.table.write([(Kind.EXPECTED, announced)]) == 0
            assert stranger.refusals == {NOT_SHARED: 2}
            # A third kernel that hears of it only later, from what stands: the master, then the expectation.
            late = Kernel("late")
            standing = nat.gateway.table.recall({GROUP})
            assert [kind for kind, _ in standing] == [Kind.CHANGED, Kind.EXPECTED]
            assert nat.gateway.table.recall({GROUP + 1}) == []
            assert late.table.write(standing) == 0
            found = [conntrack.expectation(raw) for part in late.table.expectations() for raw in part]
            assert found == expected[0]
            here, there = both(nat)
            assert only(here).helper == only(there).helper == "ftp"
            with nat.server.socket(socket.AF_INET, socket.SOCK_STREAM) as active:
                active.settimeout(3)
                active.connect((OUTSIDE, int(words[4]) << 8 | int(words[5])))
                data.accept()[0].close()
                records = nat.gateway.await_records(lambda found: any(kind is Kind.UNEXPECTED for kind, _ in found))
                assert nat.replica.table.write(records) == 0
                assert nat.copy() == 0
                here, there = both(nat)
                assert here == there
                assert len(there) == 2
                assert [flow.master for flow in there.values() if flow.master] == [
                    flow.original for flow in there.values() if flow.helper
                ]
            assert [part for part in nat.replica.table.expectations() if part] == []

    in_sandbox(story)
