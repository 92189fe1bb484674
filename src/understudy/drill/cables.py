"""Faults of cables and switches that are worse than a cut: one-way, lossy, flapping, parting two nodes that live."""

import time
from collections.abc import Callable, Sequence

from understudy.adapters.channel import PORT
from understudy.config.drills import Values
from understudy.drill import bounds
from understudy.drill.fault import Fault, Strike, now
from understudy.lab.impairment import EVERYTHING, Impairment, Partition, corrupted, lost, udp_port
from understudy.units import SECOND, Duration, Instant, NetworkName


def one_way_loss(values: Values) -> Fault:
    wanted = str(values["direction"])

    def prepare(strike: Strike) -> Impairment:
        deaf = strike.turn // len(strike.networks) % 2 == 0 if wanted == "turns" else wanted == "deaf"
        strike.measures["deaf"] = float(deaf)
        return _impair(strike, [strike.network], *(((), EVERYTHING) if deaf else (EVERYTHING, ())))

    return Fault(
        "one-way-loss",
        "The active node no longer hears one LAN, or is no longer heard there; its carrier stays.",
        prepare=prepare,
        inject=lambda s: _begin(s, [s.network]),
        heal=_end,
        check=_has_struck,
        bound=bounds.link_silent,
        crash=True,
        on_lan=True,
    )


def packet_loss(values: Values) -> Fault:
    share = float(values["share"])
    return _damaged(
        "packet-loss",
        "A share of VRRP's packets is lost on all LANs of the active node, both ways.",
        lost(share),
        values,
    )


def packet_corrupt(values: Values) -> Fault:
    share = float(values["share"])
    return _damaged(
        "packet-corrupt",
        "A share of VRRP's packets arrives changed on all LANs of the active node, both ways.",
        corrupted(share),
        values,
    )


def _damaged(name: str, sentence: str, rules: Sequence[str], values: Values) -> Fault:
    return Fault(
        name,
        sentence,
        prepare=lambda s: _impair(s, s.networks, rules, rules),
        inject=lambda s: _begin(s, s.networks),
        heal=_end,
        heal_after=lambda _: int(values["duration"]),
        check=_has_struck,
        bound=bounds.untouched,
    )


def partition(values: Values) -> Fault:
    duration = int(values["duration"])
    if values["paths"] == "heartbeat":
        return Fault(
            "partition",
            "No heartbeat passes between the nodes on any path; their advertisements do.",
            prepare=lambda s: _impair(s, shared_networks(s), udp_port(PORT), udp_port(PORT)),
            inject=lambda s: _begin(s, shared_networks(s)),
            heal=_end,
            heal_after=lambda _: duration,
            check=_has_struck,
            bound=bounds.untouched,
        )
    return Fault(
        "partition",
        "No frame passes between the two nodes on any path, while both reach all hosts: both serve until it heals.",
        prepare=lambda s: Partition(s.lab.switch, "partition"),
        inject=_part,
        heal=_end,
        heal_after=lambda _: duration,
        lasts=lambda timing: 4 * timing.interval,
        check=_has_struck,
        double=True,
        bound=lambda timing: bounds.parted(timing, duration),
        crash=True,
    )


def flap(values: Values) -> Fault:
    times, period = int(values["times"]), int(values["period"])
    return Fault(
        "flap",
        "The active node's cable to one LAN loses its carrier and finds it again, several times.",
        inject=lambda s: s.lab.link_down(s.active, s.network),
        during=lambda s, struck: _go_on_flapping(s, struck, times, period),
        heal=lambda s: s.lab.link_up(s.active, s.network),
        heal_after=lambda _: (times - 1) * period + period // 2,
        lasts=lambda _: SECOND,
        bound=bounds.flapping,
        on_lan=True,
    )


def _go_on_flapping(strike: Strike, struck: Instant, times: int, period: Duration) -> None:
    """Half a period without carrier, half a period with it; the last loss is the heal's to end."""
    changes: tuple[Callable[[str, str], Instant], ...] = (strike.lab.link_up, strike.lab.link_down)
    for step in range(2 * (times - 1)):
        time.sleep(max(0, struck + (step + 1) * period // 2 - time.monotonic_ns()) / SECOND)
        changes[step % 2](strike.active, strike.network)


def shared_networks(strike: Strike) -> list[NetworkName]:
    """Every network that both nodes are on, the group's or not."""
    theirs = {port.network for port in strike.lab.topology.host(strike.standby).ports}
    return [port.network for port in strike.lab.topology.host(strike.active).ports if port.network in theirs]


def _impair(
    strike: Strike, networks: Sequence[NetworkName], from_node: Sequence[str], to_node: Sequence[str]
) -> Impairment:
    ports = [strike.lab.topology.switch_port(strike.active, network) for network in networks]
    return Impairment(strike.lab.switch, "impairment", ports, from_node, to_node)


def _begin(strike: Strike, networks: Sequence[NetworkName]) -> Instant:
    assert isinstance(strike.tool, Impairment)
    before = now()
    strike.tool.begin(strike.lab.topology.port(strike.active, network).switch_index for network in networks)
    return before


def _part(strike: Strike) -> Instant:
    assert isinstance(strike.tool, Partition)
    port = strike.lab.topology.port
    before = now()
    strike.tool.begin(
        (port(strike.active, network).switch_index, port(strike.standby, network).switch_index)
        for network in shared_networks(strike)
    )
    return before


def _end(strike: Strike) -> None:
    assert isinstance(strike.tool, Impairment | Partition)
    strike.tool.end()


def _has_struck(strike: Strike) -> list[str]:
    """A fault that touched no packet proves nothing."""
    assert isinstance(strike.tool, Impairment | Partition)
    touched = strike.tool.packets()
    strike.measures["packets_struck"] = touched
    return [] if touched else ["no packet was struck: the fault did not do what it says"]
