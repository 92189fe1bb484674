"""What the probes bring home: raw instants, nothing judged yet.

Every instant is CLOCK_MONOTONIC, one clock for the probes, the agents' journals and the fault, so that differences
are exact. Arrivals carry the kernel's receive timestamp: a reader that was late does not falsify them. A *sender*
that was late does, and its own record of send instants is what convicts it (`measure.stalls`).
"""

from dataclasses import dataclass

from understudy.units import Instant


@dataclass(frozen=True, slots=True)
class Stream:
    """Numbered datagrams in one direction."""

    name: str
    sent: tuple[Instant, ...]
    """When each was handed to the kernel; the index is the sequence number."""
    arrivals: tuple[tuple[Instant, int], ...]
    """(instant, sequence number) in the order of arrival; a number seen twice is listed twice."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame that a gateway sent, seen as it entered the switch at that gateway's own port."""

    instant: Instant
    node: str
    network: str
    kind: str
    """`answer` (ARP reply, solicited NA), `announcement` (gratuitous ARP, unsolicited NA), `advertisement` (VRRP)."""
    subject: str
    """The address answered for; of an advertisement the priority that it carries."""


@dataclass(frozen=True, slots=True)
class WireRecord:
    """From the process that sends datagrams, asks for addresses and watches the gateways' ports."""

    streams: tuple[Stream, ...]
    sightings: tuple[Sighting, ...]
    asked: tuple[Instant, ...]
    cpu_share: float
    """Of one CPU, over the life of the process."""
    realtime: bool
    """Whether the kernel granted SCHED_FIFO."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One long-lived TCP connection, or idle exchange of datagrams."""

    path: str
    """`service`, `source-nat` or, of datagrams, `udp`."""
    established: bool
    answered: Instant
    """When its last complete answer arrived; 0 if none did."""
    ended: Instant
    """When it was reset or closed under us, or brought other bytes than it had to; 0 if it was not."""
    corrupted: bool = False
    """It brought other bytes."""


@dataclass(frozen=True, slots=True)
class Connect:
    """One new connection, asked for at an instant that was fixed beforehand."""

    scheduled: Instant
    answered: Instant
    """First byte of the answer; 0 if there was none."""
    outcome: str
    """`answered`, `refused` or `timeout`."""


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """From the process that holds the TCP connections."""

    connections: tuple[Connection, ...]
    connects: tuple[Connect, ...]
    stall_max: int
    """The longest that the process was late for its own schedule, in nanoseconds."""
    cpu_share: float
