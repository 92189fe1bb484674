"""Write the seeds of the corpus: small, one for each shape that a reader knows. `python fuzz/seeds.py`."""

import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import yaml

from understudy.ios.layout import print_translations
from understudy.ios.show import Endpoint
from understudy.ios.translations import Kind, Translation
from understudy.units import Priority, Vrid
from understudy.wire import arp, frame, ndp
from understudy.wire.conntrack import Flow, Sequence, Tcp, Tuple
from understudy.wire.conntrack import build as build_flow
from understudy.wire.heartbeat import Body, GroupState, Hears, LanState, Lease, Phase, Reach, Role, encode, encode_body
from understudy.wire.vrrp import GROUP_IPV4, GROUP_IPV6, Advertisement, advertisement_frame, virtual_link_local
from understudy.wire.vrrp import encode as encode_vrrp

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAC = bytes.fromhex("020000000001")
V4, V6 = IPv4Address("192.0.2.1"), IPv6Address("fe80::1")


def seeds() -> dict[str, dict[str, bytes]]:
    one = Advertisement(Vrid(31), Priority(150), 10, (V4,), 4)
    many = Advertisement(Vrid(1), Priority(0), 4095, tuple(V4 + i for i in range(5)), 4)
    two = Advertisement(Vrid(31), Priority(150), 100, (V4,), 4, version=2)
    six = Advertisement(Vrid(31), Priority(255), 100, (virtual_link_local(Vrid(31)), IPv6Address("2001:db8::1")), 6)
    state = GroupState(1, Role.ACTIVE, Phase.OFFERING, 2, Lease.SHORT, 7, 292_000_000, 3)
    lans = (LanState(0, Reach.REACHED, (V4, V6), Hears.YES), LanState(1, Reach.DOWN, (), Hears.NO))
    body = Body(bytes(16), True, False, lans, (state,))
    solicited = ndp.NeighborAdvertisement(V6, MAC, router=True, solicited=False, override=True)
    tcp = Flow(
        Tuple(V4, V4 + 1, 6, 4711, 80), Tuple(V4 + 1, V4 + 2, 6, 80, 20001), 0x19E, 432000, 1024, Tcp(3, 7, 7, 3, 3)
    )
    ping = Flow(Tuple(V6, V6 + 1, 58, 9, 0, 128), Tuple(V6 + 1, V6, 58, 9, 0, 129), 0x18A, 30, 1024)
    helped = replace(
        tcp, zone=7, labels=bytes(16), helper="ftp", master=tcp.original, sequences=(Sequence(1, 0, 3), None)
    )
    examples = sorted((ROOT / "examples").glob("*.yaml"))
    cases = sorted((ROOT / "examples/nat").glob("*.yaml"))
    ends = (Endpoint("203.0.113.5", 80), Endpoint("10.9.0.5", 8080), Endpoint("198.51.100.9", 7), None)
    rows = (Translation("tcp", *ends, Kind.FLOW), Translation(None, *ends[:2], None, None, Kind.SIMPLE))
    return {
        "vrrp": {
            "v3": encode_vrrp(one, V4, GROUP_IPV4),
            "v3-pseudo": encode_vrrp(one, V4, GROUP_IPV4, pseudo_header=True),
            "v3-many": encode_vrrp(many, V4, GROUP_IPV4) + bytes(28),
            "v2": encode_vrrp(two, V4, GROUP_IPV4),
            "v3-ipv6": encode_vrrp(six, V6, GROUP_IPV6),
        },
        "vrrp-frame": {
            "ipv4": advertisement_frame(one, V4, MAC),
            "ipv6": advertisement_frame(six, V6, MAC),
            "v2": advertisement_frame(two, V4, MAC),
        },
        "frame": {
            "ipv4": frame.ethernet_frame(MAC, MAC, 0x0800, frame.ip_packet(V4, V4, 17, b"payload") + bytes(9)),
            "ipv6": frame.ethernet_frame(MAC, MAC, 0x86DD, frame.ip_packet(V6, V6, 17, b"payload")),
        },
        "arp": {
            "gratuitous": arp.gratuitous_frame(V4, MAC),
            "reply": arp.gratuitous_frame(V4, MAC, reply=True),
            "request": arp.request_frame(V4, V4 + 1, MAC),
        },
        "ndp": {
            "advertisement": ndp.unsolicited_advertisement_frame(V6, MAC),
            "solicitation": ndp.solicitation_frame(V6, V6 + 1, MAC),
            "unspecified": ndp.solicitation_frame(V6, ndp.UNSPECIFIED, MAC),
            "message": ndp.unsolicited_advertisement_frame(V6, MAC)[54:],
            "bare": frame.multicast_frame(
                V6, MAC, ndp.ALL_NODES, 58, ndp.encode_advertisement(solicited, V6, ndp.ALL_NODES)
            ),
        },
        "heartbeat": {
            "full": encode(1, 7, 9, encode_body(body)),
            "bare": encode(2, 1, 1, encode_body(Body(bytes(16), False, True, (), ()))),
        },
        "flow": {
            "tcp": build_flow(tcp),
            "icmpv6": build_flow(ping),
            "helped": build_flow(helped),
            "gre": build_flow(
                replace(tcp, original=replace(tcp.original, protocol=47), reply=replace(tcp.reply, protocol=47))
            ),
            "esp": build_flow(Flow(Tuple(V4, V4 + 1, 50), Tuple(V4 + 1, V4, 50), mark=1024)),
        },
        "channel": {
            "flip": b"\0\x30\x01",
            "sender": b"\0\x08\x02",
            "epoch": b"\0\x0f\x09",
            "cut": b"\x28",
            "tail": b"ab",
        },
        "config": {path.name: path.read_bytes() for path in examples if path.stat().st_size < 4000},
        "ios": {
            **{path.stem: case.encode() for path in cases for case in _configurations(path)[:1]},
            "session": b"R1(config)#int g0/0\r\nR1(config-if)#ip nat ins\r\nR1#sh ip nat tr\r\n",
            "template": b"ip nat inside source static <inside-ip> x.x.x.x\n! ip nat pool P [FIRST] LAST\n",
            "diff": b"@@ -1,2 +1,2 @@\n-ip nat pool P 10.0.0.1 10.0.0.9 prefix 24\n+no ip nat pool P\n",
            "banner": b"banner motd ^C\nip nat\n^C\nvrf definition RED\nip route vrf RED 0.0.0.0 0.0.0.0 10.0.0.1\n",
        },
        "ios-show": {
            "translations": print_translations(rows, "A").encode(),
            "verbose": print_translations(rows, "C", verbose=True).encode(),
            "statistics": b"Total active translations: 2 (1 static, 1 dynamic; 1 extended)\nOutside interfaces:\n"
            b"  Gi0/1\nInside interfaces: \n  Gi0/0\nHits: 3  Misses: 0\nDynamic mappings:\n-- Inside Source\n"
            b"[Id: 1] access-list 1 pool P refcount 1\n pool P: netmask 255.255.255.0\n"
            b"\tstart 10.0.0.1 end 10.0.0.9\n\ttype generic, total addresses 9, allocated 1 (11%), misses 0\n",
            "no-pool": b"Total active translations: 0 (0 static, 0 dynamic; 0 extended)\nDynamic mappings:\n"
            b" po\xff: netmask 255.255.255.0\n\tstart 10.0.0.1 end 10.0.0.9\n",
            "no-total": b"Pro Inside global Inside local Outside local Outside global\nTotal number of translations: "
            + b"9" * 5000,
        },
        "journal": {
            "moved": b'{"t":1,"node":"gw1","kind":"moved","group":"edge","old":"backup","new":"active"}',
            "torn": b'{"t":1,"node":"gw1","ki',
        },
        "control": {
            "status": b'{"command": "status"}\n',
            "switchover": b'{"command": "switchover", "group": "edge"}\n',
            "two": b'{"command": "status"}\n{"command": "status"}\n',
            "half": b'{"command": "sta',
        },
    }


def _configurations(path: Path) -> list[str]:
    return [case["config"] for case in yaml.safe_load(path.read_text())["cases"]]


def main() -> int:
    for target, found in seeds().items():
        place = HERE / "corpus" / target
        place.mkdir(parents=True, exist_ok=True)
        for name, data in found.items():
            (place / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
