"""How long the kernel may answer on after our last advertisement.

The lease is a dead man's switch in the kernel (render.lease): it lives only as long as our own advertisements keep
leaving the port, and while it is not alive the kernel neither answers for nor forwards through its addresses. It
must end before the standby's Active_Down_Timer does, so that a frozen or killed agent is silent before its peer speaks:

    short lease = 3 x advertise - 2 jiffies  <  3 x advertise + skew = Active_Down_Interval of the standby

The kernel rounds a timeout down to a jiffy and starts it when the frame leaves, before the standby receives it; two
jiffies cover the granularity of its garbage collection. When no standby could take over anyway, a short lease would
only cut what the kernel could still carry: then the lease is long. Not so on a node that reaches nobody on any LAN: it
carries nothing, the other may serve meanwhile, and were its agent to die, its kernel would answer beside the other for
as long as the lease lives once the cut has healed. A standby learns from the heartbeat which one is in
force, and asks on the LAN before it takes over from a node whose lease may still be alive (core.promotion, `fence`).
"""

from understudy.units import SECOND, Duration
from understudy.wire.heartbeat import Lease

LONG_AFTER_MIN: Duration = SECOND
"""A standby must have been silent for so long (or for ten intervals) before the lease becomes long."""


def short_lease(advertise: Duration, jiffy: Duration) -> Duration:
    return 3 * advertise - 2 * jiffy


def lease_length(lease: Lease, advertise: Duration, jiffy: Duration, long: Duration) -> Duration:
    """Nanoseconds for which the kernel answers on under this lease."""
    if lease is Lease.NONE:
        return 0
    return long if lease is Lease.LONG else short_lease(advertise, jiffy)


def long_after(advertise: Duration) -> Duration:
    """Silence of the standby after which there is nobody to be quiet for."""
    return max(10 * advertise, LONG_AFTER_MIN)
