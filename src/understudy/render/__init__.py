"""Kernel objects as data, computed from the plan: nft text, links, addresses, routing rules, sysctls."""

from understudy.render.balance import pair_changes, pair_elements, pick
from understudy.render.leaseset import JIFFY, LEASE_LONG, grant_lease, lease_ns, quieten, revoke_lease, unquieten
from understudy.render.model import Link, NodeConfig, RoutingRule, VirtualAddress
from understudy.render.node import default_interfaces, render_node
from understudy.wire.marks import farewell_mark, lease_long_mark, lease_short_mark

__all__ = [
    "JIFFY",
    "LEASE_LONG",
    "Link",
    "NodeConfig",
    "RoutingRule",
    "VirtualAddress",
    "default_interfaces",
    "farewell_mark",
    "grant_lease",
    "lease_long_mark",
    "lease_ns",
    "lease_short_mark",
    "pair_changes",
    "pair_elements",
    "pick",
    "quieten",
    "render_node",
    "revoke_lease",
    "unquieten",
]
