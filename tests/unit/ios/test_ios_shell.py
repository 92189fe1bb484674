"""The prompt: abbreviations, IOS's messages with their mark, blocks, `no`, help, and lines staged until taken."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.ios.profiles import profile_named
from understudy.ios.shell import HISTORY_MAX, Answer, Shell, Site
from understudy.ios.shell_changes import difference
from understudy.ios.shell_grammar import BLOCKS, CONFIG, EXEC
from understudy.ios.shell_help import following
from understudy.ios.words import LENGTH_MAX

BEGIN = (
    "interface outside", "ip nat outside", "interface inside", "ip nat inside",
    "access-list 1 permit 10.9.0.0 0.0.0.255",
    "ip nat inside source list 1 interface outside overload",
    "ip nat inside source static 10.9.0.5 203.0.113.5",
)  # fmt: skip


def shell(fixed: str = "") -> Shell:
    made = Shell(Site("edge", ("outside", "inside"), profile_named("classic"), fixed=fixed), ())
    made.start(BEGIN)
    return made


def typed(*lines: str) -> tuple[Shell, Answer]:
    """The answer to the last line."""
    made, answer = shell(), Answer()
    for line in lines:
        answer = made.enter(line)
    return made, answer


@pytest.mark.parametrize(
    ("line", "what", "values"),
    [
        ("sh ip nat tr", "translations", {"words": ()}),
        ("show ip nat translations verbose tcp", "translations", {"words": ("verbose", "tcp")}),
        ("sho ip na st", "statistics", {"words": ()}),
        ("sho ip na st | i Hits", "statistics", {"words": ("|", "i", "Hits")}),
        ("show ip nat pool name STAFF", "pool", {"name": "STAFF", "words": ()}),
        ("cle ip nat tra *", "clear", {"words": ("*",)}),
        ("expl in inside icmp 10.9.0.5 1.1.1.1", "explain", {"words": ("in", "inside", "icmp", "10.9.0.5", "1.1.1.1")}),
        ("wr mem", "commit", {}),
        ("commit", "commit", {}),
        ("commit now", "commit", {"now": True}),
        ("comm dr 10m", "commit", {"drain": "10m"}),
        ("exit", "exit", {}),
    ],
)  # fmt: skip
def test_what_only_the_world_can_do_is_an_order(line: str, what: str, values: dict[str, object]) -> None:
    _, answer = typed(line)
    assert answer.order is not None
    assert (answer.order.what, answer.order.values, answer.refused) == (what, values, False)


@pytest.mark.parametrize(
    ("lines", "printed"),
    [
        (("sho ip nta",), ("            ^", "% Invalid input detected at '^' marker.", "  'nta': expected nat")),
        (("conf t", "ip nat in so st 10.9.0.7"), ("% Incomplete command.", "  expected interface or an IPv4 address")),
        (("conf t", "ip nat s x"), ('% Ambiguous command:  "ip nat s"',)),
        (("conf t", "ip nat pool P 10.0.0.9 10.0.0.1 p 24"), ("%End address less than start address",)),
        (("conf t", "ip nat inside source static 10.9.0.6 203.0.113.5"), ("%NAT: similar static entry",)),
        (("conf t", "hostname X"), ("             ^", "% Invalid input detected at '^' marker.")),
        (("conf t", "no"), ("% Incomplete command.",)),
        (("conf t", "no foo"), ("                ^",)),
        (("conf t", "do foo"), ("                ^",)),
        (("conf t", "interface Gi0/9"), ("                       ^",)),
        (("conf t", "int outside", " ip address 10.0.0.1 255.0.0.0"), ("                    ^",)),
        (("conf t", "access-list 1 permit 10.9.300.1"), ("                                  ^",)),
        (("conf t", "ip access-l st X", "permit 10.9.300.1"), ("                             ^",)),
        (("conf t", "ip nat inside source list <acl> pool P"), ("                                       ^",)),
        (("x" * (LENGTH_MAX + 1),), (f"% a line has at most {LENGTH_MAX} characters",)),
    ],
)
def test_a_line_that_does_not_fit_is_refused_in_the_words_of_ios(
    lines: tuple[str, ...], printed: tuple[str, ...]
) -> None:
    """And where they say it, the mark stands below the word; nothing is staged."""
    made, answer = typed(*lines)
    assert answer.refused
    for found, wanted in zip(answer.printed, printed, strict=False):
        assert found.startswith(wanted), answer.printed
    assert len(answer.printed) >= len(printed)
    assert not [line for line in made.changes() if not line.startswith("+ip access-list standard X")]


def test_blocks_have_prompts_and_are_left_as_on_a_router() -> None:
    made = shell()
    prompts = []
    for line in ("conf t", "int inside", "exit", "ip access-list extended W", "ip nat pool Q prefix-length 24",
                 "route-map R", "ip nat inside source list W pool Q", "end"):  # fmt: skip
        assert not made.enter(line).refused, line
        prompts.append(made.prompt)
    assert prompts == [
        "edge(config)#", "edge(config-if)#", "edge(config)#", "edge(config-ext-nacl)#", "edge(config-ipnat-pool)#",
        "edge(config-route-map)#", "edge(config)#", "edge#",
    ]  # fmt: skip


def test_changes_are_told_below_their_blocks_and_dropped_by_abort() -> None:
    made, _ = typed(
        "conf t", "ip access-list standard 1", "5 deny host 10.9.0.9", "exit",
        "no ip nat inside source static 10.9.0.5 203.0.113.5", "ip nat translation udp-timeout 60", "end",
    )  # fmt: skip
    wanted = [
        " ip access-list standard 1",
        "+ 5 deny host 10.9.0.9",
        "-ip nat inside source static 10.9.0.5 203.0.113.5",
        "+ip nat translation udp-timeout 60",
    ]
    assert made.enter("show changes").printed == tuple(wanted)
    assert set(made.changes()) == set(wanted)
    made.enter("abort")
    assert made.changes() == []


def test_what_is_taken_is_no_change_any_more() -> None:
    made, _ = typed("conf t", "ip nat translation udp-timeout 60", "end")
    made.committed()
    assert (made.changes(), "ip nat translation udp-timeout 60" in made.held) == ([], True)


def test_a_list_that_no_rule_reaches_yet_stays() -> None:
    """As on a router, where a list is typed before the rule that names it."""
    made, _ = typed("conf t", "access-list 7 permit any", "end")
    made.committed()
    again = Shell(made.site, ())
    again.start(made.held)
    assert again.candidate == made.candidate
    assert "ip access-list standard 7" in again.candidate


def test_a_line_that_linux_does_otherwise_says_so() -> None:
    _, answer = typed("conf t", "ip nat inside source static 10.9.0.7 203.0.113.7 stateless")
    assert not answer.refused
    assert answer.printed[0].startswith("! ")


@pytest.mark.parametrize("rest", ["", " 10.0.0.1 10.0.0.9 prefix-length 24"])
def test_a_pool_stays_while_a_rule_names_it(rest: str) -> None:
    begin = ("conf t", "ip nat pool P 10.0.0.1 10.0.0.9 prefix-length 24", "ip nat inside source list 2 pool P")
    made, answer = typed(*begin, f"no ip nat pool P{rest}")
    assert (answer.refused, answer.printed[0]) == (True, "%Pool P in use, cannot destroy")
    for line in ("no ip nat inside source list 2 pool P", f"no ip nat pool P{rest}"):
        assert not made.enter(line).refused
    assert made.changes() == []


def test_nothing_is_staged_where_the_lines_are_elsewhere() -> None:
    answer = shell("the lines stand in edge.ios").enter("configure terminal")
    assert (answer.refused, answer.printed) == (True, ("% the lines stand in edge.ios",))


@pytest.mark.parametrize(
    ("lines", "asked", "first"),
    [
        ((), "", ["abort", "clear", "commit"]),
        ((), "sh", ["show"]),
        ((), "show ip nat ", ["pool", "statistics", "translations"]),
        ((), "show ip nat translations v", ["verbose", "vrf"]),
        (("conf t",), "ip nat inside source ", ["list", "route-map", "static"]),
        (("conf t",), "no ip nat inside source list 1 p", ["pool"]),
        (("conf t",), "ip nat inside source static tcp 10.9.0.1 ", ["<1-65535>"]),
        (("conf t",), "ip nat inside source list 1 pool P ov", ["overload"]),
        (("conf t",), "do show ip nat s", ["statistics"]),
        (("conf t", "int inside"), "ip nat o", ["outside"]),
        (("conf t", "ip nat pool Q prefix-length 24"), "addr", ["address"]),
        (("conf t",), "access-list 101 permit tcp any any eq 80 ", ["WORD", "<cr>"]),
    ],
)
def test_help_tells_what_may_follow_and_tab_completes_it(lines: tuple[str, ...], asked: str, first: list[str]) -> None:
    """Both from the one grammar; nothing is entered by asking."""
    made, _ = typed(*lines)
    before = made.candidate
    printed = made.enter(f"{asked}?").printed
    assert [line.split()[0] for line in printed][: len(first)] == first
    keywords = [word for word in first if word.isalpha() and word.islower()]
    assert {f"{word} " for word in keywords} <= set(made.complete(asked))
    assert made.candidate == before


def test_names_are_completed_and_may_be_cut() -> None:
    """Networks, pools, lists, route-maps; a network by its beginning as an interface on a router."""
    made, _ = typed("conf t", "ip nat pool STAFF 203.0.113.50 203.0.113.59 prefix-length 24", "route-map RM permit 10")
    for asked, wanted in (
        ("interface ", ["outside ", "inside "]),
        ("ip nat inside source list 1 interface o", ["outside "]),
        ("ip nat inside source list ", ["1 "]),
        ("ip nat inside source list 1 pool s", ["STAFF "]),
        ("ip nat inside source route-map ", ["RM "]),
    ):
        assert made.complete(asked) == wanted, asked
    assert not made.enter("int outs").refused
    assert not made.enter("ip nat inside source list 7 interface outs overload").refused
    assert "ip nat inside source list 7 interface outside overload" in made.candidate
    assert made.enter("ip nat inside source list 8 interface side overload").refused


def test_every_command_of_the_grammars_can_be_asked_for_word_by_word() -> None:
    """What help shows behind the keywords of each form is what the form says next."""
    count = 0
    for grammar in (EXEC, CONFIG, *(block.grammar for block in BLOCKS.values())):
        for form in grammar.forms:
            words: list[str] = []
            for word in form.pattern.replace("[name <name:name>] ", "").split():
                if word.startswith("<"):
                    break
                found = following(grammar, words)
                assert word in found.keywords, form.pattern
                words.append(word)
                count += 1
    assert count > 300


def test_a_removed_block_is_told_without_its_head() -> None:
    old = ("ip access-list standard A", " 10 permit any", "ip nat inside source list A pool P")
    assert difference(old, old[2:]) == ["-ip access-list standard A", "- 10 permit any"]
    assert difference(old, (*old[:2], " 20 deny any", old[2])) == [" ip access-list standard A", "+ 20 deny any"]
    assert difference(old, old) == []


def test_history_is_bounded() -> None:
    made = shell()
    for number in range(HISTORY_MAX + 50):
        made.enter(f"show ip nat pool name P{number}")
    assert len(made.history) == HISTORY_MAX


WORDS = st.sampled_from(
    ["ip", "nat", "inside", "source", "list", "static", "1", "10.9.0.1", "203.0.113.9", "no", "do", "show", "interface",
     "outside", "pool", "P", "permit", "any", "access-list", "standard", "exit", "end", "conf", "t", "?", "|", "tcp",
     "route-map", "match", "address", "abort", "<x>", "\x1b", "eq", "255.255.255.0", "overload", "remark", "99999999"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=40), max_size=12))
def test_no_line_breaks_the_prompt(lines: list[str]) -> None:
    """Whatever is typed: an answer; and what is staged then is what a file would hold."""
    made = shell()
    for line in lines:
        made.enter(line)
        made.complete(line)
    made.enter("end")
    again = Shell(made.site, ())
    again.start(made.candidate)
    assert again.candidate == made.candidate


def test_an_entry_that_stands_already_is_told_by_its_words() -> None:
    """Whether it stands in the file or was typed before."""
    for before in ((), ("ip nat inside source static 10.9.0.8 203.0.113.8",)):
        address = "203.0.113.8" if before else "203.0.113.5"
        _, answer = typed("conf t", *before, f"ip nat inside source static 10.9.0.6 {address}")
        standing = f"`ip nat inside source static 10.9.0.{address[-1]} {address}`"
        assert answer.refused
        assert any(standing in line for line in answer.printed), answer


def test_help_offers_no_end_to_a_command_that_is_nothing_without_more() -> None:
    made = shell()
    assert "<cr>" not in " ".join(made.help("clear ip nat translation "))
    assert "<cr>" in " ".join(made.help("show ip nat statistics "))
    assert "<cr>" in " ".join(made.help("clear ip nat translation * "))


LINE = st.sampled_from(["a", "b", "c", " x", " y", " z"])


@given(st.lists(LINE, max_size=12), st.lists(LINE, max_size=12))
def test_what_goes_and_comes_makes_one_of_the_other(old: list[str], new: list[str]) -> None:
    """Whatever lines are said how often: nothing is told where nothing differs, a mere change of order is."""
    told = difference(old, new)
    gone, come = (Counter(line[1:] for line in told if line[0] == mark) for mark in "-+")
    assert Counter(old) - gone + come == Counter(new)
    assert bool(gone or come) == (old != new)


def test_one_changed_line_among_many_alike_is_the_only_one_told() -> None:
    """Ten thousand lines of three kinds: no two of them are taken for each other."""
    old = ["ip access-list standard A", *(" remark x", " permit any", " deny any") * 3_333]
    new = [*old[:5_000], " permit none", *old[5_000:]]
    assert difference(old, new) == [" ip access-list standard A", "+ permit none"]
    assert difference(new, old) == [" ip access-list standard A", "- permit none"]
    assert difference(old, [])[0] == "-ip access-list standard A"


@pytest.mark.parametrize(("number", "helped"), [("101", True), ("\u00b2", False)])
def test_a_superscript_is_no_lists_number(number: str, helped: bool) -> None:
    _, answer = typed("conf t", f"access-list {number} ?")
    assert any("permit" in line for line in answer.printed) is helped
