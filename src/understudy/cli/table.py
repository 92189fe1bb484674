"""The group's decision as a page: every row with its conditions in words, and the bounds of one file's groups."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from understudy.core.decision import TABLE
from understudy.core.forced import FORCED
from understudy.core.rows import AT_ONCE, Action, Row, Who
from understudy.core.situation import Patience, PeerIs, Reaches
from understudy.units import MILLISECOND
from understudy.wire.heartbeat import Role

if TYPE_CHECKING:
    from understudy.config.plan import Group, Plan

Words = tuple[str, str]
"""In English and in Korean."""
_PLACE = {"en": 0, "ko": 1}

CONDITIONS: Mapping[tuple[str, object], Words] = {
    ("eligible", False): ("this node is to rest", "이 노드는 쉬어야 함"),
    ("port_up", False): ("no port of the group has carrier", "그룹의 모든 포트에 링크 없음"),
    ("silent", False): ("an Active is heard", "Active가 들림"),
    ("settled", True): ("by our own loss, or for two intervals", "이쪽의 손실이거나 두 간격 동안"),
    ("ranks_first", False): ("the peer has the higher priority", "상대의 우선순위가 높음"),
    ("preempts", True): ("this node has the higher priority and preempts", "이 노드의 우선순위가 높고 선점함"),
    ("urgent", True): ("this node ends, or an operator insists", "이 노드가 종료하거나 운영자가 강제함"),
    ("doubt", True): ("another kernel may still answer", "다른 커널이 아직 응답할 수 있음"),
    ("peer", PeerIs.GONE): ("the peer is not heard", "상대가 들리지 않음"),
    ("peer", PeerIs.RESTING): ("the peer rests", "상대가 쉼"),
    ("peer", PeerIs.READY): ("the peer is ready", "상대가 준비됨"),
    ("peer", PeerIs.UNSYNCED): ("the peer lacks some of the flows' state", "상대에게 흐름 상태의 일부가 없음"),
    ("peer", PeerIs.ASKING): ("the peer asks for the group", "상대가 그룹을 요청함"),
    ("peer", PeerIs.ACTIVE): ("the peer is Active", "상대가 Active"),
    ("peer", PeerIs.RIVAL): ("the peer is Active as well", "상대도 Active"),
    ("peer", PeerIs.DEAF_RIVAL): ("the peer is Active as well and deaf", "상대도 Active이고 듣지 못함"),
    ("reaches", Reaches.LESS): ("this node reaches less than the peer", "이 노드가 도달하는 LAN이 상대보다 적음"),
    ("reaches", Reaches.AS_MUCH): ("this node reaches as much", "도달하는 LAN이 같음"),
    ("reaches", Reaches.MORE): ("this node reaches more", "이 노드가 도달하는 LAN이 더 많음"),
    ("patience", Patience.NONE): ("and has done so for long enough", "충분히 오래 지속됨"),
    ("patience", Patience.DELAY): ("for less than a second", "1초가 되지 않음"),
    ("patience", Patience.HOLD_DOWN): ("the role changed too often lately", "최근 역할이 너무 자주 바뀜"),
    ("patience", Patience.STATE): ("it lacks some of the flows' state", "흐름 상태의 일부가 없음"),
}
TOGETHER: Mapping[tuple[object, ...], Words] = {
    (PeerIs.READY, PeerIs.ASKING): ("the peer is ready", "상대가 준비됨"),
    (PeerIs.READY, PeerIs.ASKING, PeerIs.UNSYNCED): (
        "the peer is ready, with or without all of the flows' state",
        "상대가 준비됨 (흐름 상태가 모두 있든 없든)",
    ),
    (PeerIs.RIVAL, PeerIs.DEAF_RIVAL): ("the peer is Active as well", "상대도 Active"),
    (PeerIs.ACTIVE, PeerIs.RIVAL, PeerIs.DEAF_RIVAL): ("the peer is Active", "상대가 Active"),
    (Reaches.AS_MUCH, Reaches.MORE): ("this node reaches no less", "이 노드가 도달하는 LAN이 같거나 많음"),
    (Reaches.LESS, Reaches.AS_MUCH): ("this node reaches no more", "이 노드가 도달하는 LAN이 더 많지 않음"),
}
"""Values that are wanted together have words of their own."""
ROLES: Mapping[Role, Words] = {
    Role.ACTIVE: ("An Active", "Active"),
    Role.BACKUP: ("A Backup", "Backup"),
    Role.INITIALIZE: ("A node that starts", "시작하는 노드"),
}
ACTIONS: Mapping[Action, Words] = {
    Action.STAY: ("goes on as it is", "그대로 있는다"),
    Action.TAKE_OVER: ("takes over", "이어받는다"),
    Action.OFFER: ("offers the group to the peer", "상대에게 넘겨준다"),
    Action.STAND_DOWN: ("stands down", "내려놓는다"),
    Action.REQUEST: ("asks the peer for the group", "상대에게 요청한다"),
}
WHO: Mapping[Who, Words] = {
    Who.THIS: ("this node", "이 노드"),
    Who.PEER: ("the peer", "상대"),
    Who.EITHER: ("whichever is Active", "Active인 쪽"),
    Who.BOTH: ("both", "둘 다"),
    Who.NOBODY: ("nobody", "아무도 없음"),
    Who.LEASE: ("the old Active's kernel, until its lease ends", "임대가 끝날 때까지 이전 Active의 커널"),
}


def describe(plan: "Plan | None") -> Iterator[dict[str, Any]]:
    """Every row as data, for each group of the plan with its figures; once and without figures if there is none."""
    for group in plan.groups if plan is not None else (None,):
        for kind, rows in (("decision", TABLE), ("forced", FORCED)):
            for number, row in enumerate(rows, start=1):
                yield {
                    "number": number,
                    "name": row.name,
                    "kind": kind,
                    "group": group.name if group is not None else None,
                    "role": row.role.name.lower(),
                    "conditions": {name: [_plain(value) for value in values] for name, values in row.wants.items()},
                    "when": when(row, "en"),
                    "action": row.action.value,
                    "holds": row.holds.value,
                    "bound": str(row.bound),
                    "bound_ms": _bound_ms(row, group),
                    "answers_meanwhile": row.answers.value,
                    "sentence": row.sentence,
                    "sentence_ko": row.korean,
                    "lab": list(row.lab),
                }


def figures(plan: "Plan") -> list[dict[str, Any]]:
    """What the bounds are made of."""
    return [
        {
            "group": group.name,
            "advertise_ms": group.advertise / MILLISECOND,
            "skew_ms": _skew(group) / MILLISECOND,
        }
        for group in plan.groups
    ]


def lines(plan: "Plan | None", lang: str) -> Iterator[str]:
    """The page."""
    place = _PLACE[lang]
    for group in plan.groups if plan is not None else (None,):
        if group is not None:
            interval, skew = _ms(group.advertise), _ms(_skew(group))
            yield (
                f"{group.name}: interval {interval}, the standby's skew {skew}. The first row that matches decides.",
                f"{group.name}: 간격 {interval}, 대기 노드의 skew {skew}. 처음 맞는 행이 결정한다.",
            )[place]
        else:
            yield ("The first row that matches decides.", "처음 맞는 행이 결정한다.")[place]
        for title, rows in (
            (("Looked up", "표에서 찾는 결정"), TABLE),
            (("Moves without a choice", "선택의 여지가 없는 이동"), FORCED),
        ):
            yield ""
            yield title[place]
            yield from _rows(rows, group, lang)
        yield ""


def when(row: Row, lang: str) -> str:
    """Its conditions in words."""
    place = _PLACE[lang]
    clauses = [
        TOGETHER[values][place] if values in TOGETHER else " / ".join(CONDITIONS[name, one][place] for one in values)
        for name, values in row.wants.items()
    ]
    return "; ".join(clauses) or ("otherwise", "그 밖의 경우")[place]


def _rows(rows: Iterable[Row], group: "Group | None", lang: str) -> Iterator[str]:
    place = _PLACE[lang]
    for number, row in enumerate(rows, start=1):
        within = _within(row, group, lang)
        holds, answers = WHO[row.holds][place], WHO[row.answers][place]
        yield f"{number:>3}  {row.name}"
        if row in TABLE:
            yield f"     {ROLES[row.role][place]}: {when(row, lang)}"
        yield (
            f"     {ACTIONS[row.action][place]}; holds: {holds}, {within}; answers meanwhile: {answers}",
            f"     {ACTIONS[row.action][place]}; 맡는 노드: {holds}, {within}; 그동안 응답: {answers}",
        )[place]
        yield f"     {row.korean if lang == 'ko' else row.sentence}"


def _within(row: Row, group: "Group | None", lang: str) -> str:
    place, bound = _PLACE[lang], row.bound
    if bound == AT_ONCE:
        return ("at once", "즉시")[place]
    text = str(bound) if lang == "en" else str(bound).replace("intervals", "간격").replace("the questions", "확인 시간")
    milliseconds = _bound_ms(row, group)
    if milliseconds is not None and bound.fixed != milliseconds * MILLISECOND:
        text += f" = {milliseconds:g} ms"
    return (f"within {text}", f"{text} 안에")[place]


def _bound_ms(row: Row, group: "Group | None") -> float | None:
    if group is None:
        return None
    return row.bound.nanoseconds(group.advertise, _skew(group)) / MILLISECOND


def _skew(group: "Group") -> int:
    """Of the standby with the lowest priority, whose patience is the longest (RFC 9568, section 6.1)."""
    return (256 - min(group.priorities.values())) * group.advertise // 256


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / MILLISECOND:g} ms"


def _plain(value: object) -> object:
    return value.value if isinstance(value, PeerIs | Reaches | Patience) else value
