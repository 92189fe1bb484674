"""The guard's keeper: the table that holds through a flush (`render.guard`) lives as long as the socket that made it.

It has a socket of its own, which does nothing else. While other hands, that are about to end, hold theirs, the kernel
refuses another: it is tried again a little later.
"""

import time

from understudy.adapters.nftables import Nft
from understudy.errors import EnvironmentFailure
from understudy.units import SECOND, Duration

RETRY_AFTER: Duration = SECOND


class Guardian:
    def __init__(self) -> None:
        self._nft: Nft | None = None
        self._retry_at = 0

    def wanted(self, now: int, anew: bool) -> bool:
        """Whether to try to make it: `anew`, or because it was refused a while ago."""
        return self._nft is None and (anew or 0 < self._retry_at <= now)

    def make(self, guard: str) -> None:
        """`guard` is the table's text."""
        self._retry_at = 0
        nft = Nft()
        try:
            nft.run(guard)
            self._nft = nft
        except EnvironmentFailure as failure:
            nft.close()
            if "not permitted" in failure.reason:  # other hands hold theirs
                self._retry_at = time.monotonic_ns() + RETRY_AFTER

    def drop(self) -> None:
        """Other hands may make theirs."""
        if self._nft is not None:
            self._nft.close()
            self._nft = None
