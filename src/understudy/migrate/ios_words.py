"""What becomes of a router's lines that are not NAT and stand where the pair will stand: a sentence a row.

Only lines of interfaces that the pair takes over, and the few global ones that a router needs to forward, are told. All
else of a running configuration (users, SNMP, lines, clocks) is no concern of the pair and is counted alone.
"""

from understudy.migrate.words import Verdict, differs, kept, left_out

NETWORK = kept("a network of the file", "파일의 네트워크")
VIRTUAL = kept("the group's address", "그룹의 주소")
OWN = kept("the node's own address", "노드 자신의 주소")
_FILTER = left_out(
    "packet filters stay with you: a table of your own in nftables, on both nodes",
    "패킷 필터는 가져오지 않습니다: 두 노드의 nftables에 따로 두십시오",
)
_ROUTING = left_out(
    "routing stays with you: the same routes, or the same routing daemon, on both nodes",
    "라우팅은 가져오지 않습니다: 두 노드에 같은 경로나 라우팅 데몬을 두십시오",
)
_VPN = left_out(
    "a VPN's packets are to be exempted by a `deny` in the list, the VPN itself is another program's",
    "VPN 자체는 다른 프로그램의 일이며 NAT 리스트에서 `deny`로 제외해야 합니다",
)
_DHCP = left_out(
    "leases are another program's: a DHCP server or relay on both nodes",
    "DHCP는 다른 프로그램의 일입니다: 두 노드에 DHCP 서버나 릴레이를 두십시오",
)
_LINE = left_out(
    "the line itself (PPP, PPPoE, cellular) has one end: put a router with an Ethernet port before the pair",
    "회선(PPP, PPPoE, 셀룰러)의 끝은 하나입니다: 쌍 앞에 이더넷 라우터를 두십시오",
)
_MSS = left_out(
    "set it in a table of your own: `tcp flags syn tcp option maxseg size set rt mtu`",
    "nftables에 직접 두십시오: `tcp flags syn tcp option maxseg size set rt mtu`",
)
_SIX = left_out(
    "IPv6 is not read: add a second prefix and second addresses to the network",
    "IPv6는 읽지 않습니다: 네트워크에 둘째 프리픽스와 주소를 더하십시오",
)
_HSRP = kept("the pair's own redundancy takes its place", "이 쌍의 이중화가 대신합니다")
_TRACKED = kept("every LAN of a group is watched, with its carrier and its reach", "그룹의 모든 LAN을 감시합니다")
_PASSWORD = differs(
    "the channel between the nodes is authenticated and encrypted, advertisements are not",
    "노드 사이의 채널은 인증되고 암호화되며 광고는 그렇지 않습니다",
)
TIMERS = kept("`advertise`", "`advertise`")
PRIORITY = kept("the order of the nodes", "노드의 순서")
PREEMPT = kept("`preempt: true`", "`preempt: true`")
TAGGED = kept("an interface of that VLAN on both nodes", "두 노드에 그 VLAN의 인터페이스")

INTERFACE: dict[tuple[str, ...], Verdict] = {
    ("ip", "access-group"): _FILTER,
    ("ip", "inspect"): _FILTER,
    ("ip", "verify"): _FILTER,
    ("zone-member",): _FILTER,
    ("service-policy",): _FILTER,
    ("ip", "policy"): _ROUTING,
    ("ip", "ospf"): _ROUTING,
    ("ip", "rip"): _ROUTING,
    ("ip", "helper-address"): _DHCP,
    ("ip", "tcp"): _MSS,
    ("ipv6", "address"): _SIX,
    ("crypto",): _VPN,
    ("tunnel",): _VPN,
    ("ppp",): _LINE,
    ("pppoe-client",): _LINE,
    ("dialer",): _LINE,
    ("pppoe",): _LINE,
    ("encapsulation", "dot1q"): TAGGED,
    ("standby", "track"): _TRACKED,
    ("vrrp", "track"): _TRACKED,
    ("standby", "authentication"): _PASSWORD,
    ("vrrp", "authentication"): _PASSWORD,
    ("standby",): _HSRP,
    ("vrrp",): _HSRP,
    ("glbp",): _HSRP,
    ("redundancy",): _HSRP,
}
"""First words of a line under an interface; the group's number is taken out before they are compared."""

GLOBAL: dict[tuple[str, ...], Verdict] = {
    ("router",): _ROUTING,
    ("ip", "route"): _ROUTING,
    ("ip", "dhcp", "pool"): _DHCP,
    ("crypto", "map"): _VPN,
    ("ip", "sla"): _TRACKED,
}
"""First words of a line that begins at the margin."""

GATEWAY = kept("`gateway` of its network", "그 네트워크의 `gateway`")
SECOND_GATEWAY = left_out(
    "a file knows one default route: a second one on both nodes, with a higher metric",
    "기본 경로는 하나입니다: 둘째 것은 두 노드에 더 큰 metric으로 두십시오",
)
NO_GATEWAY = left_out(
    "it names no neighbour: put the next router's address as `gateway` of its network",
    "이웃 주소가 없습니다: 다음 라우터의 주소를 그 네트워크의 `gateway`로 적으십시오",
)
DYNAMIC = left_out(
    "an address that is learnt cannot belong to two nodes: ask for a fixed one, and say it with {option}",
    "자동으로 받는 주소는 두 노드가 함께 가질 수 없습니다: 고정 주소를 받아 {option}(으)로 적으십시오",
)
ADDRESSLESS = left_out(
    "it has no address: say the group's with {option}", "주소가 없습니다: 그룹의 주소를 {option}(으)로 적으십시오"
)
SECONDARY = left_out(
    "a network has one IPv4 prefix: give {prefix} a VLAN, and the file a second network",
    "네트워크의 IPv4 프리픽스는 하나입니다: {prefix}에 VLAN을 주고 네트워크를 하나 더 적으십시오",
)
SHUT = left_out("the interface is shut down", "인터페이스가 shutdown 상태입니다")
NO_LAN = left_out(
    "no LAN on which two nodes could stand in for each other: let another router hold it, and route to the group",
    "두 노드가 함께 있을 LAN이 아닙니다: 다른 라우터에 두고 그룹으로 라우팅하십시오",
)
OTHER_VRF = left_out(
    "of {vrf}; a pair translates for one table: `--vrf {vrf}` reads it into a file of its own",
    "{vrf}의 것입니다; 한 쌍은 한 표만 변환합니다: `--vrf {vrf}`로 따로 읽으십시오",
)
GLOBAL_TABLE = left_out(
    "of the global table; a pair translates for one table: without `--vrf` it is read into a file of its own",
    "전역 표의 것입니다; 한 쌍은 한 표만 변환합니다: `--vrf` 없이 따로 읽으십시오",
)
VRF_DROPPED = differs("the pair itself is VRF {vrf}: the word is left out", "이 쌍이 곧 VRF {vrf}이므로 그 말은 뺍니다")
SIDED = differs("a pair has sides: written as `{line}`", "이 쌍에는 안팎이 있습니다: `{line}`(으)로 적었습니다")
LENT = differs(
    "the address itself, {address}: the next router must route it to the group",
    "주소 {address} 자체로 적었습니다: 다음 라우터가 그룹으로 라우팅해야 합니다",
)


def filled(verdict: Verdict, **values: object) -> Verdict:
    """A row's sentence with its values."""
    return Verdict(verdict.fate, verdict.reason.format(**values), verdict.korean.format(**values))
