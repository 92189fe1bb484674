"""Who owns which bit of which mark: fixed once, because five parts of Understudy want them.

`ct mark`, from the top: binding 18 | group 4 | direction first seen 2 | owner 3 | the user's 5. Everything is masked,
so a rule of the user may keep five bits of its own, if it sets them after our `dstnat` chain has chosen a server.

Packet marks appear in one place only: on advertisements that the agent sends from a packet socket, to tell the lease
table for how long they count. Such frames are never routed, so no policy of the user can meet these values.
"""

BINDING_SHIFT = 14
BINDING_MASK = 0xFFFF_C000
GROUP_SHIFT = 10
GROUP_MASK = 0x0000_3C00
DIRECTION_SHIFT = 8
DIRECTION_MASK = 0x0000_0300
DIRECTION_INSIDE = 0x0000_0100
"""The flow's first packet came from an inside interface of NAT, or from the router itself."""
DIRECTION_OUTSIDE = 0x0000_0200
OWNER_SHIFT = 5
OWNER_MASK = 0x0000_00E0
USER_MASK = 0x0000_001F

BINDING_MAX = (1 << 18) - 1
GROUP_MAX = 15

LEASE_SHORT_BASE = 0x7573_0010
LEASE_LONG_BASE = 0x7573_0020
FAREWELL_BASE = 0x7573_0030
LEASE_GROUP_MASK = 0x0000_000F
LEASE_KIND_MASK = 0xFFFF_FFF0


def flow_mark(binding: int, group: int) -> int:
    """The `ct mark` of a flow that `binding` serves, reached through an address of `group`."""
    if not (0 <= binding <= BINDING_MAX and 0 <= group <= GROUP_MAX):
        raise ValueError(f"binding {binding} or group {group} does not fit the ct mark")
    return binding << BINDING_SHIFT | group << GROUP_SHIFT


def lease_short_mark(group: int) -> int:
    """SO_MARK of an advertisement that keeps the group's lease for just under three intervals."""
    return LEASE_SHORT_BASE | _group(group)


def lease_long_mark(group: int) -> int:
    """SO_MARK of an advertisement that keeps the group's lease for a minute: nobody could take over."""
    return LEASE_LONG_BASE | _group(group)


def farewell_mark(group: int) -> int:
    """SO_MARK of a farewell (priority 0), which leaves although the lease has ended and refreshes nothing."""
    return FAREWELL_BASE | _group(group)


def _group(group: int) -> int:
    if not 1 <= group <= GROUP_MAX:
        raise ValueError(f"group {group} is not between 1 and {GROUP_MAX}")
    return group
