"""Which server a connection meets: a pure function of the file, the source and the servers that are up.

    jhash(source address, source port; seed) -> slot -> pair (primary, secondary) -> server

Slots are a Maglev table over the *configured* servers (Eisenbud et al., NSDI 2016, section 3.4), by position, so that
every service with as many servers shares one table. A slot names a pair; a pair resolves to its primary if that is up,
else to its secondary, else to any server that is. A server's death therefore moves its own connections only, spread
evenly over the others, and every gateway with the same file decides alike, without a word between them.

`jhash` is the kernel's (include/linux/jhash.h), as nftables applies it to registers of four bytes: a port fills two and
two zero bytes follow. On a big-endian gateway the kernel reads the words the other way round.
"""

from functools import lru_cache

from understudy.units import Address

SLOTS_FEW = 4_093
SLOTS_MANY = 65_537
FEW_SERVERS = 40
"""A table of at least a hundred slots a server keeps shares within one per cent of each other."""

_WORD = 0xFFFF_FFFF
_JHASH_INITVAL = 0xDEAD_BEEF


def slot_count(servers: int) -> int:
    """Slots for a service with so many servers; a prime, as Maglev's permutations need."""
    return SLOTS_FEW if servers <= FEW_SERVERS else SLOTS_MANY


def slot_of(source: Address, port: int, slots: int, seed: int) -> int:
    """The slot that the kernel picks: its `mod` is a multiplication (`reciprocal_scale`), not a remainder."""
    return jhash(source.packed + port.to_bytes(2, "big") + b"\0\0", seed) * slots >> 32


@lru_cache(maxsize=64)
def maglev(servers: int, slots: int, seed: int) -> tuple[int, ...]:
    """For every slot the position of its primary server."""
    if servers == 1:
        return (0,) * slots
    offsets, skips = [], []
    for server in range(servers):
        name = server.to_bytes(4, "big")
        offsets.append(jhash(name, seed) % slots)
        skips.append(jhash(name, seed ^ 0x5F5E_5F5E) % (slots - 1) + 1)
    table = [-1] * slots
    filled = 0
    while True:
        for server in range(servers):
            slot, skip = offsets[server], skips[server]
            while table[slot] >= 0:
                slot = (slot + skip) % slots
            table[slot] = server
            offsets[server] = (slot + skip) % slots
            filled += 1
            if filled == slots:
                return tuple(table)


@lru_cache(maxsize=64)
def slot_pairs(servers: int, slots: int, seed: int) -> tuple[int, ...]:
    """For every slot its pair. A primary's slots deal secondaries out in turn: each other server gets its share."""
    dealt = [0] * servers
    pairs = []
    for primary in maglev(servers, slots, seed):
        others = servers - 1
        pairs.append(primary * others + dealt[primary] % others if others else 0)
        dealt[primary] += 1
    return tuple(pairs)


def pair_count(servers: int) -> int:
    return servers * (servers - 1) if servers > 1 else 1


def pair_members(pair: int, servers: int) -> tuple[int, int]:
    """Positions of the pair's primary and secondary (the same one if there is no other)."""
    if servers == 1:
        return 0, 0
    primary, rank = divmod(pair, servers - 1)
    return primary, (primary + 1 + rank) % servers


def resolve(pair: int, up: tuple[bool, ...]) -> int | None:
    """The position of the server that serves the pair now, or None if none is up."""
    primary, secondary = pair_members(pair, len(up))
    if up[primary]:
        return primary
    if up[secondary]:
        return secondary
    alive = [position for position, is_up in enumerate(up) if is_up]
    return alive[pair % len(alive)] if alive else None


def jhash(key: bytes, initval: int) -> int:
    """Bob Jenkins' lookup3 as the Linux kernel has it, for a little-endian machine."""
    a = b = c = (_JHASH_INITVAL + len(key) + initval) & _WORD
    while len(key) > 12:
        a = (a + int.from_bytes(key[0:4], "little")) & _WORD
        b = (b + int.from_bytes(key[4:8], "little")) & _WORD
        c = (c + int.from_bytes(key[8:12], "little")) & _WORD
        for bits in (4, 6, 8, 16, 19, 4):
            # The macro's six steps are one; after each the three words change places, and at the end they are back.
            a = ((a - c) & _WORD) ^ _rotate(c, bits)
            c = (c + b) & _WORD
            a, b, c = b, c, a
        key = key[12:]
    if not key:
        return c
    key = key.ljust(12, b"\0")
    a = (a + int.from_bytes(key[0:4], "little")) & _WORD
    b = (b + int.from_bytes(key[4:8], "little")) & _WORD
    c = (c + int.from_bytes(key[8:12], "little")) & _WORD
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & _WORD
        a, b, c = b, c, a
    return b


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _WORD
