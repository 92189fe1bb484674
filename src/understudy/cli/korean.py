"""What the commands say to people, in Korean. Names, codes and the words of the kernel stay as they are.

A table of sentences: the English one with a blank for each name or figure, and the Korean one with the same blanks.
What stands in no row stays English: nothing is lost by a missing translation.
"""

import os
import re
from collections.abc import Callable
from functools import cache

from understudy.cli.output import LANGUAGE_VARIABLE, LANGUAGES, check_language

TITLES = {
    "GROUP": "그룹",
    "NODE": "노드",
    "ROLE": "역할",
    "SINCE": "경과",
    "WHY": "이유",
    "PEER": "상대",
    "LEASE": "임대",
    "NETWORKS": "네트워크",
    "SERVERS": "서버",
}

SENTENCES = (
    ("{0}: reloaded in {1} ms", "{0}: 다시 읽음 ({1} ms)"),
    ("{0}: would change", "{0}: 바뀔 것이 있음"),
    ("{0}: nothing changes", "{0}: 바뀌는 것 없음"),
    (
        "the next start of this node reads {0}, which says something else: copy the file there",
        "이 노드는 다음에 시작할 때 {0}을(를) 읽는데, 내용이 다름: 파일을 그곳에 복사하십시오",
    ),
    ("{0} rests: it never becomes Active", "{0} 쉼: 활성이 되지 않음"),
    ("{0} stands by again", "{0} 다시 대기함"),
    (
        "{0} serves {1} without the state, if it is to within a minute",
        "{0}: 1분 안에 {1}을(를) 맡게 되면 상태 없이 서비스함",
    ),
    (
        "{0} does not answer: {1}",
        "{0} 응답 없음: {1}",
    ),
    (
        "{0}: {1} is in maintenance or stopping; nobody could take over from {2}",
        "{0}: {1} 점검 중이거나 멈추는 중; {2}의 뒤를 이을 노드가 없음",
    ),
    (
        "{0}: {1} is not heard; nobody could take over from {2}",
        "{0}: {1}의 신호가 없음; {2}의 뒤를 이을 노드가 없음",
    ),
    (
        "{0}: {1} server {2}: {3}",
        "{0}: 서비스 {1}의 서버 {2}: {3}",
    ),
    (
        "{0}: {1} runs another configuration",
        "{0}: {1}의 설정이 다름",
    ),
    (
        "{0}: {1} datagrams on the channel were sealed with another key: give every node the same cluster.key",
        "{0}: 채널의 데이터그램 {1}개가 다른 키로 봉해짐: 모든 노드에 같은 cluster.key를 두십시오",
    ),
    (
        "{0}: {1} datagrams on the channel {2}",
        "{0}: 채널의 데이터그램 {1}개: {2}",
    ),
    (
        "{0}: no node is Active",
        "{0}: 활성 노드가 없음",
    ),
    (
        "{0} are both Active",
        "{0} 둘 다 활성",
    ),
    (
        "cluster {0}",
        "클러스터 {0}",
    ),
    (
        "{0} runs file {1}, loaded {2} ago",
        "{0}의 파일 {1}, {2} 전에 읽음",
    ),
    (
        "the kernel lease is OFF: a control of a drill",
        "커널 임대가 꺼져 있음: 훈련의 대조 실험",
    ),
    ("the state gate is OFF: a control of a drill", "상태 관문이 꺼져 있음: 훈련의 대조 실험"),
    ("writing of flows is DELAYED: a control of a drill", "흐름 기록을 일부러 늦춤: 훈련의 대조 실험"),
    (
        "{0}: the kernel's table of flows is nearly full: {1} of {2}",
        "{0}: 커널의 흐름 표가 거의 참: {2} 중 {1}",
    ),
    ("{0}: the process that replicates flows says nothing", "{0}: 흐름을 복제하는 프로세스가 응답하지 않음"),
    (
        "{0}: {1}: not all flows are here: the peer's replicator speaks version {2} of its protocol, this one {3}",
        "{0}: {1}: 흐름이 모두 있지는 않음: 상대의 복제 프로세스는 프로토콜 버전 {2}, 이쪽은 {3}",
    ),
    ("{0}: {1}: not all flows are here: {2}", "{0}: {1}: 흐름이 모두 있지는 않음: {2}"),
    (
        "{0} flows, {1}: original; {2} is {3} ms ({4}) behind, complete there; "
        "rounds: {5}, repaired: {6}, overruns: {7}",
        "{0} 흐름, {1}: 원본; {2} 지연 {3} ms ({4}개), 그쪽에 모두 있음; 대조 {5}회, 고침 {6}, 넘침 {7}",
    ),
    (
        "{0} flows, {1}: original; {2} is {3} ms ({4}) behind, not complete there; "
        "rounds: {5}, repaired: {6}, overruns: {7}",
        "{0} 흐름, {1}: 원본; {2} 지연 {3} ms ({4}개), 그쪽에 모두 있지는 않음; 대조 {5}회, 고침 {6}, 넘침 {7}",
    ),
    (
        "{0} flows, {1}: {2} here, {3} on {4}, {5} ms ({6}) behind, complete, proven {7} s ago; "
        "rounds: {8}, repaired: {9}, overruns: {10}",
        "{0} 흐름, {1}: 여기 {2}, {4}에 {3}, 지연 {5} ms ({6}개), 모두 있음, {7}초 전에 확인; "
        "대조 {8}회, 고침 {9}, 넘침 {10}",
    ),
    (
        "{0} flows, {1}: {2} here, {3} on {4}, {5} ms ({6}) behind, not complete; "
        "rounds: {7}, repaired: {8}, overruns: {9}",
        "{0} 흐름, {1}: 여기 {2}, {4}에 {3}, 지연 {5} ms ({6}개), 모두 있지는 않음; 대조 {7}회, 고침 {8}, 넘침 {9}",
    ),
    ("{0}: {1} flows here, {2} on {3}, {4} differ", "{0}: 흐름 {1}개, {3}에 {2}개, 다른 것 {4}개"),
    (
        "{0} was changed behind its back {1}, last {2} ago by {3}: {4}; repaired",
        "{0}의 커널을 누가 바꿈({1}), 마지막은 {2} 전 {3}: {4}; 되돌림",
    ),
    (
        "{0} was changed behind its back {1}, last {2} ago: {3}; repaired",
        "{0}의 커널을 누가 바꿈({1}), 마지막은 {2} 전: {3}; 되돌림",
    ),
    (
        "{0} was changed behind its back {1}, last {2} ago: {3}; not repaired: {4}",
        "{0}의 커널을 누가 바꿈({1}), 마지막은 {2} 전: {3}; 되돌리지 못함: {4}",
    ),
    (
        "{0} is served by {1} now ({2} ms)",
        "이제 {1}이(가) {0}을(를) 서비스함 ({2} ms)",
    ),
    (
        "{0} stayed where it was: {1} did not take it. understudy explain tells why",
        "{0}은(는) 그대로임: {1}이(가) 받지 않음. 이유는 understudy explain",
    ),
    (
        "{0} (serves {1})",
        "{0} ({1} 서비스 중)",
    ),
    (
        "{0} (stands by)",
        "{0} (대기)",
    ),
    (
        "nothing changes",
        "바뀌는 것 없음",
    ),
    (
        "In this order:",
        "이 순서로:",
    ),
    (
        "Where the agent does not answer here:",
        "에이전트가 여기서 응답하지 않는 노드:",
    ),
    (
        "{0} flows end: {1} is removed",
        "흐름 {0}개가 끝남: {1} 제거",
    ),
    ("{0} flows end: {1} decides now", "흐름 {0}개가 끝남: 이제 {1}이(가) 정함"),
    ("{0} flows go on until they end: {1} is removed", "흐름 {0}개는 끝날 때까지 계속됨: {1} 제거"),
    ("{0} flows go on until they end: {1} decides now", "흐름 {0}개는 끝날 때까지 계속됨: 이제 {1}이(가) 정함"),
    ("{0} flows go on for at most {1}: {2} is removed", "흐름 {0}개는 길어야 {1} 동안 계속됨: {2} 제거"),
    ("{0} flows go on for at most {1}: {2} decides now", "흐름 {0}개는 길어야 {1} 동안 계속됨: 이제 {2}이(가) 정함"),
    ("{0} flows drain until they end: {1}", "흐름 {0}개가 끝나기를 기다림: {1}"),
    ("{0} flows drain for {1}: {2}", "흐름 {0}개가 끝나기를 기다림({1} 남음): {2}"),
    ("{0} flows of removed translations ended", "없앤 변환의 흐름 {0}개를 끝냄"),
    ("no live flow is touched", "영향을 받는 흐름 없음"),
    ("{0} of {1} cases passed", "{1}개 가운데 {0}개 통과"),
    ("FAILED", "실패"),
    (
        "{0} flows go on: {1} is removed",
        "흐름 {0}개는 계속됨: {1} 제거",
    ),
    (
        "... and {0} lines more: --json",
        "... 그 밖에 {0}줄: --json",
    ),
    (
        "{0}: take the file live",
        "{0}: 멈추지 않고 파일을 받음",
    ),
    (
        "{0}: restart the agent ({1})",
        "{0}: 에이전트를 다시 시작 ({1})",
    ),
    (
        "{0}: hand {1} over to {2}",
        "{0}: {1}을(를) {2}(으)로 넘김",
    ),
    (
        "{0}: keep the file for good",
        "{0}: 파일을 확정",
    ),
    (
        "{0}: {1}: ok ({2} ms)",
        "{0}: {1}: 완료 ({2} ms)",
    ),
    (
        "{0}: {1}: failed ({2} ms)",
        "{0}: {1}: 실패 ({2} ms)",
    ),
    (
        "packets lost: {0}",
        "잃은 패킷: {0}",
    ),
    (
        "connections lost: {0}",
        "끊긴 연결: {0}",
    ),
    (
        "taken back",
        "되돌림",
    ),
    (
        "done",
        "완료",
    ),
    (
        "Go on?",
        "계속할까요?",
    ),
    (
        "{0} could not be led back; it goes on trying by itself",
        "{0}을(를) 되돌리지 못함; 스스로 계속 시도함",
    ),
    ("! nothing is staged", "! 준비된 줄이 없음"),
    ("! nothing was staged", "! 준비된 줄이 없었음"),
    ("! staged lines dropped", "! 준비된 줄을 버림"),
    (
        "! {0} is written; no agent answers here: `{1}` where they run",
        "! {0}에 씀; 여기서 응답하는 에이전트가 없음: 에이전트가 있는 곳에서 `{1}`",
    ),
    ("% not applied: {0} is as it was", "% 적용되지 않음: {0}은(는) 그대로임"),
    ("% nothing is changed", "% 바뀐 것 없음"),
    (
        "% not committed: a line above was refused. `abort` begins anew",
        "% 커밋하지 않음: 위에 거부된 줄이 있음. `abort`로 다시 시작",
    ),
    (
        "% lines are staged: `commit` or `abort`; `exit` once more leaves them behind",
        "% 준비된 줄이 있음: `commit`이나 `abort`; `exit`을 한 번 더 하면 버려짐",
    ),
    (
        "{0} staged lines are left behind: commit applies them",
        "준비된 줄 {0}개를 두고 나감: commit으로 적용",
    ),
)

CELLS = {
    "active": "활성",
    "ACTIVE": "활성",
    "standby": "대기",
    "backup": "대기",
    "not heard": "신호 없음",
    "plain VRRP": "일반 VRRP",
    "no answer": "응답 없음",
    "started": "시작함",
    "no Active is heard": "활성 노드의 신호가 없음",
    "adopted": "이어받음",
    "stopped": "멈춤",
    "no carrier": "링크 없음",
    "resume guard": "깨어나 물러남",
    "outranked": "우선순위에 밀림",
}


def speaks_korean(language: str | None = None) -> bool:
    """By the option, or by the environment where there is none."""
    return (language or os.environ.get(LANGUAGE_VARIABLE, "en")) == "ko"


def speaker(language: str | None = None) -> Callable[[str], str]:
    """What puts sentences into the language of the option, or else of the environment. Raises OperatorError E6001."""
    chosen = check_language(language or os.environ.get(LANGUAGE_VARIABLE) or LANGUAGES[0])
    return sentence if chosen == "ko" else str


def sentence(text: str) -> str:
    """A whole sentence, if its form is known."""
    for pattern, korean in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            return korean.format(*match.groups())
    return text


def cell(text: str) -> str:
    """A word of a table; `(maintenance)` and what else follows it is kept apart."""
    head, mark, rest = text.partition(" (maintenance)")
    return CELLS.get(head, head) + (" (점검)" if mark else "") + rest


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Blanks match as little as they can, in the order of the table."""
    return tuple(
        (re.compile(re.sub(r"\\\{\d+\\\}", "(.+?)", re.escape(english)), re.DOTALL), korean)
        for english, korean in SENTENCES
    )
