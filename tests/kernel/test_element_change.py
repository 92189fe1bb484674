"""A rule set that differs from the one before in elements alone: these are changed, and the rest is left alone."""

from nft_bed import in_sandbox

from understudy.adapters.nftables import Nft
from understudy.errors import EnvironmentFailure
from understudy.render.text import Chain, Elements, chain_text, elements_text, preamble


def ruleset(*elements: str, rule: str = "numgen inc mod 3 0 counter") -> str:
    held = Elements("map", "m", "type ipv4_addr : ipv4_addr;", elements)
    chain = Chain("c", (rule,), hook="type filter hook input priority 0; policy accept;")
    return (
        f"{preamble('inet')}add map inet understudy m {{ {held.declaration} }}\nflush map inet understudy m\n"
        f"table inet understudy {{\n{elements_text(held)}\n\n{chain_text(chain)}\n}}\n"
    )


FIRST = ruleset("10.0.0.1 : 10.1.0.1", "10.0.0.2 : 10.1.0.2")
OTHER = ruleset("10.0.0.1 : 10.1.0.1", "10.0.0.2 : 10.1.0.3", "10.0.0.4 : 10.1.0.4")


def handle(nft: Nft) -> str:
    """Of the chain's rule: another one if it was written again."""
    (line,) = [each for each in nft.run("list chain inet understudy c\n").splitlines() if "numgen" in each]
    return line.rpartition("# handle ")[2]


def elements(nft: Nft) -> list[str]:
    listing = nft.run("list map inet understudy m\n").partition("elements = {")[2].partition("}")[0]
    return sorted(each.strip() for each in listing.split(","))


def told(*texts: tuple[str, str]) -> tuple[list[bool], list[str]]:
    """Texts with what is said to stand before each: whether the rule was left alone, and the elements at the end."""

    def story() -> tuple[list[bool], list[str]]:
        with _Handles() as nft:
            nft.apply(FIRST)
            before, kept = handle(nft), []
            for text, standing in texts:
                nft.apply(text, standing)
                kept.append(handle(nft) == before)
                before = handle(nft)
            return kept, elements(nft)

    return in_sandbox(story)


class _Handles(Nft):
    """Listings with handles."""

    def _run(self, text: str, flags: int) -> str:
        return super()._run(text, flags | 1 << 3)


ALL = ["10.0.0.1 : 10.1.0.1", "10.0.0.2 : 10.1.0.3", "10.0.0.4 : 10.1.0.4"]


def test_only_the_elements_change() -> None:
    assert told((OTHER, FIRST)) == ([True], ALL)


def test_without_a_word_of_what_stands_all_of_it_is_written() -> None:
    """Control: the rule is another one then."""
    assert told((OTHER, "")) == ([False], ALL)


def test_what_is_not_as_was_said_is_written_whole() -> None:
    """The text before is another one than the kernel's: an element that should go is not there."""
    assert told((OTHER, ruleset("10.0.0.9 : 10.1.0.9"))) == ([False], ALL)


def test_another_rule_is_no_change_of_elements() -> None:
    changed = OTHER.replace("mod 3", "mod 4")
    assert told((changed, FIRST)) == ([False], ALL)


def test_the_same_text_is_written_whole() -> None:
    """Who asks for what stands already wants it put right."""
    kept, _ = told((FIRST, FIRST))
    assert kept == [False]


def test_a_chain_that_is_gone_comes_back() -> None:
    def story() -> tuple[bool, list[str]]:
        with Nft() as nft:
            nft.apply(FIRST)
            nft.run("delete chain inet understudy c\n")
            nft.apply(OTHER, FIRST)
            try:
                nft.run("list chain inet understudy c\n")
            except EnvironmentFailure:
                return False, elements(nft)
            return True, elements(nft)

    assert in_sandbox(story) == (True, ALL)
