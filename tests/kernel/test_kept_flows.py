"""What the rule set does for flows that are kept twice, on the real kernel: marks, helpers, no entries of our own."""

import contextlib
import re
import shutil
import socket
import time
from pathlib import Path

import pytest
from nft_bed import (
    INSIDE_CLIENT,
    OUTSIDE_CLIENT,
    PAIR,
    Bed,
    Flow,
    Gateway,
    bed,
    connect,
    exchange,
    in_sandbox,
    internet_checksum,
    listen,
)

from understudy.config import load_plan
from understudy.doctor.ruleset import ruleset_difference
from understudy.render import render_node
from understudy.render.flood import CHANNEL_PORT, FLOWS_PORT
from understudy.units import NodeName
from understudy.wire.marks import BINDING_SHIFT, GROUP_MASK, GROUP_SHIFT

VIP = "203.0.113.10"
KEPT = PAIR.replace(b"check: tcp", b"check: tcp\n    state: replicate").replace(
    b"to: outside}", b"to: outside, state: replicate, helpers: [ftp, tftp]}"
)
WITHOUT_MAC = KEPT.replace(b"advertise: 50ms", b"advertise: 50ms\n    vrrp: {virtual_mac: false}")

PEERS = Path(__file__).resolve().parents[2] / ".peers/root"
LIBRARIES = ":".join(str(PEERS / part / "x86_64-linux-gnu") for part in ("usr/lib", "lib"))


@pytest.fixture
def conntrack(request: pytest.FixtureRequest) -> list[str]:
    """The command: this machine's, or Debian's as scripts/peers unpacks it."""
    if found := shutil.which("conntrack"):
        return [found]
    request.getfixturevalue("peers")
    return ["env", f"LD_LIBRARY_PATH={LIBRARIES}", str(PEERS / "usr/sbin/conntrack")]


def entries(gateway: Gateway) -> list[str]:
    """What the gateway's conntrack holds, one line an entry, IPv4."""
    return gateway.machine.run(Path("/proc/thread-self/net/nf_conntrack").read_text).splitlines()


def group_of(line: str) -> int:
    found = re.search(r"mark=(\d+)", line)
    assert found is not None, line
    return (int(found[1]) & GROUP_MASK) >> GROUP_SHIFT


def world(file: bytes) -> Bed:
    built = bed(file)
    built.gateways["gw1"].activate()
    time.sleep(0.05)
    return built


def raw(machine: socket.socket, payload: bytes, target: str) -> None:
    with machine:
        machine.sendto(payload, (target, 0))


def speak_everything(built: Bed) -> None:
    """One packet of each protocol from inside to outside, through the gateway."""
    office = built.office
    with office.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(b"?", (OUTSIDE_CLIENT, 7000))
    echo = b"\x08\x00\x00\x00\x12\x34\x00\x01"
    echo = echo[:2] + internet_checksum(echo).to_bytes(2, "big") + echo[4:]
    raw(office.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), echo, OUTSIDE_CLIENT)
    raw(office.socket(socket.AF_INET, socket.SOCK_RAW, 47), b"\x00\x00\x08\x00" + bytes(20), OUTSIDE_CLIENT)
    raw(office.socket(socket.AF_INET, socket.SOCK_RAW, 132), sctp_init(), OUTSIDE_CLIENT)


def sctp_init() -> bytes:
    """Common header and INIT chunk; the checksum is CRC-32c, which the kernel looks at before it makes an entry."""
    head = (40000).to_bytes(2, "big") + (7001).to_bytes(2, "big") + bytes(4)
    chunk = b"\x01\x00\x00\x14" + (1).to_bytes(4, "big") + (65536).to_bytes(4, "big") + b"\x00\x01\x00\x01" + bytes(4)
    packet = head + bytes(4) + chunk
    return head + crc32c(packet).to_bytes(4, "little") + chunk


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("file", [KEPT, WITHOUT_MAC], ids=["virtual-mac", "port-mac"])
def test_the_rule_set_of_kept_flows_loads_and_loading_it_again_changes_nothing(file: bytes) -> None:
    """Objects and chains are what the text says, in the kernel's own words."""

    def story() -> str:
        built = bed(file)
        gateway = built.gateways["gw1"]
        gateway.nft.apply(gateway.config.ruleset)
        return gateway.machine.run(ruleset_difference, gateway.config.ruleset)

    assert in_sandbox(story) == ""


def test_a_file_without_helpers_takes_them_away() -> None:
    """From two helpers to one, and to none: what is not in the file is not in the kernel."""

    def story() -> list[str]:
        gateway = bed(KEPT).gateways["gw1"]
        seen = []
        for helpers in (b", helpers: tftp", b""):
            plan = load_plan(KEPT.replace(b", helpers: [ftp, tftp]", helpers))
            wanted = render_node(plan, NodeName("gw1")).ruleset
            gateway.nft.apply(wanted)
            seen.append(gateway.machine.run(ruleset_difference, wanted))
        return seen

    assert in_sandbox(story) == ["", ""]


def test_every_translated_protocol_has_the_groups_number() -> None:
    """TCP, UDP, ICMP, GRE and SCTP through source NAT."""

    def story() -> dict[str, set[int]]:
        built = world(KEPT)
        listener = listen(built.client, "0.0.0.0", 9000)
        assert len(connect(built.office, (OUTSIDE_CLIENT, 9000), [listener], 3)) == 3
        speak_everything(built)
        time.sleep(0.1)
        seen: dict[str, set[int]] = {}
        for line in entries(built.gateways["gw1"]):
            if f"src={INSIDE_CLIENT}" in line:
                assert f"dst={VIP}" in line, line
                seen.setdefault(line.split()[2], set()).add(group_of(line))
        return seen

    assert in_sandbox(story) == {name: {1} for name in ("tcp", "udp", "icmp", "gre", "sctp")}


@pytest.mark.parametrize(
    ("file", "number"), [(KEPT, 1), (WITHOUT_MAC, 1), (PAIR, 0)], ids=["virtual-mac", "port-mac", "stateless"]
)
def test_what_is_merely_routed_for_a_group_has_its_number_too(file: bytes, number: int) -> None:
    """From outside to an inside address: nobody translates it. Of a file that keeps nothing it has none."""

    def story() -> tuple[int, set[int]]:
        built = world(file)
        listener = listen(built.machines["office"], "0.0.0.0", 9000)
        flows = connect(built.client, (INSIDE_CLIENT, 9000), [listener], 3)
        lines = [line for line in entries(built.gateways["gw1"]) if f"dst={INSIDE_CLIENT}" in line]
        return len(flows), {group_of(line) for line in lines}

    assert in_sandbox(story) == (3, {number})


def test_the_nodes_own_talk_has_no_entries_or_no_number() -> None:
    """Datagrams between the nodes' channel ports leave no entry; others do, without a group."""

    def story() -> tuple[list[str], set[int]]:
        built = world(KEPT)
        first, second = built.machines["gw1"], built.machines["gw2"]
        for port in (CHANNEL_PORT, FLOWS_PORT, 5000):
            with (
                first.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
                second.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
            ):
                here.bind(("10.9.0.1", port))
                there.bind(("10.9.0.2", port))
                there.settimeout(2)
                here.sendto(b"?", ("10.9.0.2", port))
                assert there.recv(16) == b"?"
        lines = [line for gateway in built.gateways.values() for line in entries(gateway) if " udp " in line]
        return re.findall(r"dport=(\d+)", " ".join(lines)), {group_of(line) for line in lines}

    ports, groups = in_sandbox(story)
    assert set(ports) == {"5000"}
    assert groups == {0}


def test_a_named_helper_reads_control_connections_and_no_others() -> None:
    """With it an active transfer's address is translated in the line and the transfer comes through; else neither."""

    without = KEPT.replace(b", helpers: [ftp, tftp]", b"")
    assert in_sandbox(lambda: active_transfer(world(KEPT))) == (b"PORT 203,0,113,10,195,87\r\n", OUTSIDE_CLIENT, {1})
    assert in_sandbox(lambda: active_transfer(world(without))) == (b"PORT 10,9,0,50,195,87\r\n", "nothing", set())


def active_transfer(built: Bed) -> tuple[bytes, str, set[int]]:
    """What the server reads of a client's PORT, whom the client's data socket hears then, and that flow's group."""
    listener = listen(built.client, "0.0.0.0", 21)
    (control,) = connect(built.office, (OUTSIDE_CLIENT, 21), [listener], 1)
    with (
        built.office.socket(socket.AF_INET, socket.SOCK_STREAM) as data,
        built.client.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
    ):
        data.bind((INSIDE_CLIENT, 50007))
        data.listen()
        data.settimeout(2)
        server.setblocking(False)
        control.server.setblocking(True)
        control.server.settimeout(2)
        control.client.send(b"USER us\r\n")  # a line before it: the helper looks behind line ends only
        assert control.server.recv(100) == b"USER us\r\n"
        control.client.send(b"PORT 10,9,0,50,195,87\r\n")
        heard = control.server.recv(100)
        with contextlib.suppress(BlockingIOError):
            server.connect((VIP, 50007))
        try:
            _, (address, _) = data.accept()
        except TimeoutError:
            address = "nothing"
        data_flow = [
            line
            for line in entries(built.gateways["gw1"])
            if f"src={INSIDE_CLIENT}" in line and " sport=50007 " in line
        ]
    return heard, address, {group_of(line) for line in data_flow}


@pytest.mark.parametrize("written", [True, False], ids=["written", "control"])
def test_a_flow_that_was_written_into_the_successor_goes_on_whoever_speaks_first(
    written: bool, conntrack: list[str]
) -> None:
    """Balanced and translated TCP with `tcp_loose=0`: every chain lets its packets pass. Without the entries, none."""

    def story() -> list[tuple[int, int]]:
        built = world(KEPT)
        servers = [listen(built.machines[name], "0.0.0.0", 8080) for name in ("web1", "web2", "web3")]
        outside = listen(built.client, "0.0.0.0", 9000)
        balanced = connect(built.client, (VIP, 80), servers, 10)
        translated = connect(built.office, (OUTSIDE_CLIENT, 9000), [outside], 10)
        old, new = built.gateways["gw1"], built.gateways["gw2"]
        new.machine.sysctl("net/netfilter/nf_conntrack_tcp_loose", 0)
        for flow in balanced if written else []:
            write_flow(
                conntrack, new, flow, VIP, "dst-nat", "{}:{}".format(*flow.server.getsockname()), own_mark(flow, built)
            )
        for flow in translated if written else []:
            write_flow(conntrack, new, flow, OUTSIDE_CLIENT, "src-nat", VIP, 1 << GROUP_SHIFT)
        new.activate()
        old.deactivate()
        new.activate()
        return [
            exchange(flows, server_first=first, timeout_s=5 if written else 0.5)
            for first in (True, False)
            for flows in (balanced, translated)
        ]

    assert in_sandbox(story) == [(10, 0) if written else (0, 0)] * 4


def own_mark(flow: Flow, built: Bed) -> int:
    address = flow.server.getsockname()[0]
    (binding,) = [
        server.binding
        for server in built.plan.services[0].servers
        if address in {str(each) for each in server.addresses}
    ]
    return binding << BINDING_SHIFT | 1 << GROUP_SHIFT


def write_flow(command: list[str], gateway: Gateway, flow: Flow, target: str, kind: str, to: str, mark: int) -> None:
    """One established entry, as a client of `target` made it."""
    source, sport = flow.client.getsockname()
    port = flow.client.getpeername()[1]
    gateway.machine.output(
        f"{' '.join(command)} -I -p tcp -s {source} --sport {sport} -d {target} --dport {port} --{kind} {to} "
        f"--state ESTABLISHED -u SEEN_REPLY,ASSURED -t 300 -m {mark}"
    )
