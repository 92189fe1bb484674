"""The control that the whole measurement stands on: a silence of known length, made by the kernel's own timer.

A rule on the switch drops every datagram while a set element lives; the element carries the timeout. So the length of
the gap is the kernel's (to a tick of at most 4 ms, always short of the nominal length), not a difference of two
program starts: deleting a rule on a netdev chain returned 20 ms after it took effect when tried.
"""

import subprocess
from collections.abc import Sequence

from understudy.errors import EnvironmentFailure
from understudy.lab.namespace import Namespace
from understudy.units import MILLISECOND, Duration

INJECTED: Duration = 300 * MILLISECOND
TOLERANCE: Duration = 5 * MILLISECOND
_TABLE = "understudy_drill_gap"


class GapControl:
    """Drops the datagrams that enter a switch at the given ports, for a known time at a time."""

    def __init__(self, switch: Namespace, ports: Sequence[str]) -> None:
        self._switch = switch
        devices = ", ".join(f'"{port}"' for port in ports)
        self._nft(
            f"table netdev {_TABLE} {{\n"
            " set cut {\n type inet_proto\n flags timeout\n }\n"
            " chain enter {\n"
            f" type filter hook ingress devices = {{ {devices} }} priority -300\n"
            " meta l4proto @cut drop\n }\n}\n"
        )

    def inject(self, length: Duration) -> None:
        """Silence the datagrams from now on for `length`."""
        self._nft(f"add element netdev {_TABLE} cut {{ udp timeout {length // MILLISECOND}ms }}\n")

    def close(self) -> None:
        self._nft(f"delete table netdev {_TABLE}\n")

    def _nft(self, script: str) -> None:
        done = self._switch.run(
            subprocess.run, ["nft", "-f", "-"], input=script, text=True, capture_output=True, timeout=10
        )
        if done.returncode:
            raise EnvironmentFailure("load", "the gap control's rules", done.stderr.strip())
