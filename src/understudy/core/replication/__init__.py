"""Flows kept in two kernels: what leaves, what arrives, and how it is known that nothing is missing. No I/O.

    origin      what this kernel originated, as a numbered stream to the peer: acknowledged, sent again, bounded
    replica     the peer's stream in order, into this kernel
    paths       the shared networks to the peer: round-trip times, losses, the best of them
    sieve       what of this kernel's news is sent
    agreement   digests of both kernels, compared by bucket, and the transfer of what differs: answer, round
    agenda      when a round is due, and what is known of completeness
    gate        the state gate's question, answered when everything that can be had is in this kernel
    pair        all of it with one peer
    machine     all pairs of a node as one machine: `handle(now, event) -> effects`, `next_deadline()`, `status()`

A record is the kernel's own message (wire.conntrack): neither side understands more of it than it must.
"""
