"""Why a packet is translated, left alone or dropped: a sentence a reason, English and Korean."""

from collections.abc import Mapping
from typing import Any

REASONS: dict[str, tuple[str, str]] = {
    "no-change": (
        "no entry for the destination: it stays {before}",
        "목적지에 해당하는 항목이 없어 {before} 그대로입니다",
    ),
    "static-in": (
        "a static entry: inside global becomes inside local {address}",
        "고정 항목: inside global이 inside local {address}이(가) 됩니다",
    ),
    "static-out": (
        "a static entry: inside local becomes inside global {address}",
        "고정 항목: inside local이 inside global {address}이(가) 됩니다",
    ),
    "static-local": (
        "a static entry: outside local becomes outside global {address}",
        "고정 항목: outside local이 outside global {address}이(가) 됩니다",
    ),
    "static-global": (
        "a static entry: outside global becomes outside local {address}",
        "고정 항목: outside global이 outside local {address}이(가) 됩니다",
    ),
    "entry": (
        "{host} has {address} already: an existing entry is used without asking a list",
        "{host}은(는) 이미 {address}을(를) 가지고 있어 리스트를 다시 보지 않습니다",
    ),
    "rotary": (
        "the next of the {count} servers of pool {pool} in turn",
        "풀 {pool}의 서버 {count}대 가운데 차례가 된 서버입니다",
    ),
    "rotary-tcp": (
        "pool {pool} takes TCP connections only: other protocols are left alone",
        "풀 {pool}은(는) TCP 연결만 나누며 다른 프로토콜은 그대로 둡니다",
    ),
    "rotary-tcp-udp": (
        "pool {pool} takes TCP connections and, by `rotary_udp`, UDP: other protocols are left alone",
        "풀 {pool}은(는) TCP 연결과 (`rotary_udp`로) UDP만 나누며 다른 프로토콜은 그대로 둡니다",
    ),
    "routed": (
        "{address} leaves by {interface} ({role})",
        "{address}은(는) {interface}({role})로 나갑니다",
    ),
    "assumed": (
        "no network or route of the text has {address}: taken to be behind {interface} ({role})",
        "텍스트의 네트워크와 경로에 {address}이(가) 없어 {interface}({role}) 뒤에 있다고 봅니다",
    ),
    "detour": (
        "{address} leaves by {interface}, although its outside global address exists inside too",
        "{address}의 outside global 주소가 내부에도 있지만 {interface}로 나갑니다",
    ),
    "to-router": (
        "{address} is the router's own: the packet is delivered here",
        "{address}은(는) 라우터 자신의 주소라 여기서 받습니다",
    ),
    "unroutable": (
        "there is no way to {address}",
        "{address}(으)로 가는 길이 없습니다",
    ),
    "no-roles": (
        "no inside and outside interface: nothing is translated",
        "inside와 outside 인터페이스가 없어 아무것도 변환하지 않습니다",
    ),
    "no-role": (
        "{interface} is neither inside nor outside: nothing is translated",
        "{interface}은(는) inside도 outside도 아니어서 변환하지 않습니다",
    ),
    "one-side": (
        "it leaves by {interface} ({role}): only what goes from one side to the other is translated",
        "{interface}({role})로 나가므로 변환하지 않습니다: 한쪽에서 다른 쪽으로 가는 것만 변환합니다",
    ),
    "own-voice": (
        "{address} speaks for the node itself: on a pair that is never translated",
        "{address}은(는) 노드 자신이 보내는 것이라 쌍에서는 변환하지 않습니다",
    ),
    "no-rule": (
        "no rule selects {address}: it leaves untranslated",
        "{address}을(를) 고르는 규칙이 없어 변환 없이 나갑니다",
    ),
    "no-outside-rule": (
        "no outside rule selects {address}: the source stays",
        "{address}을(를) 고르는 outside 규칙이 없어 출발지는 그대로입니다",
    ),
    "denied": (
        "list {list} denies it: it leaves untranslated",
        "리스트 {list}이(가) 거부하여 변환 없이 나갑니다",
    ),
    "denied-map": (
        "route-map {route_map} refuses it: it leaves untranslated",
        "route-map {route_map}이(가) 거부하여 변환 없이 나갑니다",
    ),
    "unknown": (
        "{what} cannot be asked here: its rule selects nothing",
        "{what}을(를) 확인할 수 없어 그 규칙은 아무것도 고르지 않습니다",
    ),
    "no-address": (
        "the rule selects it and {interface} has no address: dropped, as on IOS",
        "규칙에 맞지만 {interface}에 주소가 없어 IOS처럼 버립니다",
    ),
    "pool-empty": (
        "the rule selects it and pool {pool} has no address to hand out: dropped",
        "규칙에 맞지만 풀 {pool}에 줄 수 있는 주소가 없어 버립니다",
    ),
    "pool-dry": (
        "every address of pool {pool} is given: {host} gets none, and the packet is dropped",
        "풀 {pool}의 주소가 모두 나가 {host}은(는) 받지 못하고 패킷은 버려집니다",
    ),
    "allocated": (
        "pool {pool} gives {address}",
        "풀 {pool}이(가) {address}을(를) 줍니다",
    ),
    "overload-interface": (
        "it shares the address of {interface}, {address}",
        "{interface}의 주소 {address}을(를) 함께 씁니다",
    ),
    "overload-pool": (
        "it shares {address} of pool {pool}",
        "풀 {pool}의 {address}을(를) 함께 씁니다",
    ),
    "limit": (
        "`max-entries` of {of} allows {count}, and as many flows are there: dropped",
        "{of}의 `max-entries`가 {count}개까지 허용하는데 이미 그만큼 있어 버립니다",
    ),
    "strict": (
        "no rule selects {address}, and `strict` lets nothing leave untranslated: dropped",
        "{address}을(를) 고르는 규칙이 없고 strict라서 버립니다",
    ),
}


def sentence(reason: str, values: Mapping[str, Any], language: str = "en") -> str:
    """The sentence of a reason, filled in."""
    return REASONS[reason][language == "ko"].format_map({key: str(value) for key, value in values.items()})
