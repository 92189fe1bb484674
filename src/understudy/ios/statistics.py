"""`show ip nat statistics`, classic and IOS-XE: a table of line forms, each with the fields it fills."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from understudy.ios.outputs import named
from understudy.ios.words import is_prompt


@dataclass(slots=True)
class Mapping:
    """A dynamic rule: `[Id: 1] access-list 7 pool A refcount 0`."""

    section: str
    """Inside Source, Inside Destination or Outside Source."""
    id: int | None
    access_list: str | None
    route_map: str | None
    pool: str | None
    interface: str | None
    refcount: int
    vrf: str | None = None
    words: list[str] = field(default_factory=list)
    """Whatever else the line says: `overload`, `match-in-vrf` ..."""


@dataclass(slots=True)
class PoolUse:
    """A pool and how much of it is handed out."""

    name: str
    netmask: str
    id: int | None = None
    segments: list[tuple[str, str]] = field(default_factory=list)
    kind: str = "generic"
    total: int = 0
    allocated: int = 0
    percent: int = 0
    misses: int = 0


@dataclass(slots=True)
class Statistics:
    numbers: dict[str, int] = field(default_factory=dict)
    """active, static, dynamic, extended, hits, misses, expired ... and every other counter, by its own words."""
    peak_ago: str | None = None
    outside: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    enabled: list[str] = field(default_factory=list)
    """Of NVI, which has no sides."""
    settings: dict[str, str] = field(default_factory=dict)
    """What is no number."""
    mappings: list[Mapping] = field(default_factory=list)
    pools: list[PoolUse] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


_TOTAL = re.compile(r"Total(?: active)? translations:\s*(\d+)\s*\((\d+) static,\s*(\d+) dynamic[;,]\s*(\d+) extended\)")
_PEAK = re.compile(r"Peak translations:\s*(\d+)(?:, occurred (\S+) ago)?")
_SIDES = re.compile(r"(Outside|Inside|NAT Enabled) interfaces:\s*(.*)", re.IGNORECASE)
_SECTION = re.compile(r"-- (Inside Source|Inside Destination|Outside Source|.+)")
_MAPPING = re.compile(
    r"(?:\[Id:\s*(\d+)\]\s*)?((?:access-list|route-map|static|list) .+ refcount \d+\b.*)", re.IGNORECASE
)
_SETTING = re.compile(r"(Reserved port setting|Logging|Gatekeeper) (.{1,80})")
_POOL = re.compile(r"pool (\S+?):\s*(?:id (\d+),\s*)?netmask (\S+)")
_SEGMENT = re.compile(r"start (\S+) end (\S+)")
_USE = re.compile(r"type (\S+), total addresses (\d+), allocated (\d+) \((\d+)%\), misses (\d+)")
_MAX_ENTRY = re.compile(r"([\w ./-]+?):\s*max allowed (\d+), used (\d+), missed (\d+)")
_CHAIN = re.compile(r"longest chain in pool: (\S+)'s addr-hash: (\d+), average len (\d+),\s*chains (\d+)/(\d+)")
_PAIR = re.compile(r"([A-Za-z][\w '()-]{0,60}?):\s*(\d{1,20})")
_LINE_MAX = 1024
_HEADS = ("dynamic mappings", "nat-limit statistics")


def looks_like_statistics(lines: list[str]) -> bool:
    """Whether any line could only be of this output."""
    return any(_TOTAL.search(line) or line.strip().lower().startswith("hits:") for line in lines)


def read_statistics(lines: list[str]) -> Statistics:
    """Read the lines of one output."""
    found = Statistics()
    side: list[str] | None = None
    section = ""
    for line in lines:
        text = line.strip()
        if not text:
            continue
        if len(text) > _LINE_MAX:
            found.unread.append(text[:80])
        elif match := _TOTAL.match(text):
            names = ("active", "static", "dynamic", "extended")
            found.numbers |= dict(zip(names, map(int, match.groups()), strict=True))
        elif match := _PEAK.match(text):
            found.numbers["peak"], found.peak_ago = int(match[1]), match[2]
        elif match := _SIDES.match(text):
            side = {"outside": found.outside, "inside": found.inside}.get(match[1].lower(), found.enabled)
            side += _interfaces(match[2])
            continue
        elif match := _SECTION.fullmatch(text):
            section = match[1]
        elif match := _MAPPING.match(text):
            found.mappings.append(_mapping(section, match[1], match[2].split()))
        elif match := _POOL.match(text):
            found.pools.append(PoolUse(match[1], match[3], int(match[2]) if match[2] else None))
        elif (match := _SEGMENT.match(text)) and found.pools:
            found.pools[-1].segments.append((match[1], match[2]))
        elif (match := _USE.match(text)) and found.pools:
            pool_use = found.pools[-1]
            pool_use.kind = match[1]
            pool_use.total, pool_use.allocated, pool_use.percent, pool_use.misses = map(int, match.groups()[1:])
        elif match := _MAX_ENTRY.match(text):
            for name, value in zip(("allowed", "used", "missed"), match.groups()[1:], strict=True):
                found.numbers[f"{_key(match[1])}_{name}"] = int(value)
        elif match := _CHAIN.match(text):
            found.numbers["longest_chain"] = int(match[2])
        elif text.rstrip(":").lower() in _HEADS or not text.strip("-=+* "):
            pass
        elif match := _SETTING.fullmatch(text):
            found.settings[_key(match[1])] = match[2]
        elif side is not None and ":" not in text and (more := _interfaces(text)):
            side += more
            continue
        elif is_prompt(line):
            continue
        elif not _counters(text, found.numbers):
            found.unread.append(text)
        side = None
    return found


_NAMED = ("access-list", "route-map", "pool", "interface", "vrf", "refcount")


def _mapping(section: str, number: str | None, words: list[str]) -> Mapping:
    """Words in pairs, in any order; what is not known to have a value is kept as it is."""
    said: dict[str, str] = {}
    alone: list[str] = []
    rest = iter(words)
    for word in rest:
        name = "access-list" if word.lower() == "list" else word.lower()
        if name in _NAMED:
            said[name] = next(rest, "")
        else:
            alone.append(word)
    refcount = said.get("refcount", "").rstrip(",")
    return Mapping(
        section, int(number) if number else None, said.get("access-list"), said.get("route-map"), said.get("pool"),
        said.get("interface"), int(refcount) if refcount.isdecimal() else 0, said.get("vrf"), alone,
    )  # fmt: skip


def _interfaces(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return names if all(re.fullmatch(r"[A-Za-z][\w./:-]*( ?\d[\d/.:]*)?", name) for name in names) else []


_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9]{1,20}")


def _counters(text: str, numbers: dict[str, int]) -> bool:
    pairs = _PAIR.findall(text) or named(re.sub(r"\s+", " ", text))
    counted = [(name, value) for name, value in pairs if _NUMBER.fullmatch(value)]
    for name, value in counted:
        numbers[_key(name)] = int(value, 16 if value.startswith("0x") else 10)
    return bool(counted)


def _key(name: str) -> str:
    """`CEF Translated packets` is cef_translated_packets; `Expired translations` is expired."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().removesuffix(" translations")).strip("_")
