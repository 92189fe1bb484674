"""What applying a rule set would change, without applying it."""

import re

from understudy.adapters.netlink import RouteSocket
from understudy.adapters.nftables import Nft
from understudy.lab import netlink, sandbox
from understudy.render.diff import listing_difference

_DEVICE = re.compile(r'device "([^"]+)"')


def ruleset_difference(wanted: str) -> str:
    """A unified diff from our tables in this namespace's kernel to `NodeConfig.ruleset`; empty if applying changes nothing.

    Forks, loads the text into a scratch namespace and lists both sides with the same front end. Raises OperatorError
    where namespaces are forbidden, EnvironmentFailure where our tables cannot be read.
    """
    with Nft() as nft:
        held = nft.listing()

    def load() -> str:
        names = sorted(set(_DEVICE.findall(wanted)) - {"lo"})
        # Chains hook to ports, so ports of these names must be there; of which kind does not matter.
        RouteSocket().commit([netlink.add_bridge(index, name, "") for index, name in enumerate(names, start=100)])
        with Nft() as nft:
            nft.apply(wanted)
            return nft.listing()

    return listing_difference(sandbox.run(load), held)
