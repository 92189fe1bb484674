"""What is done in a shorter way for big texts comes to the same as the long way, which stands here."""

import gc
import re
from dataclasses import fields
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ios_models import addresses, statics

from understudy.errors import OperatorError
from understudy.ios import commands, fidelity, reader
from understudy.ios.check import check
from understudy.ios.encoding import read_as_text
from understudy.ios.grammar import Grammar
from understudy.ios.model import Configuration, Side, Static
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import PROFILES
from understudy.ios.reader import read_text
from understudy.ios.slots import Unfit, read_address
from understudy.render.ios_nat import render_ios_nat
from understudy.render.ios_scene import dotted

octets = st.integers(0, 299).map(str) | st.from_regex(r"0{0,3}[0-9]{1,3}|[0-9٣a-x]{0,2}", fullmatch=True)
words = st.lists(octets, min_size=3, max_size=5).map(".".join)
GRAMMARS = {name: each for name, each in vars(commands).items() if isinstance(each, Grammar)}


def long_way(word: str) -> int | None:
    """Four numbers of up to three digits, none above 255; zeros before one mean nothing."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", word, re.ASCII)
    numbers = [int(each) for each in found.groups()] if found else []
    return int.from_bytes(bytes(numbers), "big") if numbers and max(numbers) <= 255 else None


@settings(max_examples=500)
@given(words)
def test_an_address_is_read_as_its_octets_say(word: str) -> None:
    try:
        address, behind = read_address((word,), 0)
    except Unfit:
        assert long_way(word) is None
    else:
        assert (int(address), behind) == (long_way(word), 1)


@given(addresses | st.sampled_from((IPv4Address(0), IPv4Address("255.255.255.255"))))
def test_an_address_is_written_as_the_library_does(address: IPv4Address) -> None:
    assert dotted(address) == str(address)


@given(st.text("ab\r\n"))
def test_lines_end_where_they_did(text: str) -> None:
    """A line feed, with up to two carriage returns before it, or a carriage return alone."""
    assert reader._BREAK.split(text) == re.split(r"\r{0,2}\n|\r", text)


@given(st.text("a\n\0\x01\x02\ufffd"))
def test_what_is_no_text_is_told_on_its_first_line(text: str) -> None:
    strange = re.search("[\0\x01\x02\ufffd]", text)
    if strange is None:
        assert read_as_text(text.encode(), "it", "text") == text
        return
    with pytest.raises(OperatorError, match=rf"line {text.count(chr(10), 0, strange.start()) + 1} is not text"):
        read_as_text(text.encode(), "it", "text")


def nodes(grammar: Grammar) -> list[Any]:
    found = [grammar.root]
    for node in found:
        found += [*node.keywords.values(), *([node.slot[2]] if node.slot is not None else [])]
    return found


@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_a_word_that_begins_no_keyword_is_known_at_once(name: str) -> None:
    """At every place, for every beginning of every keyword of the grammar, and for what is none."""
    every = {keyword for node in nodes(GRAMMARS[name]) for keyword in node.keywords}
    tried = {keyword[:length] for keyword in every for length in range(1, len(keyword) + 1)} | {"10.0.0.1", "zz", "-"}
    for node in nodes(GRAMMARS[name]):
        for word in tried:
            assert (word in node.beginnings) == any(keyword.startswith(word) for keyword in node.keywords)


@given(statics(), st.sampled_from(sorted(PROFILES)))
def test_entries_of_one_shape_have_one_verdict(static: Static, profile: str) -> None:
    """The rows, asked with the entry itself."""
    rows = tuple(name for test, name in fidelity._STATIC if test(static, PROFILES[profile]))
    assert fidelity.judge(static, {}, PROFILES[profile]) == fidelity.verdict_of(rows)


def test_the_shape_of_an_entry_has_all_that_it_can_say() -> None:
    """But for addresses, and for words by which nothing is judged."""
    assert {each.name for each in fields(Static)} - set(fidelity._Shape._fields) == {
        "local", "global_", "global_port", "name", "match_in_vrf",
    }  # fmt: skip


def plain(number: int) -> str:
    return f"10.0.0.{number}"


lines = st.lists(
    st.builds(
        "{}ip nat {}inside source static {} {}".format,
        st.sampled_from(("", "", "no ")),
        st.sampled_from(("", "name A ")),
        st.integers(1, 3).map(plain),
        st.integers(7, 9).map(plain),
    )
    | st.sampled_from(("no ip nat name A", "ip nat inside source list 1 pool P", "no ip nat inside source list 1")),
    max_size=12,
)


@given(lines)
def test_it_does_not_matter_when_the_first_no_comes(text: list[str]) -> None:
    """It makes the index of what a `no` can name, from what stands above; later lines are added to it."""
    early = read_text("\n".join(("no ip nat name NOBODY", *text)))
    assert early.configuration == (read_text("\n".join(text)).configuration if text else Configuration())


@given(lines)
def test_the_line_of_a_rule_is_found_by_what_it_says(text: list[str]) -> None:
    reading = read_text("\n".join(("hostname R", *text)))
    for static in reading.running.statics.values():
        number = reading.running.line_of(static)
        said = print_configuration(Configuration(statics=(static,))).splitlines()[-1]
        assert number is not None
        assert text[number - 2] == said


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_of_cycles_is_left_as_it_was(collecting: bool) -> None:
    """Also where the reading ends in an error. A reading leaves nothing for it to find, whatever the lines are."""
    text = "interface g0/0\n" + "ip nat inside source static 10.0.0.1 x\nip nat pool\nno ip nat inside\n" * 50
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        read_text(text)
        assert gc.isenabled() == collecting
        with pytest.raises(OperatorError):
            read_text("\x0cnothing of the kind\n" * 5)
        assert gc.isenabled() == collecting
        gc.disable()
        gc.collect()
        reading = read_text(text)
        assert len(reading.refused) > 99
        del reading
        assert gc.collect() == 0
    finally:
        (gc.enable if was else gc.disable)()


@given(st.lists(statics(), max_size=6))
def test_every_pair_of_a_map_names_addresses_as_the_library_does(found: list[Static]) -> None:
    """Of hosts without conditions: both ways, the first of two with one key."""
    more = ("protocol", "length", "interface", "vrf", "route_map")
    hosts = [each for each in found if each.side is Side.INSIDE and not any(getattr(each, name) for name in more)]
    nat = render_ios_nat(Configuration(statics=tuple(hosts)), {}, {})
    held = {each.name: each.elements for each in nat.declared}
    there = {str(each.local): f"{each.local} : {each.global_}" for each in reversed(hosts)}
    back = {str(each.global_): f"{each.global_} : {each.local}" for each in reversed(hosts)}
    assert sorted(held["ios_out_host"]) == sorted(there.values())
    assert sorted(held["ios_in_host"]) == sorted(back.values())


def test_what_is_judged_of_many_is_judged_of_each() -> None:
    """Warnings on the lines that they are of."""
    text = "interface g0/1\n ip address 203.0.113.1 255.255.255.0\n ip nat outside\n" + "\n".join(
        f"ip nat inside source static 10.0.0.{number} 203.0.113.{number}" for number in (1, 2, 1, 3)
    )
    found = [(each.code, each.line) for each in check(read_text(text), PROFILES["classic"]).warnings]
    assert ("static-on-interface", 4) in found
    assert ("similar-static", 6) in found
