"""What the commands say to people, in Korean. Names, codes and the words of the kernel stay as they are.

A table of sentences: the English one with a blank for each name or figure, and the Korean one with the same blanks.
What stands in no row stays English: nothing is lost by a missing translation.
"""

import os
import re
from functools import cache

from understudy.cli.output import LANGUAGE_VARIABLE

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
    ("{0} rests: it never becomes Active", "{0} 쉼: 활성이 되지 않음"),
    ("{0} stands by again", "{0} 다시 대기함"),
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
        (re.compile(re.sub(r"\\\{\d\\\}", "(.+?)", re.escape(english)), re.DOTALL), korean)
        for english, korean in SENTENCES
    )
