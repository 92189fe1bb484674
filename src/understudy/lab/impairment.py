"""Bad cables and cut paths: what a switch can do to some of the frames, in force from one instant to another.

The rules are loaded while nothing depends on them and look at an empty set; `begin` puts the struck ports into it in
one transaction, `end` takes them out. Nothing of it is on a node: no gateway's own rules or queues are touched.

    Impairment   at ports: drop, lose or corrupt frames from or to their nodes     netdev ingress and egress
    Partition    between ports of one switch: these two hear nothing of each other bridge forward

Loss and corruption throw a die for each frame (`numgen random`). A corrupted advertisement claims priority 255: the
worst that a flipped bit could say, if nobody looked at the checksum.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from understudy.lab.namespace import Namespace
from understudy.lab.nftsocket import NFPROTO_BRIDGE, NFPROTO_NETDEV, NftSocket, list_table, load, port_key

_DIE: Final = 1_000_000
_VRRP: Final = ("ip protocol 112", "ip6 nexthdr 112")
_SET: Final = "struck"

EVERYTHING: Final = ("counter drop",)


def lost(share: float) -> tuple[str, ...]:
    """Rules that lose this share of VRRP's packets."""
    return tuple(f"{vrrp} {_thrown(share)} counter drop" for vrrp in _VRRP)


def corrupted(share: float) -> tuple[str, ...]:
    """Rules that write another priority into this share of VRRP's packets and leave the checksum as it was."""
    return tuple(f"{vrrp} {_thrown(share)} counter @th,16,8 set 255" for vrrp in _VRRP)


def udp_port(port: int) -> tuple[str, ...]:
    """Rules that drop one protocol."""
    return (f"udp dport {port} counter drop",)


def _thrown(share: float) -> str:
    return f"numgen random mod {_DIE} < {round(share * _DIE)}"


class _Struck:
    """A table of the switch with counters and a set of what it strikes."""

    def __init__(self, switch: Namespace, family: str, number: int, table: str, body: str) -> None:
        self._switch, self._family, self._number, self._table = switch, family, number, table
        switch.run(load, f"table {family} {table} {{\n{body}}}\n")
        self._nft = switch.run(NftSocket)
        self._struck: list[bytes] = []

    def end(self) -> None:
        """All frames pass again."""
        self._nft.remove(self._number, self._table, _SET, self._struck)
        self._struck = []

    def packets(self) -> int:
        """How many frames the rules have touched."""
        listed = self._switch.run(list_table, self._family, self._table)
        rules = [entry["rule"] for entry in listed if "rule" in entry]
        counters = [part["counter"] for rule in rules for part in rule["expr"] if "counter" in part]
        return sum(int(counter["packets"]) for counter in counters)

    def close(self) -> None:
        """Take the table away, and what it did with it."""
        self._switch.run(load, f"delete table {self._family} {self._table}\n")
        self._nft.close()

    def _begin(self, keys: Iterable[bytes]) -> None:
        self._struck = sorted(keys)
        self._nft.add(self._number, self._table, _SET, self._struck)


class Impairment(_Struck):
    """Rules at ports of the switch, by what leaves a node and what goes to it."""

    def __init__(
        self, switch: Namespace, name: str, ports: Sequence[str], from_node: Sequence[str], to_node: Sequence[str]
    ) -> None:
        devices = ", ".join(ports)
        chains = "".join(
            f" chain {chain} {{\n"
            f"  type filter hook {hook} devices = {{ {devices} }} priority -450; policy accept;\n"
            f"{''.join(f'  {side} @{_SET} {rule}{chr(10)}' for rule in rules)} }}\n"
            for chain, hook, side, rules in (
                ("from_node", "ingress", "iif", from_node),
                ("to_node", "egress", "oif", to_node),
            )
            if rules
        )
        super().__init__(
            switch, "netdev", NFPROTO_NETDEV, f"lab_{name}", f" set {_SET} {{ type iface_index; }}\n{chains}"
        )

    def begin(self, indices: Iterable[int]) -> None:
        """Strike these ports, at one instant."""
        self._begin(map(port_key, indices))


class Partition(_Struck):
    """No frame goes from one port of a switch to another, while both still reach everybody else."""

    def __init__(self, switch: Namespace, name: str) -> None:
        chain = (
            " chain forward {\n  type filter hook forward priority -450; policy accept;\n"
            f"  iif . oif @{_SET} counter drop\n }}\n"
        )
        body = f" set {_SET} {{ type iface_index . iface_index; }}\n{chain}"
        super().__init__(switch, "bridge", NFPROTO_BRIDGE, f"lab_{name}", body)

    def begin(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Part these ports, both ways, at one instant."""
        self._begin(port_key(a) + port_key(b) for pair in pairs for a, b in (pair, pair[::-1]))
