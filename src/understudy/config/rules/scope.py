"""What the rules look at: the file, where its values stand, and which entries are already known to be broken."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from understudy.config.load import Source, Steps
from understudy.config.models import FileModel
from understudy.config.problems import Problem, quoted
from understudy.units import Address, Duration

_SEARCHED_MAX = 512
"""Names among which a similar one is looked for."""

Entry = tuple[str, str]
"""A section of the file and a name in it; without a name the whole section."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A file whose values are right one by one, because those that were not are left out."""

    source: Source
    file: FileModel
    damaged: frozenset[Entry] = frozenset()
    """Entries with a broken value."""
    absent: frozenset[Entry] = frozenset()
    """Those among them that are left out of `file`; the others lack an optional value."""
    advertise: Duration | None = None
    """Stands in for the interval of every group."""

    def knows(self, section: str, name: str) -> bool:
        """Whether the file names it at all, broken or not: a broken entry is reported once, not at each mention."""
        return name in getattr(self.file, section) or not self.absent.isdisjoint({(section, name), (section, "")})

    def whole(self, section: str) -> bool:
        """Whether nothing of a section was left out, so that what is not there is nowhere."""
        return not any(entry[0] == section for entry in self.absent)

    def line(self, path: Steps) -> int:
        """The line of a value."""
        return self.source.locate(path)[0].line

    def unknown(self, path: Steps, code: str, section: str, name: str, *, key: bool = False) -> Iterator[Problem]:
        """A problem if a section has no such name, with the nearest name as hint."""
        if not self.knows(section, name):
            message = f"{quoted(name)} is not in `{section}`"
            yield self.source.problem(path, code, message, nearest(name, getattr(self.file, section)), key=key)

    def misplaced(self, address: Address, network: str, path: Steps) -> Iterator[Problem]:
        """A problem if a node cannot own the address on the network."""
        if network not in self.file.networks:
            return
        prefixes = self.file.networks[network].prefixes
        family = [prefix for prefix in prefixes if prefix.version == address.version]
        if not family:
            hint = f"{network}: [{', '.join(map(str, prefixes))}, PREFIX] adds one"
            yield self.source.problem(path, "E2206", f"{network} has no IPv{address.version} prefix", hint)
        elif not any(address in prefix for prefix in family):
            yield self.source.problem(path, "E2202", f"{address} is not in {family[0]}, the prefix of {network}")
        for prefix in family:
            if prefix.max_prefixlen - prefix.prefixlen > 1:  # RFC 3021, RFC 6164: two addresses, both usable
                if address == prefix.network_address:
                    yield self.source.problem(path, "E2203", f"{address} is the address of {network} itself")
                elif address.version == 4 and address == prefix.broadcast_address:
                    yield self.source.problem(path, "E2203", f"{address} is the broadcast address of {network}")

    def one_a_family(self, addresses: Iterable[Address], path: Steps) -> Iterator[Problem]:
        """Problems for a second address of one family."""
        seen: set[int] = set()
        for place, address in enumerate(addresses):
            if address.version in seen:
                message = f"a second IPv{address.version} address"
                yield self.source.problem((*path, place), "E2120", message, "one a family")
            seen.add(address.version)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known name, or some of the known ones."""
    names = list(known)
    if len(names) > _SEARCHED_MAX:
        return ""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"known: {shown}" if shown else ""
