"""What applying a rule set would change, without applying it."""

import re
import subprocess

from understudy.adapters.nftables import Nft
from understudy.lab import sandbox
from understudy.render.diff import listing_difference

_DEVICE = re.compile(r'device "([^"]+)"')


def ruleset_difference(wanted: str) -> str:
    """A unified diff from our tables in this namespace's kernel to `NodeConfig.ruleset`; empty if nothing would change.

    Forks, loads the text into a scratch namespace and lists both sides with the same front end. Raises OperatorError
    where namespaces are forbidden, EnvironmentFailure where our tables cannot be read.
    """
    with Nft() as nft:
        held = nft.listing()

    def load() -> str:
        for name in set(_DEVICE.findall(wanted)) - {"lo"}:
            # Chains hook to ports, so ports of these names must be there; of which kind does not matter.
            subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
        with Nft() as nft:
            nft.apply(wanted)
            return nft.listing()

    return listing_difference(sandbox.run(load), held)
