"""libnftables, the kernel's own front end for nft text, behind four calls.

An `Nft` belongs to the network namespace in which it was made and goes on acting there. Every `run` is one transaction:
all of a text or none of it. The library is C and has crashed on listings before: keep an `Nft` in a process of its own.
Listings are terse where they can be, since elements are many and we know them anyway.
"""

import contextlib
import ctypes
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render.leaseset import LEASE_SET, QUIET_SET
from understudy.render.text import FAMILY_INET, FAMILY_NETDEV, TABLE, TURN_CHAIN, in_parts
from understudy.render.textchange import change_text
from understudy.units import MILLISECOND, SECOND, Duration

LIBRARY: Final = "libnftables.so.1"

_ELEMENTS_MAX: Final = 1_000
_STATELESS: Final = 1 << 2
_NUMERIC: Final = 1 << 7 | 1 << 8 | 1 << 9
_TERSE: Final = 1 << 11

_ELEMENT = re.compile(r"0x([0-9a-f]+)(?: timeout \w+)?(?: expires (\w+))?")
_TIME = re.compile(r"(\d+)(ms|[dhms])")
_TIME_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_DECLARED = re.compile(r"^\s*(set|map|chain) (\S+) \{", re.MULTILINE)
_HELPER = re.compile(r"^\s*ct helper (\S+) \{", re.MULTILINE)
_TABLE_BLOCK = re.compile(rf"^table (\w+) {TABLE} \{{\n.*?^\}}\n", re.MULTILINE | re.DOTALL)
_TURN_BLOCK = re.compile(rf"^\tchain ({TURN_CHAIN}\w+) \{{\n.*?^\t\}}\n\n?", re.MULTILINE | re.DOTALL)
_FAMILIES: Final = (FAMILY_NETDEV, FAMILY_INET)


class Nft:
    """One libnftables context. Raises OperatorError if the library is missing. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._library = _load()
        self._context: int | None = self._library.nft_ctx_new(0)
        if self._context is None:
            raise EnvironmentFailure("open", "nftables", "no netlink socket")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> str:
        """Carry out nft commands as one transaction and return what they print. Raises EnvironmentFailure."""
        return self._run(text, 0)

    def apply(self, ruleset: str, before: str = "") -> None:
        """Make our tables what `ruleset` (NodeConfig.ruleset, empty for none) says; elements of the lease stay.

        `before` is the rule set that made them. Where it differs in elements alone, these are all that is touched: a
        table of a hundred thousand takes two seconds to load, and one of its elements half a millisecond to change.
        """
        if before and (change := change_text(before, ruleset)) and self.holds(ruleset):
            with contextlib.suppress(EnvironmentFailure):  # something of it is missing: all of it is written
                self._run(change, 0)
                return
        text = self._without_turns(ruleset) + self._removals(ruleset)
        try:
            self._run(text, 0)
        except EnvironmentFailure as failure:
            # Without privilege over the machine the kernel bounds a message by net.core.wmem_default: about 3 000
            # elements.
            if "Message too long" not in failure.reason:
                raise
            for part in in_parts(text, _ELEMENTS_MAX):
                self._run(part, 0)

    def restore_rules(self, ruleset: str) -> None:
        """The rules of a rule set, without what its sets and maps hold: 2 ms where `apply` takes 20 for elements.

        A set that is missing is made, empty; one that is there stays as it is.
        """
        head, *_, tail = in_parts(self._without_turns(ruleset), _ELEMENTS_MAX)
        self._run("".join(line for line in head.splitlines(True) if not line.startswith("flush ")) + tail, 0)

    def holds(self, ruleset: str) -> bool:
        """Whether our tables hold every set, map and chain of a rule set. Rules and elements are not compared."""
        return all(
            set(_DECLARED.findall(block)) <= set(self._declared(family) or ())
            for family, block in split_tables(ruleset).items()
        )

    def list_table(self, family: str, *, terse: bool = True) -> str:
        """Our table of `family` as the kernel holds it, without counters; empty if there is none."""
        if self._declared(family) is None:
            return ""
        return self._run(f"list table {family} {TABLE}\n", _STATELESS | _NUMERIC | (_TERSE if terse else 0))

    def listing(self) -> str:
        """Both our tables with all elements: large, and for the command line only."""
        return "".join(self.list_table(family, terse=False) for family in _FAMILIES)

    def leases(self) -> Mapping[int, Duration]:
        """Groups whose lease is alive in this kernel, and for how much longer."""
        return self._groups_in(LEASE_SET)

    def quiet(self) -> Mapping[int, Duration]:
        """Groups from whose virtual MACs nothing leaves any more: they were handed over."""
        return self._groups_in(QUIET_SET)

    def _groups_in(self, name: str) -> Mapping[int, Duration]:
        try:
            listing = self._run(f"list set {FAMILY_NETDEV} {TABLE} {name}\n", 0)
        except EnvironmentFailure:
            if self._declared(FAMILY_NETDEV) is not None:
                raise
            return {}
        _, _, elements = listing.partition("elements = {")
        return {int(group, 16): _duration(expires) for group, expires in _ELEMENT.findall(elements)}

    def close(self) -> None:
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, text: str, flags: int) -> str:
        if not text:
            return ""
        self._library.nft_ctx_output_set_flags(self._context, flags)
        status = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        errors: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise EnvironmentFailure("apply", "nftables", errors.decode(errors="replace").strip())
        return output.decode(errors="replace")

    def _removals(self, ruleset: str) -> str:
        """Commands that delete what our tables hold and `ruleset` does not declare, to follow it at once."""
        commands: list[str] = []
        wanted = split_tables(ruleset)
        for family in _FAMILIES:
            held = self._declared(family)
            if held is not None and family not in wanted:
                commands.append(f"delete table {family} {TABLE}")
            elif held:
                declared = set(_DECLARED.findall(wanted[family]))
                stale = [each for each in held if each not in declared]
                # Maps first: an element with a verdict holds on to the chain it names.
                stale.sort(key=lambda each: ("map", "set", "chain").index(each[0]))
                commands += [f"flush {kind} {family} {TABLE} {name}" for kind, name in stale if kind != "chain"]
                commands += [f"delete {kind} {family} {TABLE} {name}" for kind, name in stale]
                # Only where its rules are: this listing may fetch every element.
                if ("chain", "helped") in held:
                    helpers = _HELPER.findall(self._run(f"list ct helpers table {family} {TABLE}\n", _TERSE))
                    kept = _HELPER.findall(wanted[family])
                    commands += [f"delete ct helper {family} {TABLE} {name}" for name in helpers if name not in kept]
        return "".join(f"{command}\n" for command in commands)

    def _without_turns(self, ruleset: str) -> str:
        """The text without chains that hold their own state and are there: neither flushed nor written again."""
        if TURN_CHAIN not in ruleset:
            return ruleset
        held = [name for kind, name in self._declared(FAMILY_INET) or () if kind == "chain"]
        kept = {name for name in held if name.startswith(TURN_CHAIN)}
        if not kept:
            return ruleset
        flushes = "".join(f"flush chain {FAMILY_INET} {TABLE} {name}\n" for name in held if name not in kept)
        text = ruleset.replace(f"flush table {FAMILY_INET} {TABLE}\n", flushes, 1)
        return _TURN_BLOCK.sub(lambda block: "" if block[1] in kept else block[0], text)

    def _declared(self, family: str) -> list[tuple[str, str]] | None:
        """Kind and name of what our table of `family` holds, None if there is no such table.

        By parts: `list table` and `list tables` fetch every element, terse or not, a second for 10 000 services.
        """
        listing = "".join(self._run(f"list {kind} {family}\n", _TERSE) for kind in ("chains", "sets", "maps"))
        blocks = [found[0] for found in _TABLE_BLOCK.finditer(listing)]
        return [declared for block in blocks for declared in _DECLARED.findall(block)] if blocks else None


def split_tables(ruleset: str) -> dict[str, str]:
    """The `table FAMILY understudy { ... }` blocks of a text, by family."""
    return {found[1]: found[0] for found in _TABLE_BLOCK.finditer(ruleset)}


def _duration(text: str) -> Duration:
    return sum(int(count) * _TIME_UNITS[unit] for count, unit in _TIME.findall(text))


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OperatorError("E9101", f"{LIBRARY} cannot be loaded: {error}", "apt-get install libnftables1") from error
    context, flags, text = ctypes.c_void_p, ctypes.c_uint, ctypes.c_char_p
    for name, result, arguments in (
        ("nft_ctx_new", context, (ctypes.c_uint32,)),
        ("nft_ctx_free", None, (context,)),
        ("nft_ctx_buffer_output", ctypes.c_int, (context,)),
        ("nft_ctx_buffer_error", ctypes.c_int, (context,)),
        ("nft_ctx_output_set_flags", None, (context, flags)),
        ("nft_run_cmd_from_buffer", ctypes.c_int, (context, text)),
        ("nft_ctx_get_output_buffer", text, (context,)),
        ("nft_ctx_get_error_buffer", text, (context,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
