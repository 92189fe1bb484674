"""The table of translations and the explanation of a packet, against real packets on a scratch router."""

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from understudy.agent.nat_orders import answered
from understudy.ios.asking import read_clearing
from understudy.ios.explain import Explanation, explain
from understudy.ios.layout import print_translations, words_of
from understudy.ios.matching import NUMBERS
from understudy.ios.reader import read_text
from understudy.ios.rows import unpacked
from understudy.ios.selecting import Packet
from understudy.ios.show import Translations, read_show
from understudy.ios.statistics import read_statistics
from understudy.ios.translations import Kind
from understudy.lab import sandbox
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Case, Seen, Step, read_cases
from understudy.lab.natrun import run_cases
from understudy.render.ios_scene import Wishes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/nat"
FILES = sorted(EXAMPLES.glob("*.yaml"))
_ICMP = {"echo-request": 8, "echo-reply": 0}
_ANY_PORT = 33_000


def packet_of(step: Step) -> Packet:
    """What the bed sends for a step."""

    def number(name: str) -> int:
        value = step.sent.get(name, 0)
        return value if isinstance(value, int) else _ANY_PORT

    ends = IPv4Address(str(step.sent["src"])), IPv4Address(str(step.sent["dst"]))
    if step.protocol == "icmp":
        return Packet(1, *ends, number("id"), 0, _ICMP.get(str(step.sent.get("icmp", "echo-request")), 8))
    ports = (number("sport"), number("dport")) if step.protocol in ("tcp", "udp") else (0, 0)
    return Packet(NUMBERS[step.protocol], *ends, *ports)


def explained(text: str, step: Step, bed: Any, wishes: Wishes) -> Explanation:
    reading = read_text(text)
    side, _, _ = step.direction.partition(">")
    role = {"in": "inside", "out": "outside"}.get(side, "")
    source = IPv4Address(str(step.sent["src"]))
    roled = [each for each in reading.configuration.interfaces if role in each.roles]
    roled = [each for each in roled if step.vrf is None or each.vrf == step.vrf] or roled
    near = [each for each in roled if any(source in i.network for i in each.addresses)]
    name = (near or roled)[0].name if side != "local" else None
    packet, table = packet_of(step), bed.view().rows
    return explain(
        reading, side, name, packet, given=bed.given(), leaving=step.egress, table=table,
        profile=wishes.profile, strict=wishes.strict, rotary_udp=wishes.rotary_udp,
    )  # fmt: skip


def differences(told: Explanation, seen: Seen) -> Iterator[str]:
    """What the page says and the kernel does not do."""
    if told.verdict != seen.verdict:
        yield f"verdict {told.verdict} ({told.reason}), seen {seen.verdict}"
        return
    if told.seen is None:
        return
    expected: dict[str, Any] = {"src": told.seen.source, "dst": told.seen.destination}
    if told.sent.protocol == 1:
        expected["id"] = told.seen.source_port
    elif "sport" in seen.fields:
        expected |= {"sport": told.seen.source_port, "dport": told.seen.destination_port}
    chosen = {"port": ("sport", "id"), "turn": ("dst",), "address": ("src",)}
    free = {name for what in told.chosen for name in chosen[what]}
    for name, value in expected.items():
        if name not in free and str(seen.fields[name]) != str(value):
            yield f"{name} {value} ({told.reason}), seen {seen.fields[name]}"


def first_packets(case: Case) -> list[str]:
    """Send a case's packets, and explain each that begins a flow just before."""
    profile = case.profile if case.profile.startswith("ios-xe") else "classic"
    wishes = Wishes(profile=profile, strict=case.strict, rotary_udp=case.rotary_udp)
    bed = Bed(case.config, case.steps, wishes=wishes)
    text = case.config
    wrong: list[str] = []
    seen: list[Seen | None] = []
    try:
        for number, step in enumerate(case.steps):
            if step.lines:
                bed.enter(step.lines)
                text += "\n" + "\n".join(step.lines) + "\n"
                seen.append(None)
                continue
            fresh = step.reply_to is None and step.same_flow_as is None and step.protocol != "dns"
            told = explained(text, step, bed, wishes) if fresh else None
            seen.append(bed.send(step, seen))
            got = seen[-1]
            if told is not None and got is not None:
                wrong += [f"{case.id} packet {number + 1}: {each}" for each in differences(told, got)]
                if told.verdict == "translated" and not told.chosen and not list(differences(told, got)):
                    rows = {words_of(row) for row in bed.view().rows}
                    wrong += [f"{case.id} packet {number + 1}: no row {words_of(row)}" for row in told.rows
                              if words_of(row) not in rows]  # fmt: skip
    finally:
        bed.close()
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_explained_is_what_the_kernel_does(file: Path) -> None:
    """Verdict, addresses, ports and the rows of the table, for each packet of the examples that begins a flow."""
    cases = read_cases(file)
    assert sandbox.run(lambda: [each for case in cases for each in first_packets(case)]) == []


def test_an_explanation_of_another_configuration_is_found_wrong() -> None:
    """Control: with the rules turned round the comparison above finds what differs."""
    case = next(each for each in read_cases(EXAMPLES / "cases.yaml") if each.id == "static-both-ways")
    other = case.config.replace("203.0.113.11", "203.0.113.12")
    bad = [
        difference
        for step in case.steps
        for difference in differences(
            explained(other, step, _NoBed(), Wishes()),
            Seen("translated", {name: str(value) for name, value in step.expected.items() if name in ("src", "dst")}),
        )
    ]
    assert bad


class _NoBed:
    """Where nothing has come by yet."""

    def view(self) -> Any:
        return self

    rows = ()

    def given(self) -> tuple[()]:
        return ()


STATICS = """
interface GigabitEthernet0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface GigabitEthernet0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
ip nat inside source static 10.9.0.5 203.0.113.5
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.20 203.0.113.21 prefix-length 24
ip nat inside source list 1 pool P
"""


def _step(source: str, port: int, target: str = "198.51.100.9") -> Step:
    sent: dict[str, Any] = {"src": source, "sport": port, "dst": target, "dport": 80}
    return Step(direction="in>out", protocol="tcp", sent=sent, expected={"verdict": "translated"})


ROWS = (
    "tcp 203.0.113.5:4000 10.9.0.5:4000 198.51.100.9:80 198.51.100.9:80",
    "tcp 203.0.113.20:4001 10.9.0.6:4001 198.51.100.9:80 198.51.100.9:80",
    "--- 203.0.113.20 10.9.0.6 --- ---",
    "--- 203.0.113.5 10.9.0.5 --- ---",
)
STEPS = (_step("10.9.0.5", 4000), _step("10.9.0.6", 4001))


def test_rows_of_a_case_are_looked_for_in_its_table() -> None:
    """And a row that is not there fails the case, unless it is expected to differ."""
    case = Case("rows", "", STATICS, STEPS, False, "any", "", ROWS)
    wrong = ("tcp 203.0.113.5:4000 10.9.0.5:4000 198.51.100.9:80 198.51.100.8:80",)
    fine, missing, told = run_cases(
        [
            case,
            replace(case, id="missing", table_after=wrong),
            replace(case, id="differs", differs=True, table_after=wrong),
        ]
    )
    assert fine.passed
    assert set(ROWS) == set(fine.table)
    assert not missing.passed
    assert missing.missing == wrong
    assert told.passed
    assert told.missing == wrong


def test_the_kernels_table_reads_back_in_every_layout() -> None:
    def story() -> list[str]:
        bed = Bed(STATICS, STEPS)
        try:
            for step in STEPS:
                bed.send(step, [])
            rows = bed.view().rows
        finally:
            bed.close()
        return [print_translations(rows, layout, verbose=verbose) for layout in "AC" for verbose in (False, True)]

    for text in sandbox.run(story):
        read = read_show(text.encode())
        assert isinstance(read, Translations)
        assert len(read.rows) == len(ROWS)
        assert not read.unread


def _cleared(words: str) -> tuple[tuple[int, int], list[str], str]:
    """What went, what is left, and the address that the pool's host has afterwards."""

    def story() -> tuple[tuple[int, int], list[str], str]:
        bed = Bed(STATICS, (*STEPS, _step("10.9.0.7", 4002)))
        try:
            for step in STEPS:
                bed.send(step, [])
            done = bed.clear(read_clearing(words.split()))
            left = [" ".join(words_of(row)) for row in bed.view().rows]
            after = bed.send(_step("10.9.0.7", 4002), [])
            return (done.flows, done.entries), left, str(after.fields["src"])
        finally:
            bed.close()

    return sandbox.run(story)


@pytest.mark.parametrize(
    ("words", "gone", "left", "then"),
    [
        # After a release the search goes on from the last address handed out.
        ("*", (2, 1), ROWS[3:], "203.0.113.21"),
        ("inside 203.0.113.20 10.9.0.6", (1, 1), (ROWS[0], ROWS[3]), "203.0.113.21"),
        ("tcp inside 203.0.113.5 4000 10.9.0.5 4000", (1, 0), ROWS[1:], "203.0.113.21"),
        ("outside 1.1.1.1 2.2.2.2", (0, 0), ROWS, "203.0.113.21"),
    ],
)
def test_entries_are_taken_away(words: str, gone: tuple[int, int], left: tuple[str, ...], then: str) -> None:
    """What is named goes, the rest and what the configuration says stays, and the pool serves on."""
    done, rows, after = _cleared(words)
    assert (done, set(rows), after) == (gone, set(left), then)


def test_statistics_and_ages_are_what_the_kernel_counted() -> None:
    """The first packet of a flow is a miss, the next a hit; what ended has expired; a text loaded again counts on."""
    first, asked = STEPS[0], dict.fromkeys(("src", "dst", "sport", "dport"), "any")
    back = Step(direction="out>in", protocol="tcp", sent=asked, expected={"verdict": "translated"}, reply_to=0)
    more = replace(first, same_flow_as=0)

    def story() -> tuple[list[dict[str, int]], list[int | None]]:
        bed = Bed(STATICS, STEPS)
        found = []

        def look() -> None:
            reply = bed.run(answered, json.dumps({"do": "statistics", "config": STATICS}).encode(), None)
            found.append(read_statistics(reply["text"].splitlines()).numbers)

        try:
            seen: list[Seen | None] = []
            look()
            for step in (first, back, more):
                seen.append(bed.send(step, seen))
            look()
            bed.enter(["ip nat inside source static 10.9.0.8 203.0.113.8"])
            bed.clear(read_clearing(["tcp", "inside", "203.0.113.5", "4000", "10.9.0.5", "4000"]))
            look()
            bed.send(STEPS[1], [])
            wanted = {"do": "translations", "words": ["verbose"], "config": STATICS}
            rows = bed.run(answered, json.dumps(wanted).encode(), None)["rows"]
        finally:
            bed.close()
        return found, [unpacked(row).age_s for row in rows if unpacked(row).kind is Kind.FLOW]

    (none, some, gone), ages = sandbox.run(story)
    names = ("hits", "misses", "expired")
    assert [[each[name] for name in names] for each in (none, some, gone)] == [[0, 0, 0], [2, 1, 0], [2, 1, 1]]
    assert ages
    assert all(age is not None and 0 <= age < 600 for age in ages)
