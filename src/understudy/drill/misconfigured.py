"""The fault of files that differ: the standby runs with something else than the active, and the pair must say so.

Where the channel still works it keeps a second node from becoming Active; where it does not (another key), the
advertisements alone do. With another VRID or other addresses the pair is not one for VRRP, but its channel knows.
"""

import contextlib
import os
import time
from dataclasses import replace
from hashlib import blake2b
from ipaddress import IPv6Address, ip_interface

from understudy.config.drills import Values
from understudy.config.plan import Group, Plan, Router
from understudy.drill import bounds, control, journal
from understudy.drill.agents import restart, wait_until_standing_by
from understudy.drill.fault import Fault, Strike, now
from understudy.errors import EnvironmentFailure
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant, Interface, Vrid

_SAYING = frozenset({"config-differs", "mismatch"})
"""Kinds of events that tell of another configuration."""
_TURNS = ("vrid", "interval", "key", "addresses")


def peer_misconfigured(values: Values) -> Fault:
    duration, wanted = int(values["duration"]), str(values["what"])
    return Fault(
        "peer-misconfigured",
        "The standby runs with another VRID, interval, key or list of addresses than the active.",
        prepare=_Ears,
        inject=lambda s: _misconfigure(s, _what(s, wanted)),
        during=lambda s, struck: _wait_for_word(s, struck, duration),
        heal=_configure_again,
        heal_after=lambda _: duration,
        lasts=lambda _: SECOND,
        check=lambda s: _was_said(s, _what(s, wanted)),
        bound=bounds.untouched,
    )


def _what(strike: Strike, wanted: str) -> str:
    return _TURNS[(strike.turn - 1) % len(_TURNS)] if wanted == "turns" else wanted


def _misconfigure(strike: Strike, what: str) -> Instant:
    plan = None if what == "key" else _differing(strike.lab, strike.group, what)
    key = os.urandom(32) if what == "key" else None
    before = now()
    restart(strike.lab, strike.standby, plan=plan, key=key)
    return before


def _configure_again(strike: Strike) -> None:
    restart(strike.lab, strike.standby)
    wait_until_standing_by(strike.lab, strike.group, strike.standby)


def _differing(lab: Lab, group: Group, what: str) -> Plan:
    """The lab's plan with one thing otherwise about the group, as if the operator had edited one node's file."""
    match what:
        case "vrid":
            vrid = Vrid(group.routers[0].vrid % 255 + 1)
            changed = replace(group, routers=tuple(_with_vrid(router, vrid) for router in group.routers))
        case "interval":
            changed = replace(group, advertise=5 * group.advertise)
        case _:
            first, *rest = group.routers
            more = replace(first, addresses=(*first.addresses, _free_address(lab, first)))
            changed = replace(group, routers=(more, *rest))
    plan = lab.plan
    return replace(
        plan,
        groups=tuple(changed if one.name == group.name else one for one in plan.groups),
        digest=blake2b(plan.digest + what.encode(), digest_size=16).digest(),
    )


def _with_vrid(router: Router, vrid: Vrid) -> Router:
    link_local = IPv6Address(f"fe80::200:5eff:fe00:2{vrid:02x}") if router.family == 6 else None
    return replace(router, vrid=vrid, link_local=link_local)


def _free_address(lab: Lab, router: Router) -> Interface:
    """One of the router's LAN that nobody has, from the end of its prefix."""
    network = router.addresses[0].network
    taken = {address.ip for host in lab.topology.hosts for address in host.addresses}
    taken |= {address.ip for group in lab.plan.groups for other in group.routers for address in other.addresses}
    address = network.broadcast_address - 1
    while address in taken:
        address -= 1
    return ip_interface((address, network.prefixlen))


def _wait_for_word(strike: Strike, struck: Instant, patience: Duration) -> None:
    """An operator who looks at either node learns that the two do not belong together; note how soon."""
    assert isinstance(strike.tool, _Ears)
    while now() - struck < patience:
        if strike.tool.hears(struck):
            strike.measures["said_ms"] = round((now() - struck) / MILLISECOND, 1)
            return
        time.sleep(0.05)


class _Ears:
    """For what the nodes say in their journals, or by what the active refuses over the channel."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self._refused = self._count()

    def hears(self, since: Instant) -> bool:
        for node in (self._strike.active, self._strike.standby):
            events = journal.read(self._strike.lab.run_dir(node) / "events.jsonl", since)
            if any(event.kind in _SAYING for event in events):
                return True
        return self._count() > self._refused

    def close(self) -> None:
        """Nothing is held."""

    def _count(self) -> int:
        """Datagrams of a key that is not ours; without an answer none are known."""
        with contextlib.suppress(EnvironmentFailure):
            dropped = control.ask(self._strike.run_dir, {"command": "status"}, timeout_s=1).get("dropped", {})
            return sum(int(count) for reason, count in dropped.items() if str(reason).startswith("channel-key"))
        return 0


def _was_said(strike: Strike, what: str) -> list[str]:
    return [] if "said_ms" in strike.measures else [f"no node said that the other's {what} differs"]
