"""Faults by people and programs who change a node's kernel behind the agent's back."""

import socket
import struct
import time
from collections.abc import Callable

from understudy.adapters.links import Links
from understudy.adapters.netlink import IFA_LOCAL, Request, RouteSocket, attribute
from understudy.config.drills import Values
from understudy.drill import agents, bounds
from understudy.drill.fault import Fault, NotSettled, Strike, now
from understudy.lab.nftsocket import NftSocket, list_chains
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant, Interface

_RTM_DELADDR = 21
_LOOK_EVERY_S = 0.001
_LOOK_FOR: Duration = SECOND


def rules_flushed(_: Values) -> Fault:
    return Fault(
        "rules-flushed",
        "Somebody flushes the active node's whole rule set, as the service of Debian's nftables does when it stops.",
        prepare=_Flush,
        inject=_flush,
        during=_watch_for_repair,
        check=_is_whole,
        heal=_start_anew,
        bound=bounds.repaired,
        crash=True,
    )


class _Flush:
    """Of the active's rule set, and whether it is as before again."""

    def __init__(self, strike: Strike) -> None:
        self._namespace = strike.lab.namespaces[strike.active]
        self._nft = self._namespace.run(NftSocket)
        self._tables, self._chains = self._nft.tables(), self._namespace.run(list_chains)
        if not self._tables:
            raise NotSettled(f"{strike.active} has no rules")

    def flush(self) -> None:
        self._nft.flush_ruleset()

    def is_there(self) -> bool:
        """Whether every table is back: each comes whole, in one transaction."""
        return self._nft.tables() >= self._tables

    def differences(self) -> int:
        """Chains that are not as they were."""
        return len(self._chains ^ self._namespace.run(list_chains))

    def close(self) -> None:
        self._nft.close()


def _flush(strike: Strike) -> Instant:
    assert isinstance(strike.tool, _Flush)
    before = now()
    strike.tool.flush()
    return before


def _watch_for_repair(strike: Strike, struck: Instant) -> None:
    assert isinstance(strike.tool, _Flush)
    _watch(strike, struck, strike.tool.is_there)


def _is_whole(strike: Strike) -> list[str]:
    assert isinstance(strike.tool, _Flush)
    differing = strike.tool.differences()
    return _judge_repair(strike, "the rule set is") or (
        [f"{differing} chains of the rule set are not as before"] if differing else []
    )


def _watch(strike: Strike, struck: Instant, is_repaired: Callable[[], bool]) -> None:
    """Look until it is, and note how long that took."""
    while (waited := time.monotonic_ns() - struck) < _LOOK_FOR:
        if is_repaired():
            strike.measures["repaired_ms"] = round(waited / MILLISECOND, 3)
            return
        time.sleep(_LOOK_EVERY_S)


def _start_anew(strike: Strike) -> None:
    """What the agent did not repair an operator would: by starting it again."""
    if "repaired_ms" not in strike.measures:
        agents.restart(strike.lab, strike.active)


def _judge_repair(strike: Strike, what: str) -> list[str]:
    after = strike.measures.get("repaired_ms")
    if after is None:
        return [f"{what} not as before within {_LOOK_FOR // MILLISECOND} ms"]
    if after > bounds.REPAIR_MAX / MILLISECOND:
        return [f"{what} as before only after {after:.0f} ms"]
    return []


def address_deleted(_: Values) -> Fault:
    return Fault(
        "address-deleted",
        "Somebody deletes a virtual address from the active node.",
        prepare=_Deletion,
        inject=_delete,
        during=_watch_for_return,
        check=_is_back,
        heal=_start_anew,
        bound=bounds.repaired,
        on_lan=True,
    )


class _Deletion:
    """Of the first virtual address of the struck LAN, on the node that holds it."""

    def __init__(self, strike: Strike) -> None:
        routers = [router for router in strike.group.routers if router.network == strike.network]
        self.address: Interface = routers[(strike.turn - 1) % len(routers)].addresses[0]
        namespace = strike.lab.namespaces[strike.active]
        self._routes = namespace.run(RouteSocket)
        self._links = namespace.run(Links)
        held = self._held()
        if held is None:
            raise NotSettled(f"{strike.active} does not hold {self.address.ip}")
        self._index, self._length = held

    def delete(self) -> None:
        family = socket.AF_INET if self.address.version == 4 else socket.AF_INET6
        payload = struct.pack("=BBBBI", family, self._length, 0, 0, self._index) + attribute(
            IFA_LOCAL, self.address.packed
        )
        self._routes.commit([Request(_RTM_DELADDR, 0, payload, "delete address", str(self.address))])

    def is_there(self) -> bool:
        return self._held() is not None

    def close(self) -> None:
        self._routes.close()

    def _held(self) -> tuple[int, int] | None:
        """Index of the link that holds the address, and the length of its prefix there."""
        wanted: Address = self.address.ip
        return next(((index, length) for index, address, length in self._links.addresses() if address == wanted), None)


def _delete(strike: Strike) -> Instant:
    assert isinstance(strike.tool, _Deletion)
    before = now()
    strike.tool.delete()
    return before


def _watch_for_return(strike: Strike, struck: Instant) -> None:
    assert isinstance(strike.tool, _Deletion)
    _watch(strike, struck, strike.tool.is_there)


def _is_back(strike: Strike) -> list[str]:
    assert isinstance(strike.tool, _Deletion)
    return _judge_repair(strike, f"{strike.tool.address.ip} is")
