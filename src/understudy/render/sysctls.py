"""Kernel settings of a gateway, each with the harm that it prevents. Paths are below /proc/sys.

Only what Understudy depends on is set, and where the kernel offers it per interface, only there: `all` stays the
operator's.
"""

from understudy.render.model import Sysctl
from understudy.units import Family


def node_sysctls(
    families: tuple[Family, ...], parents: tuple[str, ...], *, flows_kept: bool = False
) -> tuple[Sysctl, ...]:
    """Settings of the whole node and of the ports of its groups."""
    settings: list[Sysctl] = []
    if 4 in families:
        settings.append(("net/ipv4/ip_forward", "1"))
    if 6 in families:
        # Also makes the kernel ignore router advertisements wherever `accept_ra` is 1: a gateway is a router itself.
        settings.append(("net/ipv6/conf/all/forwarding", "1"))
    settings += [
        # The survivor of a fail-over adopts TCP flows that it meets in the middle, and translates them as its peer did.
        ("net/netfilter/nf_conntrack_tcp_loose", "1"),
        # A flow that comes back after a detour has moved on: its sequence numbers are outside the window seen here
        # last, and a packet that conntrack calls invalid is not translated any more.
        ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ]
    if flows_kept:
        # Every entry tells of its changes, also one made while nobody listened. With 2, the default since Linux 5.19,
        # those entries never do: what began while the replicator was being forked anew would be kept by nobody.
        settings.append(("net/netfilter/nf_conntrack_events", "1"))
    if 4 in families:
        for parent in parents:
            settings += [
                # A port answers ARP for its own addresses only: or clients learn its MAC for a virtual address that is
                # on a macvlan, or on another port.
                (f"net/ipv4/conf/{parent}/arp_ignore", "1"),
                # ... and asks with an address of its own, not with a virtual one: clients learn from requests as well.
                (f"net/ipv4/conf/{parent}/arp_announce", "2"),
            ]
    return tuple(settings)


def link_sysctls(name: str, family: Family, *, for_others: bool = False) -> tuple[Sysctl, ...]:
    """Settings of one macvlan: it answers for its virtual addresses, forwards, and says nothing by itself.

    `for_others`: it answers for addresses that no link has (`render.links`).
    """
    ipv4, ipv6 = f"net/ipv4/conf/{name}", f"net/ipv6/conf/{name}"
    if family == 4:
        return (
            # Answers for the virtual addresses, which are its own, and not for the node's, which are its parent's.
            # With 1 the kernel asks its links alone: an address that is local by its route needs 0, and what leaves is
            # sieved by the lease's table then.
            (f"{ipv4}/arp_ignore", "0" if for_others else "1"),
            (f"{ipv4}/arp_announce", "2"),
            # Requests come in here and answers leave by the parent, which holds the route: strict filtering would drop
            # them. The greater of this and `all` counts, so loose (2) wins over any strict setting of the operator's.
            (f"{ipv4}/rp_filter", "2"),
            (f"{ipv4}/forwarding", "1"),
            # No neighbour discovery, MLD or router solicitation from the IPv4 virtual MAC: they move the switch's port.
            (f"{ipv6}/disable_ipv6", "1"),
        )
    return (
        # Nothing of IPv4 is asked here: 8 is "do not answer for any local address".
        (f"{ipv4}/arp_ignore", "8"),
        (f"{ipv6}/disable_ipv6", "0"),
        (f"{ipv6}/forwarding", "1"),
        # 1: no address from the MAC. The virtual link-local address is set by name, like the others.
        (f"{ipv6}/addr_gen_mode", "1"),
        (f"{ipv6}/accept_ra", "0"),
        (f"{ipv6}/autoconf", "0"),
        (f"{ipv6}/router_solicitations", "0"),
        # The peer may hold the address this very moment: detecting that would refuse it, and would send from the
        # virtual MAC.
        (f"{ipv6}/accept_dad", "0"),
        (f"{ipv6}/dad_transmits", "0"),
    )
