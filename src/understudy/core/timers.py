"""A timer is the moment at which something is due; one that does not run is due never, so the next is their minimum."""

from understudy.units import Instant

NEVER = Instant(1 << 62)
LONG_AGO = -(1 << 62)
"""Of what has not happened yet."""
