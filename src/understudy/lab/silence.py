"""Silent cables: the switch drops every frame from and to chosen ports, at one instant, with their carrier up.

A table of the switch's namespace checks each port's frames on entry (before the bridge could learn from them) and on
leaving against a set of interface indices; a cut adds elements to it, in one transaction of one system call (0.1 ms).

Tried and rejected: bridge port state `disabled`. It is a change of a link and so waits for the machine-wide lock of
links: beside another lab that came and went, one cut in ten took 50 to 125 ms (this one: 0.4 at most), and the ports of
one node fell silent one by one. It is also undone by the kernel whenever the port's carrier returns.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from understudy.lab.nftsocket import NFPROTO_NETDEV, NftSocket, load, port_key

_TABLE: Final = "lab"
_SET: Final = "silent"
_DEVICES_MAX: Final = 200
"""Ports of one chain; the kernel takes 256 (NFT_NETDEVICE_MAX)."""


class SilentPorts:
    """Made inside the switch's namespace, with its ports there already; usable from any thread then."""

    def __init__(self, ports: Sequence[str]) -> None:
        chunks = [ports[start : start + _DEVICES_MAX] for start in range(0, len(ports), _DEVICES_MAX)]
        chains = "".join(_chains(number, ", ".join(chunk)) for number, chunk in enumerate(chunks))
        load(f"table netdev {_TABLE} {{\n set {_SET} {{ type iface_index; }}\n{chains}}}\n")
        self._nft = NftSocket()
        self._silent: set[int] = set()

    def silence(self, indices: Iterable[int]) -> None:
        """Drop every frame from and to these ports; raises EnvironmentFailure, having changed nothing."""
        new = set(indices) - self._silent
        self._nft.add(NFPROTO_NETDEV, _TABLE, _SET, map(port_key, new))
        self._silent |= new

    def restore(self, indices: Iterable[int]) -> None:
        """Undo `silence`."""
        old = set(indices) & self._silent
        self._nft.remove(NFPROTO_NETDEV, _TABLE, _SET, map(port_key, old))
        self._silent -= old

    def close(self) -> None:
        self._nft.close()


def _chains(number: int, devices: str) -> str:
    return f"""
        chain from_node_{number} {{
            type filter hook ingress devices = {{ {devices} }} priority -500; policy accept;
            iif @{_SET} drop
        }}
        chain to_node_{number} {{
            type filter hook egress devices = {{ {devices} }} priority -500; policy accept;
            oif @{_SET} drop
        }}
    """
