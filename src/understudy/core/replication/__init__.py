"""Flows kept in two kernels: what leaves, what arrives, and how it is known that nothing is missing. No I/O.

    origin      what this kernel originated, as a numbered stream to the peer: acknowledged, sent again, bounded
    replica     the peer's stream in order, into this kernel
    agreement   digests of both kernels, compared by bucket, and the transfer of what differs
    machine     the three of them as one machine: `handle(now, event) -> effects`, `next_deadline()`

A record is the kernel's own message (wire.conntrack): neither side understands more of it than it must.
"""
