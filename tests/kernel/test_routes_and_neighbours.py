"""Routes of ours among those of others, and neighbours of several links, in one look each."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from nft_bed import in_sandbox, shell
from test_drift import EDGE, World

from understudy.adapters.damage import Inspector
from understudy.adapters.netlink import RouteSocket
from understudy.adapters.routes import RTM_GETROUTE
from understudy.core.repair import Kind
from understudy.render.model import Link

FOREIGN = 300


def test_a_look_asks_once_for_the_routes_and_reads_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others a kernel has: a router on the Internet has a million. One that is missing is found."""
    looks: list[int] = []
    dump = RouteSocket.dump

    def counted(self: RouteSocket, kind: int, payload: bytes) -> Iterator[bytes]:
        found = list(dump(self, kind, payload))
        if kind == RTM_GETROUTE:
            looks.append(len(found))
        return iter(found)

    monkeypatch.setattr(RouteSocket, "dump", counted)

    def story() -> tuple[list[list[str]], list[int]]:
        world = World(active=True)
        for number in range(FOREIGN):
            shell(f"ip route add 198.18.{number // 64}.{number % 64 * 4}/30 dev outside")
        pools = (IPv4Network("198.51.100.0/28"), IPv4Network("198.51.100.16/28"))
        links: list[Link] = [link for link in world.config.links if link.family == 4]
        config = replace(
            world.config, links=tuple(replace(link, held=(pool,)) for link, pool in zip(links, pools, strict=True))
        )
        world.links.take(config.links)
        inspector = Inspector(config)
        looks.clear()
        found = [inspector.look_at_links({EDGE: True})[Kind.ADDRESSES]]
        shell(f"ip route del local {pools[1]} dev {links[1].name} table local")
        found.append(inspector.look_at_links({EDGE: True})[Kind.ADDRESSES])
        found.append(inspector.look_at_links({EDGE: False})[Kind.ADDRESSES][:0])
        return found, looks

    found, looks = in_sandbox(story)
    name = found[1][0].split()[-1]
    assert found == [[], [f"route 198.51.100.16/28 is missing on {name}"], []]
    assert looks == [2, 1]  # nobody looks for routes of a Backup


def test_neighbours_of_several_links_are_read_together() -> None:
    """Each under its own link; one whose MAC is not known is none."""

    def story() -> dict[str, list[str]]:
        world = World()
        shell(
            "ip neigh add 203.0.113.7 lladdr 02:00:00:00:00:07 dev outside nud reachable\n"
            "ip neigh add 10.9.0.8 lladdr 02:00:00:00:00:08 dev inside nud stale\n"
            "ip neigh add 10.9.0.9 dev inside nud failed"
        )
        indexes = {link.name: link.index for link in world.links.links()}
        found = world.links.neighbours([indexes["outside"], indexes["inside"]])
        return {name: [str(a) for a in found[indexes[name]] if a.version == 4] for name in ("outside", "inside")}

    assert in_sandbox(story) == {"outside": ["203.0.113.7"], "inside": ["10.9.0.8"]}
