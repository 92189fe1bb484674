"""Every warning's sentence, English and Korean, and the words for kinds. `{names}` are filled in."""

from collections.abc import Mapping
from typing import Any

WARNINGS: dict[str, tuple[str, str]] = {
    "no-nat": (
        "no line of NAT stands in this text",
        "이 텍스트에는 NAT 줄이 없습니다",
    ),
    "nat-unread": (
        "a command of NAT stands in this line, but not at its beginning: it is passed over",
        "이 줄에 NAT 명령이 있지만 줄의 처음이 아니라서 건너뜁니다",
    ),
    "no-roles": (
        "no interface is marked `ip nat inside` or `ip nat outside`: nothing can be translated",
        "`ip nat inside`나 `ip nat outside`로 표시한 인터페이스가 없어 아무것도 변환되지 않습니다",
    ),
    "no-inside": (
        "no interface is marked `ip nat inside`: nothing can be translated",
        "`ip nat inside` 인터페이스가 없어 아무것도 변환되지 않습니다",
    ),
    "no-outside": (
        "no interface is marked `ip nat outside`: nothing can be translated",
        "`ip nat outside` 인터페이스가 없어 아무것도 변환되지 않습니다",
    ),
    "role-nowhere": (
        "no `interface` line above: this role belongs to no interface",
        "위에 `interface` 줄이 없어 이 역할은 어느 인터페이스의 것도 아닙니다",
    ),
    "role-no-address": (
        "{interface} is marked {role} and has no address, while {other} has one and no role: mark {other}",
        "{interface}은(는) {role}인데 주소가 없고, 주소가 있는 {other}에는 역할이 없습니다: {other}에 표시하십시오",
    ),
    "overload-inside-interface": (
        "{interface} is an inside interface: its address is not the outside one",
        "{interface}은(는) inside 인터페이스라 외부 주소가 아닙니다",
    ),
    "interface-not-outside": (
        "{interface} is not marked `ip nat outside`: this rule translates nothing that leaves there",
        "{interface}에 `ip nat outside`가 없어 그쪽으로 나가는 것은 변환되지 않습니다",
    ),
    "interface-undefined": (
        "no interface {interface} stands in this text",
        "이 텍스트에 {interface} 인터페이스가 없습니다",
    ),
    "interface-down": (
        "{interface} is shut down: IOS drops what this rule matches",
        "{interface}이(가) shutdown 상태라 IOS는 이 규칙에 맞는 것을 버립니다",
    ),
    "interface-no-address": (
        "{interface} has no address: IOS drops what this rule matches",
        "{interface}에 주소가 없어 IOS는 이 규칙에 맞는 것을 버립니다",
    ),
    "list-undefined": (
        "list {list} stands nowhere in this text: an undefined list translates nothing",
        "리스트 {list}이(가) 없어 아무것도 변환하지 않습니다",
    ),
    "list-no-permit": (
        "list {list} permits nothing: this rule translates nothing",
        "리스트 {list}에 permit이 없어 아무것도 변환하지 않습니다",
    ),
    "group-undefined": (
        "object-group {group} stands nowhere in this text: this entry matches nothing",
        "object-group {group}이(가) 이 텍스트에 없어 이 항목은 아무것도 맞지 않습니다",
    ),
    "pool-undefined": (
        "pool {pool} stands nowhere in this text",
        "풀 {pool}이(가) 이 텍스트에 없습니다",
    ),
    "route-map-undefined": (
        "route-map {route_map} stands nowhere in this text",
        "route-map {route_map}이(가) 이 텍스트에 없습니다",
    ),
    "vrf-undefined": (
        "vrf {vrf} stands nowhere in this text",
        "vrf {vrf}이(가) 이 텍스트에 없습니다",
    ),
    "static-unexempted": (
        (
            "list {list} exempts {address} towards some destinations (line {line}), a static entry does not ask it: "
            "give the entry a `route-map`"
        ),
        (
            "리스트 {list}({line}행)이 {address}을(를) 일부 목적지에 대해 제외하지만 고정 항목은 리스트를 보지 "
            "않습니다: `route-map`을 붙이십시오"
        ),
    ),
    "permit-any": (
        "list {list} permits any source: the router's own protocols (OSPF, BGP, VPN) are caught too on IOS",
        "리스트 {list}이(가) 모든 출발지를 허용합니다: IOS에서는 라우터 자신의 프로토콜(OSPF, BGP, VPN)도 걸립니다",
    ),
    "hairpin": (
        (
            "list {list} lets inside hosts to {address}, which is {local} inside: such packets are not translated, let "
            "the name server answer {local} to inside hosts"
        ),
        (
            "리스트 {list}이(가) 내부 호스트를 {address}(내부의 {local})로 허용하지만 그런 패킷은 변환하지 않습니다: "
            "내부에는 이름 서버가 {local}을(를) 답하게 하십시오"
        ),
    ),
    "list-global": (
        "list {list} names {address}, which is known outside only: it is asked with inside local addresses",
        "리스트 {list}의 {address}은(는) 외부에서만 쓰는 주소입니다: 리스트는 inside local 주소로 확인합니다",
    ),
    "inside-uncovered": (
        "no rule takes {network} of {interface}: its private addresses leave untranslated",
        "{interface}의 {network}을(를) 변환하는 규칙이 없어 사설 주소가 그대로 나갑니다",
    ),
    "stale-exit": (
        "the same hosts leave by {interface} and, by line {line}, by {other}: when routing changes, flows keep the "
        "address of the interface by which they began, until `clear ip nat translation`",
        "같은 호스트가 {interface}로도, {line}행에 따라 {other}로도 나갑니다: 라우팅이 바뀌어도 이미 시작한 흐름은 "
        "처음 나간 인터페이스의 주소를 유지하므로 `clear ip nat translation`이 필요합니다",
    ),
    "routed-inside": (
        "{address} lies in the network of {interface}: IOS routes before it translates and needs `add-route`; here it "
        "works without",
        "{address}은(는) {interface}의 네트워크에 있습니다: IOS는 변환보다 라우팅이 먼저라 `add-route`가 필요합니다; "
        "여기서는 없어도 됩니다",
    ),
    "route-map-order": (
        (
            "route-map {route_map} comes before {other} of line {line} by its name, as on IOS; IOS XE asks them in the "
            "order of their lines"
        ),
        "route-map {route_map}은(는) 이름 순서로 {line}행의 {other}보다 먼저입니다(IOS); IOS XE는 줄 순서로 확인합니다",
    ),
    "similar-static": (
        "like the entry of line {line}, which stays: this one is not entered",
        "{line}행의 항목과 같아 그것이 남고 이 줄은 들어가지 않습니다",
    ),
    "said-twice": (
        "said on line {line} already",
        "{line}행에 이미 있습니다",
    ),
    "replaced": (
        "replaces line {line}",
        "{line}행을 대체합니다",
    ),
    "nothing-to-remove": (
        "nothing like it stands above: nothing is removed",
        "위에 해당하는 줄이 없어 지울 것이 없습니다",
    ),
    "overload-implied": (
        "`interface` without `overload`: IOS adds it",
        "`overload` 없는 `interface`: IOS가 붙입니다",
    ),
    "two-statics": (
        "{local} has another global address on line {line}: IOS wants `extendable` on both",
        "{local}에 {line}행의 다른 전역 주소가 있습니다: IOS에서는 둘 다 `extendable`이 필요합니다",
    ),
    "pools-overlap": (
        "pools {pool} and {other} share {address}",
        "풀 {pool}과(와) {other}이(가) {address}을(를) 함께 가집니다",
    ),
    "static-in-pool": (
        "{address} is also in pool {pool}: it would be handed out a second time",
        "{address}이(가) 풀 {pool}에도 있어 두 번 쓰일 수 있습니다",
    ),
    "pool-on-interface": (
        "pool {pool} holds {address}, the address of {interface}",
        "풀 {pool}에 {interface}의 주소 {address}이(가) 들어 있습니다",
    ),
    "static-on-interface": (
        "{address} is the address of {interface}: all that is sent to the router itself would go inside",
        "{address}은(는) {interface}의 주소라 라우터로 오는 것이 모두 내부로 갑니다",
    ),
    "pool-empty": (
        "pool {pool} has nothing to hand out: {address} is a network's own or broadcast address",
        "풀 {pool}에 줄 주소가 없습니다: {address}은(는) 네트워크나 브로드캐스트 주소입니다",
    ),
    "pool-edge": (
        "pool {pool} holds {address}, a network's own or broadcast address, which is not handed out",
        "풀 {pool}의 {address}은(는) 네트워크나 브로드캐스트 주소라 쓰이지 않습니다",
    ),
    "pool-split": (
        "segments of pool {pool} leave the network of its mask",
        "풀 {pool}의 구간이 마스크의 네트워크를 벗어납니다",
    ),
    "pool-no-segment": (
        "pool {pool} has no address yet",
        "풀 {pool}에 아직 주소가 없습니다",
    ),
    "pool-short": (
        "list {list} permits {hosts} hosts, pool {pool} has {addresses} addresses and no overload: it may run dry",
        (
            "리스트 {list}은(는) 호스트 {hosts}개를 허용하지만 풀 {pool}은(는) 주소가 {addresses}개이고 overload가 "
            "없어 모자랍니다"
        ),
    ),
    "rotary-in-source": (
        "pool {pool} is rotary: made for `inside destination`, not for sources",
        "풀 {pool}은(는) rotary라 출발지가 아니라 `inside destination`용입니다",
    ),
    "destination-plain": (
        "pool {pool} is not `type rotary`: connections are meant to go round a rotary pool",
        "풀 {pool}이(가) `type rotary`가 아닙니다",
    ),
    "rotary-udp": (
        "list {list} permits UDP: the documented rule is TCP alone, other traffic passes untranslated",
        "리스트 {list}이(가) UDP를 허용하지만 문서상 TCP만 변환하고 나머지는 그대로 지나갑니다",
    ),
    "wildcard-mask": (
        "{wildcard} is a netmask where a wildcard belongs: write {inverse}",
        "와일드카드 자리에 넷마스크 {wildcard}이(가) 있습니다: {inverse}으로 쓰십시오",
    ),
    "vpn-translated": (
        "list {list} translates what the VPN's list {selector} wants untouched: add a deny before it",
        "리스트 {list}이(가) VPN 리스트 {selector}의 트래픽까지 변환합니다: 앞에 deny를 넣으십시오",
    ),
    "same-list": (
        "line {line} has a rule for the same list: it is asked first",
        "{line}행에 같은 리스트의 규칙이 있어 먼저 확인합니다",
    ),
    "router-port": (
        "port {port} of {interface} is the router's own: it is no longer reached there",
        "{interface}의 포트 {port}은(는) 라우터가 쓰는 포트라 더는 닿지 않습니다",
    ),
}
"""Code -> the sentence in English and in Korean."""

KINDS = {
    "nat": ("nat", "NAT"),
    "passed-over": ("passed over", "건너뜀"),
    "refused": ("refused", "거부"),
}

PASSED = {
    "not-nat": ("not NAT", "NAT가 아님"),
    "comment": ("a comment", "주석"),
    "prompt": ("a prompt", "프롬프트"),
    "exec": ("an exec command: it changes nothing", "실행 명령: 설정을 바꾸지 않음"),
    "banner": ("a banner's text", "배너 내용"),
    "read": ("read: NAT needs it", "NAT에 필요하여 읽음"),
    "unused": ("a list or route-map that no NAT rule reaches", "NAT 규칙이 쓰지 않는 리스트나 route-map"),
    "removed": ("taken away by the diff", "diff가 지운 줄"),
}


def said(code: str, values: Mapping[str, Any], language: str = "en") -> str:
    """A warning's sentence."""
    return WARNINGS[code][language == "ko"].format_map(values)
