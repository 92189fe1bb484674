"""Virtual addresses on the port itself: they come and go with the role, and the operator's stay as they are."""

import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface

from nft_bed import WITHOUT_MAC, Machine, in_sandbox

from ip_monitor import news_while
from understudy.adapters.links import Links
from understudy.config import load_plan
from understudy.render import NodeConfig, render_node
from understudy.units import NodeName

OWN = {
    "outside": "203.0.113.1/24 203.0.113.77/24 2001:db8:1::1/64 2001:db8:1::77/64",
    "inside": "10.9.0.1/24 2001:db8:9::1/64",
}
"""The node's addresses, and others of the operator's beside them."""
VIRTUAL = ("203.0.113.10/32", "2001:db8:1::10/128", "10.9.0.254/32", "2001:db8:9::254/128")


class Node:
    """A node with two ports, and what its kernel shall hold."""

    def __init__(self) -> None:
        self.machine = Machine.new("gw1")
        self.machine.sysctl("net/ipv6/conf/default/accept_dad", 0)
        for port, addresses in OWN.items():
            self.machine.sh(f"ip link add {port} type veth peer name {port}-far\nip link set {port}-far up")
            self.machine.sh(f"ip link set {port} up")
            for address in addresses.split():
                self.machine.sh(f"ip addr add {address} dev {port}{' nodad' if ':' in address else ''}")
        self.machine.sh("ip route add default via 203.0.113.254")
        time.sleep(0.05)
        self.config: NodeConfig = self.kernel_part(WITHOUT_MAC)

    def kernel_part(self, file: bytes) -> NodeConfig:
        return replace(render_node(load_plan(file), NodeName("gw1")), sysctls=())

    def does(self, act: Callable[[Links], object]) -> object:
        return self.machine.run(lambda: act(Links()))

    def apply(self, config: NodeConfig | None = None) -> None:
        wanted = config or self.config
        self.does(lambda links: links.apply(wanted.links, (), wanted.rules))

    def held(self) -> set[str]:
        return {each for port in OWN for each in self.machine.output(f"ip -o addr show {port}").split() if "/" in each}

    def news_while(self, act: Callable[[], object]) -> str:
        """What the kernel told of links and addresses meanwhile."""

        return self.machine.run(news_while, act, "link", "address")


def test_addresses_come_and_go_with_the_role_and_the_operators_stay() -> None:
    """Twice each, as either may be repeated; the port stays up, and an adopter is told only when all are there."""

    def story() -> list[object]:
        node = Node()
        seen: list[object] = []
        before = node.held()
        node.apply()
        for _ in range(2):
            for act in (Links.take, Links.take, Links.release, Links.release):
                node.does(lambda links, act=act: act(links, node.config.links))  # type: ignore[misc] # a bound default
                extra = sorted(each for each in node.held() ^ before if not each.startswith("fe80::200:5eff"))
                seen.append([extra, node_up(node)])
        node.does(lambda links: links.take(node.config.links))
        seen.append(node.does(lambda links: links.are_answering(node.config.links)))
        node.machine.sh("ip addr del 10.9.0.254/32 dev inside")
        seen.append(node.does(lambda links: links.are_answering(node.config.links)))
        return seen

    taken, released = [sorted(VIRTUAL), True], [[], True]
    assert in_sandbox(story) == [taken, taken, released, released] * 2 + [True, False]


def node_up(node: Node) -> bool:
    return all("state UP" in node.machine.output(f"ip link show {port}") for port in OWN)


def test_the_nodes_own_traffic_keeps_its_own_source() -> None:
    """On the LAN, through the default route, to link-local addresses and in both families, with the addresses there."""

    def story() -> list[str]:
        node = Node()
        targets = ("203.0.113.100", "8.8.8.8", "10.9.0.50", "2001:db8:1::100", "fe80::9 dev outside")

        def sources() -> list[str]:
            routes = [node.machine.output(f"ip route get {target}").split() for target in targets]
            return [words[words.index("src") + 1] for words in routes]

        before = sources()
        node.does(lambda links: links.take(node.config.links))
        assert sources() == before
        # ... also where nothing of the node's own is on the target's network any more, as long as there is any other.
        node.machine.sh("ip addr del 2001:db8:1::77/64 dev outside")
        return sources()[:-1]

    assert in_sandbox(story) == ["203.0.113.1", "203.0.113.1", "10.9.0.1", "2001:db8:1::1"]


def test_applying_again_changes_nothing_on_an_active_or_a_backup() -> None:
    """The kernel reports no change; as a control it does for one address."""

    def story() -> list[bool]:
        node = Node()
        node.apply()
        quiet = [node.news_while(node.apply) == ""]
        heard = node.news_while(lambda: node.does(lambda links: links.take(node.config.links)))
        return [*quiet, "203.0.113.10" in heard, node.news_while(node.apply) == ""]

    assert in_sandbox(story) == [True, True, True]


def test_what_another_file_left_goes_and_nothing_else() -> None:
    """An address that the file no longer names, all of them with virtual MACs again, and all of them at the end."""

    def story() -> list[list[str]]:
        node = Node()
        before = node.held()
        seen = []
        moved = node.kernel_part(WITHOUT_MAC.replace(b"203.0.113.10", b"203.0.113.20"))
        with_mac = node.kernel_part(WITHOUT_MAC.replace(b"virtual_mac: false", b"virtual_mac: true"))
        for config in (moved, with_mac):
            node.does(lambda links: links.take(node.config.links))
            node.apply(config)
            seen.append(sorted(each for each in node.held() ^ before if not each.startswith("fe80::200:5eff")))
        node.does(lambda links: links.take(node.config.links))
        node.does(Links.remove)
        seen.append(sorted(node.held() ^ before))
        return seen

    assert in_sandbox(story) == [sorted(set(VIRTUAL) - {"203.0.113.10/32"}), [], []]


def test_an_address_that_the_operator_gave_another_length_is_not_deleted() -> None:
    """The same address with the network's length is not ours, whatever the file says."""

    def story() -> bool:
        node = Node()
        node.machine.sh("ip addr add 203.0.113.10/24 dev outside")
        for act in (Links.take, Links.release):
            node.does(lambda links, act=act: act(links, node.config.links))  # type: ignore[misc] # a bound default
        node.does(Links.remove)
        return str(ip_interface("203.0.113.10/24")) in node.held()

    assert in_sandbox(story)
