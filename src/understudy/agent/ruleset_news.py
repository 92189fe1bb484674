"""Whose change of the rule set it was: of all news of our tables, what others did to them.

The kernel's news name the process that made a transaction, as the first process namespace counts; our own number there
is learned by a transaction that changes nothing and has a name of our own: after two quick reloads there is the news of
the hands before us as well, theirs among it. While it is unknown, no change is anybody's drift. What the allocator
fills and turns is none either (`agent.pools`). Where there was more news than the socket holds, the rule set itself is
looked at: mostly nothing of it is missing.
"""

import os
import select
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from understudy.adapters.nftables import Nft
from understudy.adapters.watch import NewsLostError, RulesetWatch, Transaction
from understudy.errors import EnvironmentFailure
from understudy.render.ios_first import KEPT
from understudy.render.text import FAMILY_INET, TABLE, TURN_CHAIN

WORDS_MAX = 4
TOO_MANY: Final = "more changes at once than could be followed: applied again"
MISSING: Final = "a table, chain, set or map is missing"


class RulesetNews:
    """`ruleset` is what the kernel shall hold now."""

    def __init__(self, nft: Nft, ruleset: Callable[[], str]) -> None:
        self._nft = nft
        self._ruleset = ruleset
        self._watch = RulesetWatch(TABLE)
        self.socket = self._watch.socket
        self._probe = f"probe-{os.urandom(8).hex()}"
        self._own: int | None = None
        """Our process id, as the machine's first process namespace counts."""
        self._found: tuple[str, str] | None = None
        self._beyond = False

    @property
    def knows_us(self) -> bool:
        return self._own is not None

    def close(self) -> None:
        self._watch.close()

    def read(self) -> bool:
        """Take in what there is. True if there was too much to follow, and the rule set was applied again."""
        try:
            for transaction in self._watch.read():
                self._judge(transaction)
        except NewsLostError:
            # Somebody loads a set of a hundred thousand elements: mostly that is none of ours, and no fight.
            if self._nft.holds(self._ruleset()):
                self._nft.apply(self._ruleset())
                self.pass_over_own()
                return True
            self.miss(MISSING)
        return False

    def take(self) -> tuple[str, str] | None:
        """What others did to our rule set since it was last asked for, and who; None if nobody did."""
        found, self._found = self._found, None
        return found

    def take_beyond_rules(self) -> bool:
        """Whether more was changed than rules of chains, since it was last asked for."""
        beyond, self._beyond = self._beyond, False
        return beyond

    def miss(self, what: str) -> None:
        """Nobody said who it was, nor exactly what."""
        self._beyond = True
        self._found = (what, "")

    def learn_own_pid(self) -> None:
        """By a transaction that changes nothing: news name a process as the first process namespace counts.

        Before it there is the news of the whole rule set that was just made, more than the socket may hold; and before
        that, where other hands were at work, theirs: what we made of the kernel since then is right.
        """
        seen: list[Transaction] = []
        lost = False
        try:
            seen += self._watch.read()
        except NewsLostError:
            lost = True
        try:
            chain = f"chain {FAMILY_INET} {TABLE} {self._probe}"
            self._nft.run(f"add {chain}\ndelete {chain}\n")
            seen += self._watch.read()
        except (EnvironmentFailure, NewsLostError):
            lost = True
        probed = f"chain {self._probe} of {FAMILY_INET} {TABLE} added"
        self._own = next((each.pid for each in seen if probed in each.touched), None)
        first = next((number for number, each in enumerate(seen) if each.pid == self._own), 0)
        for transaction in seen[first:]:
            self._judge(transaction)
        if lost and not self._nft.holds(self._ruleset()):
            self.miss(MISSING)

    def pass_over_own(self) -> None:
        """A rule set of thousands of services is more news than the socket holds: that is no drift."""
        lost = False
        while select.select([self._watch.socket], [], [], 0)[0]:
            try:
                for transaction in self._watch.read():
                    self._judge(transaction)
            except NewsLostError:
                lost = True
        if lost and not self._nft.holds(self._ruleset()):
            self.miss(MISSING)

    def _judge(self, transaction: Transaction) -> None:
        if transaction.pid == self._own:
            self._watch.pass_over(transaction.port)
            return
        # What the allocator fills and turns is no drift (agent.pools).
        transaction = replace(transaction, touched=tuple(each for each in transaction.touched if not _is_kept(each)))
        if transaction.touched and self._own is not None:
            self._beyond = self._beyond or not transaction.only_rules
            self._found = (summary(transaction.touched), transaction.who)


def _is_kept(word: str) -> bool:
    noun, _, rest = word.partition(" in ")
    name = rest.partition(" of ")[0]
    # A rule's own sets are its parts, named by the kernel: the rule is told as well.
    if noun.startswith("set __") or name.startswith("__"):
        return True
    if noun.startswith("rule "):
        return name.startswith(TURN_CHAIN)
    return noun.startswith("element ") and KEPT.fullmatch(name) is not None


def summary(words: Sequence[str]) -> str:
    """The worst first, and not too many."""
    ranked = [each for each in words if each.startswith("table ") and each.endswith(" deleted")] or list(words)
    more = len(ranked) - WORDS_MAX
    return ", ".join(ranked[:WORDS_MAX]) + (f" and {more} more" if more > 0 else "")
