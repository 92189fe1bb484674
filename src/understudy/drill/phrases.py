"""What people read in a report, in their language. Keys, fault names and events stay English: searches rely on them."""

from collections.abc import Callable

from understudy.drill.korean import SENTENCES

_KOREAN = {
    "active": "활성",
    "address before state": "상태보다 먼저 응답한 주소",
    "advertisement": "광고(advertisement)",
    "All runs": "모든 실행",
    "announcement (gratuitous ARP)": "알림(gratuitous ARP)",
    "answers for the virtual addresses": "가상 주소에 응답",
    "a datagram every millisecond arrives": "1 ms마다 데이터그램 도착",
    "allowed": "허용 범위",
    "bound": "허용 범위",
    "decide": "결정",
    "decided by": "결정한 행",
    "declared": "선언 목표",
    "detect": "감지",
    "Drill report": "장애 조치 훈련 보고서",
    "different": "서로 다름",
    "dual answer": "이중 응답",
    "established": "연결됨",
    "Every run": "실행별 결과",
    "Events of the median run, with their causes": "중앙값 실행의 사건과 원인",
    "failed": "실패",
    "fault": "장애",
    "flows kept": "보존되는 흐름(flow)",
    "frozen": "정지됨",
    "How to read this": "읽는 법",
    "idle datagrams": "유휴 데이터그램",
    "inward": "안으로",
    "Kept flows": "보존되는 흐름(flow)",
    "killed": "종료됨",
    "lease": "임대(lease)",
    "lost": "손실",
    "max": "최댓값",
    "measured": "측정값",
    "milliseconds after the fault": "장애 이후 밀리초",
    "move": "이동",
    "never sent": "보내지 못함",
    "objective": "목표",
    "off": "꺼짐",
    "outage": "중단 시간",
    "outward": "밖으로",
    "packets": "패킷",
    "passed": "통과",
    "phases": "단계",
    "replication lag": "복제 지연",
    "reset": "RST",
    "resume": "재개",
    "runs": "실행 횟수",
    "stalled": "멈춤",
    "standby": "대기",
    "struck": "장애 대상",
    "survived": "유지됨",
    "The median run": "중앙값 실행",
    "The promotion, magnified": "절체 구간 확대",
    "time from the last advertisement to the fault": "마지막 광고부터 장애까지의 시간",
    "timeline of one run": "실행 한 번의 시간표",
    "traffic is back": "트래픽 복구",
    "verdict": "판정",
    "What users felt": "사용자가 느낀 중단",
}

LANGUAGES = ("en", "ko")


def speaker(language: str) -> Callable[[str], str]:
    """Translate English phrases; what has no translation stays as it is."""
    table = {**_KOREAN, **SENTENCES} if language == "ko" else {}
    return lambda phrase: table.get(phrase, phrase)
