"""What `state:` costs and what a fail-over loses with it, in words: for `understudy plan`, in English and Korean.

No figure stands here but those of the file: what a change of a flow costs on a machine is measured, not planned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.units import MILLISECOND, format_duration

if TYPE_CHECKING:
    from understudy.config.plan import Group, Plan, Service, SourceNat
    from understudy.units import GroupName


@dataclass(frozen=True, slots=True)
class Words:
    """One sentence in both languages; `{every}` and `{deadline}` stand for the file's values."""

    english: str
    korean: str

    def say(self, language: str, **values: str) -> str:
        return (self.korean if language == "ko" else self.english).format(**values)


COSTS = {
    "none": Words("nothing", "없음"),
    "copy": Words(
        "an entry in both kernels for each connection; every {every} the active node's table is read, and what "
        "differs is sent and written",
        "연결마다 두 커널에 항목 하나씩, 그리고 {every}마다 활성 노드의 표를 읽어 다른 것만 보내고 기록",
    ),
    "replicate": Words(
        "an entry in both kernels for each connection; each change of one is read, sent and written as it happens; "
        "packets that change nothing cost nothing",
        "연결마다 두 커널에 항목 하나씩; 상태가 바뀔 때마다 곧바로 읽고 보내고 기록, 그대로인 연결은 비용 없음",
    ),
}
LOST = {
    "copy": Words(
        "connections that began, and changes, since the last copy: up to {every} and the time that a copy takes",
        "마지막 복사 뒤에 시작된 연결과 변화: 최대 {every}와 복사에 걸리는 시간만큼",
    ),
    "replicate": Words(
        "what the active node had not yet sent when it died; nothing that the standby acknowledged",
        "활성 노드가 죽을 때까지 보내지 못한 것; 대기 노드가 확인한 것은 잃지 않음",
    ),
}
LOST_BALANCED = Words(
    "connections for which the other node's table names another server; the others are picked up in the middle",
    "다른 노드의 표가 다른 서버를 고르는 연결; 나머지는 도중에 이어받음",
)
LOST_TRANSLATED = Words(
    "connections whose port was changed or whose far side speaks first; other TCP is picked up in the middle",
    "포트가 바뀌었거나 상대편이 먼저 말하는 연결; 다른 TCP는 도중에 이어받음",
)
LOST_BESIDE = Words(
    "all connections: on a node with replicated flows none is picked up in the middle",
    "모든 연결: 복제된 흐름이 있는 노드는 도중의 연결을 이어받지 않음",
)
GATE_BEST_EFFORT = Words(
    "gate: addresses answer once the replicated flows are in that kernel; if some are missing, after {deadline} "
    "without them, and the reason is recorded",
    "관문: 복제된 흐름이 그 커널에 있어야 주소가 응답함; 모자라면 {deadline} 뒤에 없이 응답하고 이유를 남김",
)
GATE_REQUIRED = Words(
    "gate: addresses answer once the replicated flows are in that kernel; if some are missing after {deadline}, the "
    "node does not serve and tries again until it has them or an operator says so",
    "관문: 복제된 흐름이 그 커널에 있어야 주소가 응답함; {deadline} 뒤에도 모자라면 서비스하지 않고, 갖추거나 운영자가 "
    "허락할 때까지 다시 시도함",
)
GATE_NONE = Words("gate: none, as nothing is replicated", "관문: 복제되는 것이 없어 두지 않음")
COST = Words("state {state} costs", "상태 {state} 비용")
LOSES = Words("a fail-over loses", "장애 조치 때 잃는 것")
HELPERS = Words("data connections of {names} are let through", "{names}의 데이터 연결을 통과시킴")


class Telling:
    """What a plan says about state, made once for all of its services."""

    def __init__(self, plan: "Plan", language: str = "en") -> None:
        from understudy.config.keeping import is_stateful

        self._language = language
        self._stateful = {group.name for group in plan.groups if is_stateful(plan, group)}
        # A node copies all its groups at once, as often as the most impatient one asks.
        self._every = {
            group.name: format_duration(plan.settings(group.nodes[0]).flows.copy_every) for group in plan.groups
        }

    def service(self, service: "Service") -> tuple[str, str]:
        """What its state costs, and what a fail-over loses."""
        return self._sentences(service.state, [listen.group for listen in service.listen], LOST_BALANCED)

    def translation(self, nat: "SourceNat") -> tuple[str, str]:
        """The same of the flows of a translation."""
        return self._sentences(nat.state, [nat.group], LOST_TRANSLATED)

    def state_of(self, state: str, group: "GroupName") -> tuple[str, str]:
        """The same of translated flows of a group."""
        return self._sentences(state, [group], LOST_TRANSLATED)

    def lines(self, state: str, sentences: tuple[str, str]) -> Iterator[str]:
        """For people."""
        costs, lost = sentences
        yield f"{COST.say(self._language, state=state)}: {costs}"
        yield f"{LOSES.say(self._language)}: {lost}"

    def helpers(self, nat: "SourceNat") -> Iterator[str]:
        """For people."""
        if nat.helpers:
            yield HELPERS.say(self._language, names=", ".join(nat.helpers))

    def gate(self, group: "Group") -> str:
        """For people."""
        words = GATE_REQUIRED if group.require_sync else GATE_BEST_EFFORT
        if group.name not in self._stateful:
            words = GATE_NONE
        return words.say(self._language, deadline=format_duration(group.gate_deadline))

    def describe_gate(self, group: "Group") -> dict[str, Any]:
        """As JSON."""
        return {
            "stateful": group.name in self._stateful,
            "require_sync": group.require_sync,
            "deadline_ms": group.gate_deadline / MILLISECOND,
            "copy_every_ms": group.copy_every / MILLISECOND,
        }

    def _sentences(self, state: str, groups: Sequence["GroupName"], alone: Words) -> tuple[str, str]:
        every = self._every[groups[0]]
        lost = LOST.get(state, LOST_BESIDE if self._stateful.intersection(groups) else alone)
        return COSTS[state].say(self._language, every=every), lost.say(self._language, every=every)


def as_json(sentences: tuple[str, str]) -> dict[str, str]:
    costs, lost = sentences
    return {"costs": costs, "lost": lost}
