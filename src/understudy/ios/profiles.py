"""Named ways of choosing a port for `overload`: IOS has no one behaviour, so we name the one that is meant."""

from dataclasses import dataclass

from understudy.errors import OperatorError


@dataclass(frozen=True, slots=True)
class Profile:
    """`linux` says whether this is what the Linux kernel does by itself, in outline."""

    name: str
    linux: bool
    meaning: str
    korean: str


PROFILES = {
    each.name: each
    for each in (
        Profile(
            "classic", True,
            "keeps the source port while it is free, else takes one of the same group (0-511, 512-1023, 1024-65535)",
            "비어 있으면 출발지 포트를 유지하고, 아니면 같은 그룹(0-511, 512-1023, 1024-65535)에서 고릅니다",
        ),
        Profile(
            "ios-xe-15.5", False,
            "as on CSR1000V 15.5: the router's own ports are never used, 500 becomes 512 and 4500 becomes 4501",
            "CSR1000V 15.5 방식: 라우터 자신의 포트는 쓰지 않으며 500은 512, 4500은 4501이 됩니다",
        ),
        Profile(
            "ios-xe-modern", False,
            "as on today's IOS XE: ports and ICMP ids count from 1024 up, the source port is not kept",
            "현재 IOS XE 방식: 포트와 ICMP id를 1024부터 차례로 쓰고 출발지 포트는 유지하지 않습니다",
        ),
    )
}  # fmt: skip
DEFAULT = "classic"


def profile_named(name: str) -> Profile:
    """Raises OperatorError E7105 for a name that stands in no table."""
    if name not in PROFILES:
        raise OperatorError("E7105", f"no profile {name!r}", " or ".join(PROFILES))
    return PROFILES[name]
