"""Whose turn it is in each rotary: read from this kernel, kept right in it, and told to the other node.

The kernel turns by itself and exactly; a load of the rule set leaves the turn alone. This writes a rotary's rule anew
only where the servers changed, where one is left out because its checks fail, or where the peer said whose turn it is.
A connection that begins in the very moment of such a change may get a turn that was given already, or skip one.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from understudy.adapters.nftables import Nft
from understudy.adapters.rulecount import RuleCounts
from understudy.core.allocation.turns import Server, order, same_ring, turn_of
from understudy.errors import EnvironmentFailure
from understudy.render.ios_turns import Rotary, parse_turn, turn_listing, turn_text


@dataclass(slots=True)
class _Turning:
    rotary: Rotary
    serving: tuple[Server, ...] = ()
    """As the kernel's rule has them; nothing while that is not known."""
    count: int = 0
    """Turns that the rule has given, when it was read last."""
    before: int = 0
    """Turns that rules before it have given since we lead."""
    passed: int = 0
    """`given` at the last change of who is left out."""

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(map(int, self.rotary.servers))

    @property
    def turn(self) -> Server:
        return turn_of(self.serving, self.count)

    @property
    def given(self) -> int:
        """Turns since we lead."""
        return self.before + self.count


class TurnKeeper:
    """Belongs to the network namespace in which it is made."""

    def __init__(self, rotaries: Sequence[Rotary]) -> None:
        self._turnings = {each.name: _Turning(each) for each in rotaries}
        self._ill: frozenset[Server] = frozenset()
        self._nft = Nft()
        self._counts = RuleCounts()
        for each in self._turnings.values():
            self._adopt(each)

    @property
    def servers(self) -> tuple[Server, ...]:
        """Of all rotaries, each once."""
        return tuple(dict.fromkeys(server for each in self._turnings.values() for server in each.servers))

    def look(self) -> dict[str, Server]:
        """Whose turn it is, by rotary. What others took away is put back."""
        for each in self._turnings.values():
            count = self._read(each)
            if not each.serving or count is None or count < each.count:
                self._adopt(each)
            else:
                each.count = count
        return {name: each.turn for name, each in self._turnings.items() if each.serving}

    def lead(self) -> None:
        """From here on turns are ours to count."""
        self.look()
        for each in self._turnings.values():
            # What was given here before we knew that we lead is ours already.
            each.before, each.passed = 0, 0

    def rest(self) -> dict[str, Server]:
        """We lead no more: whose turn it was at last. The rules begin anew with it, as nothing is given here now."""
        found = self.look()
        for each in self._turnings.values():
            if each.serving and each.count:
                self._write(each, order(each.servers, self._well(each), each.turn))
        return found

    def follow(self, turns: Mapping[str, Server]) -> None:
        """Where the peer stands. What we have given ourselves since comes on top."""
        self.look()
        for name, turn in turns.items():
            each = self._turnings.get(name)
            if each is None or not each.serving:
                continue
            ring = order(each.servers, self._well(each), turn)
            self._begin_with(each, turn_of(ring, each.count))

    def correct(self, turns: Mapping[str, Server]) -> None:
        """Where the peer stood when it stopped, heard after we began: our own turns come on top of that."""
        self.look()
        for name, turn in turns.items():
            each = self._turnings.get(name)
            if each is not None and each.serving:
                ring = order(each.servers, self._well(each), turn)
                self._begin_with(each, turn_of(ring, each.given))

    def leave_out(self, ill: Iterable[Server]) -> list[str]:
        """Servers that get no turn from here on, all others do; what is to be told of it."""
        before, self._ill = self._ill, frozenset(ill)
        self.look()
        told = []
        for name, each in self._turnings.items():
            if not each.serving:
                continue
            rounds = max(0, each.given - each.passed) // len(each.serving)
            for server in each.servers:
                if server in self._ill - before:
                    told.append(f"{name}: {IPv4Address(server)} is left out")
                elif server in before - self._ill:
                    told.append(f"{name}: {IPv4Address(server)} has its turn again, {rounds} were passed over")
            wanted = order(each.servers, self._well(each), each.turn)
            if not same_ring(wanted, each.serving):
                self._write(each, wanted)
                each.passed = each.given
        return told

    def close(self) -> None:
        self._counts.close()
        self._nft.close()

    def _well(self, each: _Turning) -> frozenset[Server]:
        return frozenset(each.servers) - self._ill

    def _begin_with(self, each: _Turning, turn: Server) -> None:
        if turn != each.turn:
            self._write(each, order(each.servers, self._well(each), turn))

    def _adopt(self, each: _Turning) -> None:
        """Go on where the kernel's rule stands, whoever wrote it; with our servers."""
        turn = each.turn if each.serving else None
        each.before, each.serving, each.count = each.given, (), 0
        with contextlib.suppress(EnvironmentFailure):
            held = parse_turn(self._nft.run(turn_listing(each.rotary)))
            if held is not None:
                serving, count = tuple(map(int, held[0])), held[1]
                turn = turn_of(serving, count)
                if same_ring(order(each.servers, self._well(each), turn), serving):
                    each.serving, each.count = serving, count
                    each.before -= count
                    return
            self._write(each, order(each.servers, self._well(each), turn))

    def _write(self, each: _Turning, serving: tuple[Server, ...]) -> None:
        with contextlib.suppress(EnvironmentFailure):  # hands that load the rule set write it, and we look again
            self._nft.run(turn_text(each.rotary, tuple(map(IPv4Address, serving))))
            each.before, each.serving, each.count = each.given, serving, 0

    def _read(self, each: _Turning) -> int | None:
        with contextlib.suppress(EnvironmentFailure):
            return self._counts.read(each.rotary.chain)
        return each.count
