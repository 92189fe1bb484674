"""Each mistake that a text alone shows, in the smallest text that makes it, and beside it the text that does not."""

import pytest

from understudy.ios import oversights
from understudy.ios.hosts import meet
from understudy.ios.mistakes import Mistake, find_mistakes
from understudy.ios.model import Host
from understudy.ios.reader import read_text
from understudy.ios.texts import WARNINGS

GATEWAY = """
interface g0/0
 ip address 10.0.0.1 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.1 255.255.255.0
 ip nat outside
"""
LIST = "access-list 1 permit 10.0.0.0 0.0.0.255\n"
OVERLOAD = "ip nat inside source list 1 interface g0/1 overload\n"
STATIC = "ip nat inside source static 10.0.0.5 203.0.113.5\n"
EXEMPT = """
access-list 101 deny ip 10.0.0.0 0.0.0.255 10.0.0.0 0.255.255.255
access-list 101 permit ip 10.0.0.0 0.0.0.255 any
ip nat inside source list 101 interface g0/1 overload
"""
POOL = "ip nat pool P 203.0.113.32 203.0.113.40 prefix-length 24\n"
MAPS = """
access-list 101 permit ip 10.0.0.0 0.0.0.255 any
access-list 102 permit ip 10.0.0.0 0.0.0.127 any
route-map {first} permit 10
 match ip address 101
route-map {second} permit 10
 match ip address 102
ip nat inside source route-map {first} interface g0/1 overload
ip nat inside source route-map {second} interface g0/1 overload
"""

TWO_EXITS = """
interface g0/2
 ip address 192.0.2.1 255.255.255.0
 ip nat outside
access-list 1 permit 10.0.0.0 0.0.0.255
route-map ONE permit 10
 match ip address 1
 match interface g0/1
route-map TWO permit 10
 match ip address 1
 match interface g0/2
ip nat inside source route-map ONE interface g0/1 overload
ip nat inside source route-map TWO interface g0/2 overload
"""
PITFALLS = {
    "roles missing or on the wrong interface": ("no-inside", "no-outside", "overload-inside-interface"),
    "traffic of a VPN is translated": ("vpn-translated",),
    "a static entry ignores the exemptions": ("static-unexempted",),
    "any source: the router's own protocols": ("permit-any",),
    "stale entries after a change of the provider": ("stale-exit",),
    "hairpin": ("hairpin",),
    "a second static entry is kept in silence": ("similar-static",),
    "a pool runs dry": ("pool-short",),
    "an outside entry works one way": ("routed-inside",),
    "which address a list sees": ("list-global",),
    "two entries for one host, order of route-maps": ("two-statics", "route-map-order"),
    "private sources leak": ("inside-uncovered",),
    "ports that the router needs": ("router-port",),
}
"""What people get wrong most, and who tells them. Beyond a text: rules in use (`plan` lists their flows)."""

MADE = {
    "no-nat": "hostname edge\n",
    "nat-unread": GATEWAY + "* ip nat inside source static 10.0.0.5 203.0.113.5\n",
    "no-roles": STATIC,
    "no-inside": "interface g0/1\n ip nat outside\n!\n" + STATIC,
    "no-outside": "interface g0/0\n ip nat inside\n!\n" + STATIC,
    "role-nowhere": "R1(config-if)#ip nat inside\n",
    "role-no-address": GATEWAY.replace(" ip address 203.0.113.1 255.255.255.0\n", "")
    + "interface Dialer1\n ip address negotiated\n!\n" + STATIC,
    "overload-inside-interface": GATEWAY + LIST + "ip nat inside source list 1 interface g0/0 overload\n",
    "interface-not-outside": GATEWAY + LIST + "interface g0/2\n ip address 192.0.2.1 255.255.255.0\n!\n"
    "ip nat inside source list 1 interface g0/2 overload\n",
    "interface-undefined": GATEWAY + LIST + "ip nat inside source list 1 interface g0/7 overload\n",
    "interface-down": GATEWAY + " shutdown\n" + LIST + OVERLOAD,
    "interface-no-address": GATEWAY.replace(" ip address 203.0.113.1 255.255.255.0\n", "") + LIST + OVERLOAD,
    "list-undefined": GATEWAY + OVERLOAD,
    "list-no-permit": GATEWAY + "access-list 1 deny any\n" + OVERLOAD,
    "group-undefined": GATEWAY + "access-list 101 permit ip object-group G any\n"
    "ip nat inside source list 101 interface g0/1 overload\n",
    "pool-undefined": GATEWAY + LIST + "ip nat inside source list 1 pool P overload\n",
    "route-map-undefined": GATEWAY + "ip nat inside source route-map R interface g0/1 overload\n",
    "vrf-undefined": "vrf definition RED\n!\n" + GATEWAY
    + "ip nat inside source static 10.0.0.5 203.0.113.5 vrf BLUE\n",
    "static-unexempted": GATEWAY + EXEMPT + STATIC,
    "permit-any": GATEWAY + "access-list 1 permit any\n" + OVERLOAD,
    "similar-static": GATEWAY + STATIC + "ip nat inside source static 10.0.0.6 203.0.113.5\n",
    "said-twice": GATEWAY + LIST + OVERLOAD + OVERLOAD,
    "replaced": GATEWAY + "ip nat translation timeout 60\nip nat translation timeout 90\n",
    "nothing-to-remove": GATEWAY + "no " + STATIC,
    "overload-implied": GATEWAY + LIST + "ip nat inside source list 1 interface g0/1\n",
    "two-statics": GATEWAY + STATIC + "ip nat inside source static 10.0.0.5 203.0.113.6\n",
    "pools-overlap": GATEWAY + POOL + "ip nat pool Q 203.0.113.40 203.0.113.50 prefix-length 24\n",
    "static-in-pool": GATEWAY + POOL + "ip nat inside source static 10.0.0.5 203.0.113.33\n",
    "pool-on-interface": GATEWAY + LIST + "ip nat pool P 203.0.113.1 203.0.113.9 prefix-length 24\n"
    "ip nat inside source list 1 pool P overload\n",
    "static-on-interface": GATEWAY + "ip nat inside source static 10.0.0.5 203.0.113.1\n",
    "pool-empty": GATEWAY + "ip nat pool P 203.0.113.8 203.0.113.8 prefix-length 29\n",
    "pool-edge": GATEWAY + "ip nat pool P 203.0.113.8 203.0.113.10 prefix-length 29\n",
    "pool-split": GATEWAY + "ip nat pool P prefix-length 30\n address 203.0.113.5 203.0.113.9\n",
    "pool-no-segment": GATEWAY + "ip nat pool P prefix-length 24\n",
    "pool-short": GATEWAY + LIST + POOL + "ip nat inside source list 1 pool P\n",
    "rotary-in-source": GATEWAY + LIST + POOL.replace("\n", " type rotary\n")
    + "ip nat inside source list 1 pool P overload\n",
    "destination-plain": GATEWAY + LIST + POOL + "ip nat inside destination list 1 pool P\n",
    "rotary-udp": GATEWAY + "access-list 101 permit udp any host 203.0.113.9\n" + POOL.replace("\n", " type rotary\n")
    + "ip nat inside destination list 101 pool P\n",
    "wildcard-mask": GATEWAY + "access-list 1 permit 10.0.0.0 255.255.255.0\n" + OVERLOAD,
    "vpn-translated": GATEWAY + LIST + OVERLOAD + "access-list 110 permit ip 10.0.0.0 0.0.0.255 10.1.0.0 0.0.0.255\n"
    "crypto map VPN 10 ipsec-isakmp\n match address 110\n",
    "same-list": GATEWAY + LIST + POOL + OVERLOAD + "ip nat inside source list 1 pool P overload\n",
    "hairpin": GATEWAY + STATIC + "access-list 101 permit tcp 10.0.0.0 0.0.0.255 host 203.0.113.5 eq 80\n"
    "access-list 101 permit ip 10.0.0.0 0.0.0.255 any\nip nat inside source list 101 interface g0/1 overload\n",
    "list-global": GATEWAY + STATIC + LIST + "access-list 1 permit 203.0.113.5\n" + OVERLOAD,
    "inside-uncovered": GATEWAY + "interface g0/2\n ip address 10.0.7.1 255.255.255.0\n ip nat inside\n" + LIST
    + OVERLOAD,
    "route-map-order": GATEWAY + MAPS.format(first="ZED", second="ALPHA"),
    "router-port": GATEWAY + "ip nat inside source static tcp 10.0.0.5 22 interface g0/1 22\n",
    "stale-exit": GATEWAY + TWO_EXITS,
    "routed-inside": GATEWAY + "ip nat outside source static 198.51.100.9 10.0.0.99\n",
}  # fmt: skip
"""Warning -> a text that makes it."""

MENDED = {
    "hairpin": GATEWAY + STATIC + "access-list 101 permit tcp 10.0.0.0 0.0.0.255 host 203.0.113.6 eq 80\n"
    "access-list 101 permit ip 10.0.0.0 0.0.0.255 any\nip nat inside source list 101 interface g0/1 overload\n",
    "list-global": GATEWAY + STATIC + LIST + "access-list 1 permit 10.0.0.5\n" + OVERLOAD,
    "inside-uncovered": GATEWAY + "interface g0/2\n ip address 10.0.7.1 255.255.255.0\n ip nat inside\n" + LIST
    + "access-list 1 permit 10.0.7.0 0.0.0.255\n" + OVERLOAD,
    "route-map-order": GATEWAY + MAPS.format(first="ALPHA", second="ZED"),
    "nat-unread": GATEWAY + " description ip nat inside source static stands here\n",
    "no-roles": GATEWAY + STATIC,
    "overload-inside-interface": GATEWAY + LIST + OVERLOAD,
    "list-undefined": GATEWAY + LIST + OVERLOAD,
    "static-unexempted": GATEWAY + EXEMPT + STATIC.replace("\n", " route-map R\n")
    + "route-map R permit 10\n match ip address 101\n",
    "permit-any": GATEWAY + LIST + OVERLOAD,
    "similar-static": GATEWAY + STATIC + "no " + STATIC + "ip nat inside source static 10.0.0.6 203.0.113.5\n",
    "two-statics": GATEWAY + STATIC.replace("\n", " extendable\n")
    + "ip nat inside source static 10.0.0.5 203.0.113.6 extendable\n",
    "pools-overlap": GATEWAY + POOL + "ip nat pool Q 203.0.113.41 203.0.113.50 prefix-length 24\n",
    "pool-empty": GATEWAY + "ip nat pool P 203.0.113.9 203.0.113.9 prefix-length 29\n",
    "pool-edge": GATEWAY + "ip nat pool P 203.0.113.9 203.0.113.10 prefix-length 29\n",
    "pool-short": GATEWAY + LIST + POOL + "ip nat inside source list 1 pool P overload\n",
    "wildcard-mask": GATEWAY + LIST + OVERLOAD,
    "vpn-translated": GATEWAY + "access-list 101 deny ip 10.0.0.0 0.0.0.255 10.1.0.0 0.0.0.255\n"
    "access-list 101 permit ip 10.0.0.0 0.0.0.255 any\nip nat inside source list 101 interface g0/1 overload\n"
    "access-list 110 permit ip 10.0.0.0 0.0.0.255 10.1.0.0 0.0.0.255\n"
    "crypto map VPN 10 ipsec-isakmp\n match address 110\n",
    "nothing-to-remove": GATEWAY + STATIC + "no " + STATIC,
    "stale-exit": GATEWAY + TWO_EXITS + "event manager applet LINE-DOWN\n event track 1 state down\n"
    ' action 1.0 cli command "clear ip nat translation *"\n',
    "routed-inside": GATEWAY + "ip nat outside source static 198.51.100.9 10.0.0.99 add-route\n",
    "router-port": GATEWAY + "ip nat inside source static tcp 10.0.0.5 22 interface g0/1 2222\n",
    "no-inside": GATEWAY + STATIC,
    "no-outside": GATEWAY + STATIC,
    "interface-not-outside": GATEWAY + LIST + OVERLOAD,
    "static-in-pool": GATEWAY + POOL + "ip nat inside source static 10.0.0.5 203.0.113.31\n",
    "pool-on-interface": GATEWAY + LIST + POOL + "ip nat inside source list 1 pool P overload\n",
    "static-on-interface": GATEWAY + "ip nat inside source static tcp 10.0.0.5 80 203.0.113.1 80\n",
}  # fmt: skip
"""Warning -> a text like it that does not."""


def found(text: str) -> tuple[Mistake, ...]:
    return find_mistakes(read_text(text))


@pytest.mark.parametrize("code", sorted(MADE))
def test_a_mistake_is_told_on_its_line(code: str) -> None:
    """The warning comes, names values that stand in the text, and has its sentence in both languages."""
    told = [each for each in found(MADE[code]) if each.code == code]
    assert told
    for each in told:
        assert each.line is None or 1 <= each.line <= len(MADE[code].splitlines())
        assert each.said("en") != each.said("ko")


@pytest.mark.parametrize("code", sorted(MENDED))
def test_a_mistake_that_is_mended_is_not_told(code: str) -> None:
    """The same text without the mistake."""
    assert code not in {each.code for each in found(MENDED[code])}


def test_of_the_usual_pitfalls_at_least_twelve_are_told_and_mending_them_helps() -> None:
    """Each with a text that falls in and one like it that does not."""
    assert len(PITFALLS) >= 12
    for codes in PITFALLS.values():
        assert set(codes) <= MADE.keys() & MENDED.keys()


def test_every_warning_is_shown_by_a_text() -> None:
    """No sentence is left over, and none is missing."""
    assert set(MADE) == set(WARNINGS)


def test_a_plain_gateway_has_nothing_to_warn_of() -> None:
    """The most usual configuration of all."""
    assert found(GATEWAY + LIST + OVERLOAD + STATIC) == ()


def test_a_similar_static_carries_the_words_of_the_router() -> None:
    """With local and global address as they were given."""
    told = next(each for each in found(MADE["similar-static"]) if each.code == "similar-static")
    assert told.message == "%NAT: similar static entry (10.0.0.6 -> 203.0.113.5) in table_id 0 already exists"


def test_every_warning_is_told_in_korean() -> None:
    """None is missing, each is Korean, and both languages fill in the same values."""
    for english, korean in WARNINGS.values():
        assert any("가" <= character <= "힣" for character in korean)
        assert {part.split("}")[0] for part in english.split("{")[1:]} >= {
            part.split("}")[0] for part in korean.split("{")[1:]
        }


def test_rules_are_compared_within_one_budget_for_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each pair of rules: sixty rules with long lists that never meet would be millions of comparisons."""
    compared = 0

    def counted(one: Host, other: Host) -> bool:
        nonlocal compared
        compared += 1
        return meet(one, other)

    monkeypatch.setattr(oversights, "meet", counted)
    exits = "".join(
        f"interface g1/{n}\n ip address 192.0.2.{n} 255.255.255.255\n ip nat outside\n"
        f"ip nat inside source list {n} interface g1/{n} overload\n"
        + "".join(f"access-list {n} permit 10.{n}.{entry}.1\n" for entry in range(100))
        for n in range(1, 21)
    )
    assert "stale-exit" not in {each.code for each in found(GATEWAY + exits)}
    assert 0 < compared < 3 * oversights.COMPARED_MAX
    meeting = exits + "access-list 2 permit 10.1.0.1\n"
    assert "stale-exit" in {each.code for each in found(GATEWAY + meeting)}


def test_a_rule_for_what_leaves_by_an_interface_that_is_nowhere_is_told() -> None:
    rule = "ip nat pool P 203.0.113.9 203.0.113.9 prefix-length 24\nip nat inside source list 1 pool P overload "
    assert "interface-undefined" in {each.code for each in found(GATEWAY + LIST + rule + "egress-interface g0/9\n")}
    assert "interface-undefined" not in {each.code for each in found(GATEWAY + LIST + rule + "egress-interface g0/1\n")}
