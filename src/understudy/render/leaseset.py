"""The two sets of the lease's table (render.lease) and their elements, each of which stands for a group: a lease that
is granted or revoked, a quiet that begins or ends. All as nft text.
"""

from understudy.core.lease import short_lease
from understudy.render.text import FAMILY_NETDEV, TABLE
from understudy.units import MILLISECOND, SECOND, Duration

JIFFY: Duration = 4 * MILLISECOND
"""At CONFIG_HZ=250, Debian's and most others' choice."""
LEASE_LONG: Duration = 60 * SECOND
LEASE_SET = "lease"
LEASE_DECLARATION = "type mark; size 1024; flags dynamic,timeout;"
QUIET_SET = "quiet"
QUIET_DECLARATION = "type mark; size 1024; flags timeout;"
QUIET_MAX: Duration = LEASE_LONG
"""Longer than any lease: whoever dies at the end of a hand-over stays quiet until its lease is over."""


def lease_ns(advertise: Duration, jiffy: Duration = JIFFY) -> Duration:
    """How long one short refresh keeps the gates open, before the kernel rounds it down to a jiffy (`core.lease`)."""
    return short_lease(advertise, jiffy)


def revoke_lease(group: int) -> str:
    """nft text that ends the lease of `group` at once, also if there is none: `destroy` is newer than nft 1.0.6."""
    element = f"element {FAMILY_NETDEV} {TABLE} {LEASE_SET}"
    return f"add {element} {{ {group} timeout 1s }}\ndelete {element} {{ {group} }}\n"


def quieten(group: int) -> str:
    """nft text that lets nothing more leave from the virtual MACs of `group`, while frames to them still pass.

    In a hand-over the old Active's own kernel would answer ARP once more after the successor has spoken, and so call
    the switch's port back to a node that is about to stop. Without virtual MAC it would call the clients themselves
    back: no ARP or ND about a virtual address leaves then, while what is forwarded does.
    """
    return f"add element {FAMILY_NETDEV} {TABLE} {QUIET_SET} {{ {group} timeout {timeout_ms(QUIET_MAX)} }}\n"


def unquieten(group: int) -> str:
    """nft text that ends what `quieten` began, also if there is nothing to end."""
    return quieten(group) + f"delete element {FAMILY_NETDEV} {TABLE} {QUIET_SET} {{ {group} }}\n"


def grant_lease(group: int, duration: Duration) -> str:
    """nft text that gives `group` a lease where it has none (an element that exists keeps its own remaining time)."""
    return f"add element {FAMILY_NETDEV} {TABLE} {LEASE_SET} {{ {group} timeout {timeout_ms(duration)} }}\n"


def timeout_ms(duration: Duration) -> str:
    return f"{duration // MILLISECOND}ms"
