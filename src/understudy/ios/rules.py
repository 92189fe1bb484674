"""The rules behind every word about fidelity: one line each, with its stable name, as `docs/reference/nat.md` has them.

A rule says how close Linux comes and why. The reasons are facts about the two systems, not about how far this product
has grown.
"""

from dataclasses import dataclass
from enum import IntEnum


class Fidelity(IntEnum):
    """How close; the higher, the further away. A line with several rules is as close as its worst."""

    SAME = 0
    PROFILE = 1
    DIFFERS = 2
    REFUSED = 3

    def said(self, language: str = "en") -> str:
        """The word for people."""
        return _SAID[self][language == "ko"]

    @property
    def word(self) -> str:
        """The word for scripts."""
        return ("same", "same-within-profile", "differs", "refused")[self]


_SAID = {
    Fidelity.SAME: ("same", "동일"),
    Fidelity.PROFILE: ("same within the profile {profile}", "{profile} 프로파일 안에서 동일"),
    Fidelity.DIFFERS: ("differs", "다름"),
    Fidelity.REFUSED: ("refused", "거부"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    fidelity: Fidelity
    reason: str
    korean: str

    def said(self, language: str = "en") -> str:
        return self.korean if language == "ko" else self.reason


_S, _P, _D, _R = Fidelity

RULES: dict[str, Rule] = {
    each.name: each
    for each in (
        Rule(
            "role", _S,
            "traffic is translated between inside and outside interfaces only",
            "inside와 outside 인터페이스 사이의 트래픽만 변환합니다",
        ),
        Rule(
            "static", _S,
            "both ways, every IP protocol, from configuration alone",
            "설정만으로 양방향, 모든 IP 프로토콜을 변환합니다",
        ),
        Rule(
            "static-port", _S,
            "that port of that protocol only, both ways",
            "그 프로토콜의 그 포트만 양방향으로 변환합니다",
        ),
        Rule(
            "static-network", _S,
            "a prefix for a prefix, host bits are kept",
            "프리픽스 단위로 바꾸고 호스트 비트는 유지합니다",
        ),
        Rule(
            "static-interface", _S,
            "the address that the interface has now, followed when it changes",
            "인터페이스의 현재 주소를 쓰며 바뀌면 따라갑니다",
        ),
        Rule(
            "static-esp", _D,
            "ESP has no ports: one inside host gets all of it and nothing else, and no SPI is matched",
            "ESP에는 포트가 없어 내부 호스트 하나가 ESP를 모두 받고 SPI는 보지 않습니다",
        ),
        Rule(
            "static-condition", _S,
            "the entry counts for flows that the route-map permits",
            "route-map이 허용하는 흐름에만 적용합니다",
        ),
        Rule(
            "similar-static", _S,
            "not entered: an entry like it stands already, and as on IOS the first stays",
            "같은 항목이 이미 있어 IOS처럼 첫 번째가 남습니다",
        ),
        Rule(
            "pool", _S,
            "an allocator hands out the addresses in ascending order, one a host; nftables alone cannot",
            "할당기가 주소를 오름차순으로 호스트마다 하나씩 줍니다; nftables만으로는 할 수 없습니다",
        ),
        Rule(
            "pool-lines", _S,
            "addresses of the pool, the network's own and its broadcast address left out",
            "풀의 주소이며 네트워크 주소와 브로드캐스트 주소는 뺍니다",
        ),
        Rule(
            "pool-extra", _D,
            "addresses are not asked for by ARP before use and not accounted for",
            "쓰기 전에 ARP로 확인하지 않으며 과금 기록도 하지 않습니다",
        ),
        Rule(
            "pool-route-map", _S,
            "an entry for each flow; another outside host does not get in by it",
            "흐름마다 항목을 만들며 다른 외부 호스트는 그 항목으로 들어오지 못합니다",
        ),
        Rule(
            "match-host", _S,
            "the host's own number is kept in the pool's prefix",
            "풀의 프리픽스 안에서 호스트 번호를 유지합니다",
        ),
        Rule(
            "overload-classic", _P,
            ("the source port is kept while it is free, else one of its group is taken; which one of them is not "
             "IOS's choice, one port may serve several destinations at once, and a pool's next address is taken where "
             "the ports of one are nearly used up towards a destination"),
            ("비어 있으면 출발지 포트를 유지하고 아니면 같은 그룹에서 고릅니다; 그룹 안의 선택은 IOS와 다르며 한 "
             "포트가 여러 목적지에 쓰일 수 있고, 풀의 다음 주소는 한 목적지로 가는 포트가 거의 다 쓰였을 때 씁니다"),
        ),
        Rule(
            "overload-counted", _P,
            ("ports are counted as this profile does, by an allocator that each such flow asks once; a number that "
             "comes round serves again, towards another destination"),
            ("이 프로파일대로 할당기가 포트를 세며 그런 흐름은 한 번씩 할당기에 묻습니다; 한 바퀴 돌아온 번호는 다른 "
             "목적지에 다시 쓰입니다"),
        ),
        Rule(
            "overload-extended", _S,
            "a port serves several destinations: the kernel always does that",
            "한 포트를 여러 목적지에 쓰며 커널은 늘 그렇게 합니다",
        ),
        Rule(
            "pap", _D,
            "a host keeps one address of the pool, by a hash and not by the order of arrival",
            "호스트가 풀의 한 주소를 유지하지만 도착 순서가 아니라 해시로 정합니다",
        ),
        Rule(
            "oer", _D,
            "no performance routing here: the word is kept and does nothing",
            "성능 라우팅이 없어 단어만 남고 동작하지 않습니다",
        ),
        Rule(
            "egress", _S,
            "asked after routing: the flow must leave by that interface",
            "라우팅 뒤에 확인합니다: 그 인터페이스로 나가는 흐름만입니다",
        ),
        Rule(
            "static-egress", _D,
            "the entry counts for every outside interface, not for that one alone",
            "그 인터페이스뿐 아니라 모든 outside 인터페이스에 적용됩니다",
        ),
        Rule(
            "reversible", _D,
            "flows from outside are matched with the ports mirrored too; IOS leaves them out",
            "외부에서 시작한 흐름은 포트까지 뒤집어 비교합니다; IOS는 포트를 보지 않습니다",
        ),
        Rule(
            "outside-static", _S,
            "the address is changed before routing, so that no route to the outside local address is needed",
            "라우팅 전에 주소를 바꾸므로 outside local로 가는 경로가 필요 없습니다",
        ),
        Rule(
            "add-route", _S,
            "no route is installed and none is needed: the address is changed before routing",
            "라우팅 전에 주소를 바꾸므로 경로를 넣지 않으며 필요하지도 않습니다",
        ),
        Rule(
            "outside-pool", _S,
            "an allocator hands out outside local addresses on the first packet from outside",
            "외부의 첫 패킷에서 할당기가 outside local 주소를 줍니다",
        ),
        Rule(
            "rotary", _S,
            "new TCP connections go round the servers, exactly in turn, also after a change of the lines",
            "새 TCP 연결을 서버에 차례대로 정확히 나누며 설정을 바꿔도 차례가 이어집니다",
        ),
        Rule(
            "destination-generic", _D,
            "the pool is not rotary: it is served in turn all the same",
            "rotary가 아닌 풀이지만 똑같이 차례대로 나눕니다",
        ),
        Rule(
            "vrf", _D,
            ("kept apart by zone and packet mark, without VRF devices: overload and static hosts and ports, nothing "
             "else"),
            "VRF 장치 없이 conntrack zone과 패킷 마크로 나눕니다: overload와 정적 호스트·포트만 됩니다",
        ),
        Rule(
            "redundancy", _D,
            "the pair's own redundancy takes its place: the group or HSRP name is kept and not asked",
            "이 쌍의 이중화가 대신합니다: 그룹 이름은 남지만 쓰지 않습니다",
        ),
        Rule(
            "extendable", _S,
            "several global addresses for one host are told apart by the flow: the kernel always does that",
            "한 호스트의 여러 전역 주소를 흐름으로 구별하며 커널은 늘 그렇게 합니다",
        ),
        Rule(
            "no-alias", _S,
            "the address is not answered for",
            "그 주소에 응답하지 않습니다",
        ),
        Rule(
            "no-payload", _S,
            "no helper looks into these flows",
            "이 흐름의 내용은 고치지 않습니다",
        ),
        Rule(
            "stateless", _D,
            "flows are always tracked here",
            "여기서는 흐름을 늘 추적합니다",
        ),
        Rule(
            "nvi", _D,
            "Linux has no NAT virtual interface: a packet is routed once, not before and after the change",
            "리눅스에는 NVI가 없어 변환 앞뒤로 두 번 라우팅하지 않습니다",
        ),
        Rule(
            "stick", _D,
            "hairpin flows get both addresses changed, so that they come back through here",
            "헤어핀 흐름은 양쪽 주소를 모두 바꿔 이 장비로 돌아오게 합니다",
        ),
        Rule(
            "allow-static-host", _R,
            "made for public wireless access: there is no counterpart",
            "공중 무선 접속용이며 해당 기능이 없습니다",
        ),
        Rule(
            "timeout", _S,
            "the kernel's own timeout of that kind of flow",
            "그 종류의 흐름에 대한 커널 타임아웃입니다",
        ),
        Rule(
            "timeout-never", _D,
            "the kernel has no `never`: the longest it has is set",
            "커널에는 never가 없어 가장 긴 값을 씁니다",
        ),
        Rule(
            "timeout-none", _D,
            "the kernel has no such timeout: nothing is set",
            "커널에 그런 타임아웃이 없어 설정하지 않습니다",
        ),
        Rule(
            "limit", _D,
            "flows are counted, not translations",
            "변환이 아니라 흐름을 셉니다",
        ),
        Rule(
            "helper", _S,
            "a helper of the kernel rewrites what the protocol carries",
            "커널의 헬퍼가 내용을 고칩니다",
        ),
        Rule(
            "helper-other", _D,
            "the kernel's helper for it knows less than IOS's",
            "커널 헬퍼가 IOS보다 적게 압니다",
        ),
        Rule(
            "helper-none", _R,
            "the kernel has no helper for it: addresses in the payload stay as they are",
            "커널에 헬퍼가 없어 내용 속 주소는 그대로 남습니다",
        ),
        Rule(
            "service-off", _S,
            "payloads of it are left alone",
            "그 프로토콜의 내용은 고치지 않습니다",
        ),
        Rule(
            "service-none", _D,
            "a tuning of the router's own machinery: nothing is done for it",
            "라우터 내부의 조정이라 아무것도 하지 않습니다",
        ),
        Rule(
            "flow-entries", _S,
            "every flow has an entry",
            "모든 흐름에 항목이 있습니다",
        ),
        Rule(
            "no-flow-entries", _R,
            "the kernel translates by flow entries alone",
            "커널은 흐름 항목으로만 변환합니다",
        ),
        Rule(
            "replication", _D,
            "every flow is replicated to the other node, HTTP or not",
            "HTTP뿐 아니라 모든 흐름을 상대 노드로 복제합니다",
        ),
        Rule(
            "route-vrf", _D,
            "what is not inside the VRF is looked up in the common table, whether a route says so or not",
            "VRF 안에 없는 목적지는 경로 설정과 관계없이 공통 표에서 찾습니다",
        ),
        Rule(
            "log", _D,
            "translations are kept in our own history, not sent as syslog or NetFlow",
            "변환 기록은 syslog나 NetFlow가 아니라 자체 이력에 남습니다",
        ),
        Rule(
            "settings-mode", _D,
            "there is one mode: an entry for each flow",
            "흐름마다 항목을 만드는 한 가지 방식뿐입니다",
        ),
        Rule(
            "reserved-ports", _S,
            "these ports are not taken by overload",
            "overload가 이 포트를 쓰지 않습니다",
        ),
        Rule(
            "settings-none", _D,
            "concerns the router's own memory and caches: nothing is done for it",
            "라우터의 메모리와 캐시에 관한 것이라 아무것도 하지 않습니다",
        ),
        Rule(
            "stateful", _D,
            "the pair's own replication takes its place",
            "이 쌍의 복제가 대신합니다",
        ),
        Rule(
            "list", _S,
            "asked when an entry is made; what is denied or not matched goes untranslated",
            "항목을 만들 때 확인하며 거부되거나 맞지 않으면 변환하지 않습니다",
        ),
        Rule(
            "list-log", _D,
            "the entry counts, its log lines are not written",
            "항목은 적용되지만 로그는 남기지 않습니다",
        ),
        Rule(
            "list-flags", _D,
            "a list is asked for the first packet of a flow only: flags of later ones do not count",
            "흐름의 첫 패킷에만 리스트를 확인하므로 뒤의 플래그는 보지 않습니다",
        ),
        Rule(
            "list-words", _D,
            "what stands behind addresses, ports and ICMP's type is not asked: the entry counts without it",
            "주소, 포트, ICMP 타입 뒤의 말은 확인하지 않으며 그 말이 없는 것처럼 적용됩니다",
        ),
        Rule(
            "list-time", _R,
            "no time ranges: the entry would count always",
            "시간 범위가 없어 항상 적용될 것입니다",
        ),
        Rule(
            "list-service-group", _D,
            "object-groups of services count by protocol and port alone",
            "서비스 object-group은 프로토콜과 포트로만 봅니다",
        ),
        Rule(
            "list-dynamic", _R,
            "reflexive and dynamic entries have no counterpart",
            "반사·동적 항목에 해당하는 기능이 없습니다",
        ),
        Rule(
            "route-map", _S,
            "clauses in order; a deny clause leaves the flow untranslated",
            "절을 차례로 확인하며 deny 절은 변환하지 않습니다",
        ),
        Rule(
            "route-map-set", _D,
            "`set` does nothing for NAT, on IOS neither as far as is known",
            "`set`은 NAT에 영향을 주지 않습니다",
        ),
        Rule(
            "route-map-match", _R,
            "only addresses and interfaces can be matched for NAT",
            "NAT에는 주소와 인터페이스만 비교할 수 있습니다",
        ),
        Rule(
            "removed", _S,
            "taken away from what stood above",
            "위에 있던 것을 지웁니다",
        ),
    )
}  # fmt: skip
