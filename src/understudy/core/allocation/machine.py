"""The allocator of pools without overload: a pure machine between the kernel's log of first packets and its maps.

1. One address a host: asked again, it gives the same one, and two hosts never have one address.
2. A packet that asked is sent again once the kernel has the mapping, and in the order of asking; it is not lost unless
   the pool is dry, or more wait than the bounds allow.
3. Who has an address keeps it while a flow uses it, and for the pool's timeout after the last use. Use is looked for a
   few times in that time, so an end comes late by a part of it, never early.
4. A flood from many sources is bounded by the pool: what finds no address is dropped and counted, and touches nobody
   who has one.
5. What the replica was told suffices to go on: no address that it knows is given twice.
"""

from collections import Counter
from dataclasses import dataclass, field

from understudy.core.allocation.effects import Effect, LookForUse, MapEntries, PoolDry, Publish, SendAgain
from understudy.core.allocation.events import (
    Adopted,
    Cleared,
    Configured,
    Event,
    Logged,
    Mapped,
    Replicated,
    Tick,
    UseSeen,
    Waiting,
)
from understudy.core.allocation.pool import Pool, Reserved
from understudy.core.allocation.records import Entry, Record
from understudy.core.timers import NEVER
from understudy.units import SECOND, Duration, Instant

WAITING_MAX = 4096
"""Packets that wait for the kernel's maps, in all."""
WAITING_POOL_MAX = 1024
"""And for those of one pool."""
LOOKS = 16
"""How often use is looked for in a pool's timeout."""
LOOK_EVERY_MIN: Duration = SECOND
LOOK_EVERY_MAX: Duration = 300 * SECOND
LOOK_PATIENCE: Duration = 30 * SECOND
"""An answer that has not come by then will not: it is asked again."""


@dataclass(slots=True)
class _Holder:
    entry: Entry
    since: Instant
    used: Instant


@dataclass(slots=True)
class _Batch:
    """What one transaction is to bring."""

    added: tuple[Entry, ...]
    fresh: tuple[Entry, ...]
    packets: tuple[Waiting, ...]


@dataclass(slots=True)
class Counts:
    asked: int = 0
    sent: int = 0
    missed: int = 0
    """No address was free."""
    overflown: int = 0
    """More waited than may."""
    unknown: int = 0
    """Of pools that there are not."""
    refused: int = 0
    """The kernel did not take the mapping."""
    ignored: int = 0
    """Records of the peer that contradict what is held here, or speak of pools that are not here."""
    released: int = 0
    """Entries that nobody used for their pool's timeout."""


@dataclass(slots=True)
class Allocator:
    """Starts without pools: `Configured` gives them."""

    counts: Counts = field(default_factory=Counts)
    _pools: dict[int, Pool] = field(default_factory=dict)
    _holders: dict[tuple[int, int], _Holder] = field(default_factory=dict)
    """By pool and host."""
    _taken: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Who holds an address."""
    _batches: dict[int, _Batch] = field(default_factory=dict)
    _waiting: Counter[int] = field(default_factory=Counter)
    _number: int = 0
    _look_at: Instant = NEVER
    _looking: bool = False

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        match event:
            case Logged(packets):
                return self._give(now, packets)
            case Mapped(number, done):
                return self._mapped(now, number, done)
            case Configured():
                return self._configure(now, event)
            case Adopted(entries):
                return self._adopt(now, entries)
            case UseSeen(addresses):
                return self._use(now, addresses)
            case Replicated(records, whole):
                return self._follow(now, records, whole)
            case Cleared(address):
                gone = [h.entry for h in self._holders.values() if address in (None, h.entry.given, h.entry.host)]
                return self._release(now, gone)
            case Tick():
                return self._look(now)

    def next_deadline(self) -> Instant | None:
        return self._look_at if self._look_at < NEVER else None

    # --- what others may know

    @property
    def held(self) -> int:
        """How many entries there are."""
        return len(self._holders)

    def entries(self) -> tuple[Entry, ...]:
        return tuple(holder.entry for holder in self._holders.values())

    def pools(self) -> tuple[Pool, ...]:
        return tuple(self._pools.values())

    def snapshot(self, now: Instant) -> tuple[Record, ...]:
        """The whole table, for a replica that has none of it."""
        return tuple(self._record(now, holder) for holder in self._holders.values())

    # --- handing out

    def _give(self, now: Instant, packets: tuple[Waiting, ...]) -> list[Effect]:
        effects: list[Effect] = []
        added: dict[tuple[int, int], Entry] = {}
        fresh: list[Entry] = []
        kept: list[Waiting] = []
        for packet in packets:
            self.counts.asked += 1
            pool = self._pools.get(packet.pool)
            if pool is None:
                self.counts.unknown += 1
            elif self._waiting.total() >= WAITING_MAX or self._waiting[packet.pool] >= WAITING_POOL_MAX:
                self.counts.overflown += 1
            else:
                key = packet.pool, packet.host
                holder = self._holders.get(key) or self._new(now, pool, packet.host, fresh)
                if holder is None:
                    self.counts.missed += 1
                    if not pool.dry:
                        effects.append(PoolDry(pool.settings.name, packet.host))
                    pool.dry = True
                else:
                    # A host that has one asks if somebody took its element away: it is put back.
                    added[key] = holder.entry
                    kept.append(packet)
                    self._waiting[packet.pool] += 1
        if not kept:
            return effects
        return [*effects, self._map(_Batch(tuple(added.values()), tuple(fresh), tuple(kept)))]

    def _new(self, now: Instant, pool: Pool, host: int, fresh: list[Entry]) -> _Holder | None:
        given = pool.take(now, host, self._taken)
        if given is None:
            return None
        entry = Entry(pool.settings.number, host, given)
        fresh.append(entry)
        return self._hold(now, entry)

    def _hold(self, now: Instant, entry: Entry, age: Duration = 0, idle: Duration = 0) -> _Holder:
        holder = _Holder(entry, Instant(now - age), Instant(now - idle))
        self._holders[entry.pool, entry.host] = holder
        self._taken[entry.given] = entry.pool, entry.host
        self._schedule(now)
        return holder

    def _map(self, batch: _Batch, removed: tuple[Entry, ...] = ()) -> MapEntries:
        self._number += 1
        self._batches[self._number] = batch
        return MapEntries(self._number, batch.added, removed)

    def _mapped(self, now: Instant, number: int, done: bool) -> list[Effect]:
        batch = self._batches.pop(number, None)
        if batch is None:
            return []
        self._waiting.subtract(packet.pool for packet in batch.packets)
        if not done:
            self.counts.refused += len(batch.packets)
            for entry in batch.fresh:
                self._forget(now, entry)
            return []
        effects: list[Effect] = []
        told = [self._holders[e.pool, e.host] for e in batch.fresh if (e.pool, e.host) in self._holders]
        if told:
            # The replica first: a flow that is answered must have its address on both nodes.
            effects.append(Publish(tuple(self._record(now, holder) for holder in told)))
        if batch.packets:
            self.counts.sent += len(batch.packets)
            effects.append(SendAgain(batch.packets))
        return effects

    # --- taking back

    def _forget(self, now: Instant, entry: Entry) -> None:
        holder = self._holders.get((entry.pool, entry.host))
        if holder is None or holder.entry != entry:
            return
        del self._holders[entry.pool, entry.host]
        del self._taken[entry.given]
        if entry.pool in self._pools:
            self._pools[entry.pool].release(now)
        if not self._holders:
            self._look_at = NEVER

    def _release(self, now: Instant, entries: list[Entry]) -> list[Effect]:
        if not entries:
            return []
        records = tuple(
            Record(self._pools[e.pool].settings.name, e.host, e.given, released=True)
            for e in entries
            if e.pool in self._pools
        )
        for entry in entries:
            self._forget(now, entry)
        return [self._map(_Batch((), (), ()), tuple(entries)), Publish(records)]

    def _look(self, now: Instant) -> list[Effect]:
        if now < self._look_at:
            return []
        self._look_at = Instant(now + LOOK_PATIENCE)
        self._looking = True
        return [LookForUse()]

    def _use(self, now: Instant, addresses: frozenset[int] | None) -> list[Effect]:
        """Whoever is in use, is; whoever was not for the pool's timeout loses the address."""
        if not self._looking:
            return []
        self._looking = False
        self._look_at = NEVER
        ended = []
        for holder in self._holders.values() if addresses is not None else ():
            timeout = self._pools[holder.entry.pool].settings.timeout
            if holder.entry.given in (addresses or ()):
                holder.used = now
            elif timeout is not None and now - holder.used >= timeout:
                ended.append(holder.entry)
        self.counts.released += len(ended)
        effects = self._release(now, ended)
        self._schedule(now)
        return effects

    def _schedule(self, now: Instant) -> None:
        """When to look for use next."""
        if self._looking or self._look_at < NEVER or not self._holders:
            return
        timeouts = [p.settings.timeout for p in self._pools.values() if p.given and p.settings.timeout is not None]
        if timeouts:
            every = min(max(min(timeouts) // LOOKS, LOOK_EVERY_MIN), LOOK_EVERY_MAX)
            self._look_at = Instant(now + every)

    # --- other sources of truth

    def _configure(self, now: Instant, event: Configured) -> list[Effect]:
        """Entries stay as long as their pool holds their address; a list or rule that changed does not matter."""
        reserved = Reserved(event.reserved)
        numbers = {pool.settings.name: number for number, pool in self._pools.items()}
        old, holders = self._pools, self._holders
        self._pools = {each.number: Pool(each, reserved) for each in event.pools}
        self._holders, self._taken, self._look_at = {}, {}, NEVER
        gone: list[Entry] = []
        by_name = {pool.settings.name: pool for pool in self._pools.values()}
        renumbered = {numbers[name]: pool for name, pool in by_name.items() if name in numbers}
        for holder in holders.values():
            pool = renumbered.get(holder.entry.pool)
            if pool is not None and pool.settings.number == holder.entry.pool and pool.holds(holder.entry.given):
                pool.adopt(now, holder.entry.given)
                self._hold(now, holder.entry, now - holder.since, now - holder.used)
            else:
                gone.append(holder.entry)
        for number, pool in renumbered.items():
            pool.resume(old[number])
        if not gone:
            return []
        records = tuple(Record(old[e.pool].settings.name, e.host, e.given, released=True) for e in gone)
        return [self._map(_Batch((), (), ()), tuple(gone)), Publish(records)]

    def _adopt(self, now: Instant, entries: tuple[Entry, ...]) -> list[Effect]:
        """What a kernel holds that is no entry of ours, or contradicts one, is removed from it."""
        # In the order of handing out, as far as it can be told.
        ordered = sorted(entries, key=lambda each: (each.pool, each.given))
        foreign = [each for each in ordered if not self._enter(now, each, 0, 0)]
        return [self._map(_Batch((), (), ()), tuple(foreign))] if foreign else []

    def _enter(self, now: Instant, entry: Entry, age: Duration, idle: Duration) -> bool:
        """Whether an entry that somebody else made is now one of ours."""
        holder = self._holders.get((entry.pool, entry.host))
        if holder is not None:
            return holder.entry == entry
        pool = self._pools.get(entry.pool)
        if pool is None or entry.given in self._taken or not pool.holds(entry.given):
            return False
        pool.adopt(now, entry.given)
        self._hold(now, entry, age, idle)
        return True

    def _follow(self, now: Instant, records: tuple[Record, ...], whole: bool) -> list[Effect]:
        """Do as the peer did; it is the one that hands out, so its word counts more than what is held here."""
        numbers = {pool.settings.name: number for number, pool in self._pools.items()}
        wanted: dict[tuple[int, int], Entry] = {}
        removed: dict[Entry, None] = {}
        added: list[Entry] = []
        for record in records:
            number = numbers.get(record.pool)
            if number is None:
                self.counts.ignored += 1
                continue
            entry = Entry(number, record.host, record.given)
            for key in ((number, record.host), self._taken.get(record.given)):
                held = self._holders.get(key) if key is not None else None
                if held is not None and (held.entry != entry or record.released):
                    removed[held.entry] = None
                    self._forget(now, held.entry)
            if record.released:
                continue
            wanted[number, record.host] = entry
            if (number, record.host) not in self._holders:
                if self._enter(now, entry, max(0, record.age), max(0, record.idle)):
                    added.append(entry)
                    removed.pop(entry, None)
                else:
                    self.counts.ignored += 1
        if whole:
            for holder in [h for key, h in self._holders.items() if key not in wanted]:
                removed[holder.entry] = None
                self._forget(now, holder.entry)
        still = tuple(e for e in added if (h := self._holders.get((e.pool, e.host))) is not None and h.entry == e)
        if not still and not removed:
            return []
        return [self._map(_Batch(still, (), ()), tuple(removed))]

    def _record(self, now: Instant, holder: _Holder) -> Record:
        entry = holder.entry
        name = self._pools[entry.pool].settings.name
        return Record(name, entry.host, entry.given, now - holder.since, now - holder.used)
