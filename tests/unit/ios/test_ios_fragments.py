"""Pieces of configurations that routers take: nothing of them is refused, and what is printed reads the same."""

import pytest

from understudy.ios.lines import Fault, Kind
from understudy.ios.printer import print_configuration
from understudy.ios.reader import read_bytes, read_text

GATEWAY = "interface g0/0\n ip nat inside\ninterface g0/1\n ip nat outside\n"

TAKEN = {
    "limits": "ip nat translation max-entries 3000\nip nat translation max-entries all-host 5\n"
    "ip nat translation max-entries all-vrf 7\nip nat translation max-entries vrf RED 9\n"
    "ip nat translation max-entries redundancy 1 50\nip nat translation port-timeout udp 53 never\n",
    "services": "no ip nat service netbios-ns tcp\nno ip nat service netbios-ns udp\nno ip nat service alg udp dns\n"
    "ip nat service mgcp tcp port 2427\nip nat service allow-sip-even-rtp-ports\nip nat service enable-sym-port\n"
    "ip nat service list 10 IKE preserve-port\nno ip nat service sip tcp port 5060\n",
    "settings": "no ip nat settings support mapping outside\nno ip nat settings gatekeeper-size\n"
    "ip nat settings pap limit 30 bpa set-size 512 step-size 8 single-set\n"
    "ip nat settings pool watermark high 8 low 5\n"
    "ip nat settings interface-overload block port tcp 8443\nip nat settings redundancy optimized-data-sync\n",
    "log": "ip nat log translations flow-export v9 udp destination 10.0.0.1 1020 bind-only\n"
    "ip nat log translations flow-export v9 vrf-name global on\nip nat log translations syslog bind-only\n",
    "egress": "ip nat inside source static 10.0.0.6 203.0.113.6 vrf 1 egress-interface GigabitEthernet1\n"
    "ip nat inside source static tcp 10.0.0.6 22 203.0.113.7 22 egress-interface Gi1 extendable\n",
    "redundancy": "ip nat inside source static 10.0.0.10 203.0.113.30 redundancy 1 mapping-id 120\n"
    "ip nat inside source static 10.0.0.11 203.0.113.31 route-map RM redundancy HSRP1\n"
    "ip nat inside source static 10.0.0.12 203.0.113.32 stateless no-payload no-alias extendable\n"
    "ip nat pool P 203.0.113.1 203.0.113.9 prefix-length 24\n"
    "ip nat inside source list 1 pool P redundancy 1 mapping-id 121 overload\n"
    "ip nat inside destination list 3 pool P redundancy 1 mapping-id 125\n",
    "reflexive": "ip access-list extended N\n permit tcp any any reflect R\n evaluate R\n"
    " permit ip 10.0.0.0 0.0.0.255 any\n"
    "ip nat inside source list N interface g0/1 overload\n",
    "abbreviated": "ip nat po P 203.0.113.1 203.0.113.9 pre 24\nip nat in so li 1 po P ov\n"
    "access-l 1 per 10.0.0.0 0.0.0.255\n"
    "ip nat tr tcp 600\n",
    "session": "R1>en\nR1#conf t\nR1(config)#int g0/0\nR1(config-if)#ip nat in\nR1(config)#do sh ip nat tr\n"
    "*Mar  1 00:00:01.000: %SYS-5-CONFIG_I: Configured\nR1#\n",
    "included": "R1#show running-config | include nat\n ip nat outside\n ip nat inside\n"
    "ip nat inside source static 10.0.0.5 203.0.113.5\n",
    "banner": "banner login #\nip nat nonsense\nwhatever #\n" + GATEWAY,
    "one-line-banner": "banner exec # ip nat nonsense #\n" + GATEWAY,
    "pager": GATEWAY + " --More-- \x08\x08\x08ip nat inside source static 10.0.0.5 203.0.113.5\n",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_piece_is_taken_whole(name: str) -> None:
    """With line ends of any kind, and again from what was printed."""
    for text in (TAKEN[name], TAKEN[name].replace("\n", "\r\n")):
        reading = read_bytes(text.encode())
        assert [(line.text, line.refusal) for line in reading.refused] == []
        assert any(line.kind is Kind.NAT for line in reading.lines)
        printed = print_configuration(reading.configuration)
        again = read_text(printed)
        assert again.configuration == reading.configuration
        assert print_configuration(again.configuration) == printed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ip nat inside source list 1 interface Gigab", "expected the number of the GigabitEthernet"),
        ("ip nat pool P 203.0.113.1 203.0.113.9 netmask 255.255.2", "an IPv4 address has four numbers"),
        ("ip nat inside source static tcp 10.0.0.5 80 203.0.", "an IPv4 address has four numbers"),
        ("ip nat inside source static 10.0.0.5", "expected interface or an IPv4 address"),
    ],
)
def test_half_a_file_is_refused_where_it_ends(text: str, reason: str) -> None:
    """The lines before it count."""
    reading = read_bytes((GATEWAY + text).encode())
    (line,) = reading.refused
    assert line.number == 5
    assert line.refusal is not None
    assert line.refusal.fault is Fault.SYNTAX
    assert reason in line.refusal.reason
    assert len(reading.configuration.interfaces) == 2


def test_a_role_that_stands_nowhere_is_told_and_a_bare_one_refused() -> None:
    """Indented, its interface was cut away; at the margin, it is half a command."""
    reading = read_text(" ip nat inside\nip nat inside\n")
    assert [line.note.code for line in reading.lines if line.note is not None] == ["role-nowhere"]
    assert [line.number for line in reading.refused] == [2]


def test_a_text_in_utf_16_is_read() -> None:
    """As terminals of Windows save it."""
    reading = read_bytes(GATEWAY.encode("utf-16"))
    assert len(reading.configuration.interfaces) == 2
