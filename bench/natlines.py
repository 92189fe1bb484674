"""One run of reading, or of loading, lines of Cisco IOS, in a process of its own; prints a row.

    python bench/natlines.py read KIND LINES       text -> read, judged line by line, compiled to the text of a rule set
    python bench/natlines.py load STATICS          the same, then into a kernel; then one entry is another one

KIND: mixed (every kind of line), statics, list (one access list), garbage (bytes that are no command), slots (half of
commands). Times are the clock's, in seconds: what else the machine does is in them, and in the row's `load`.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

from nattexts import HEAD, global_, local, mixed, statics

from understudy.adapters.nftables import Nft
from understudy.errors import OperatorError
from understudy.ios.check import check
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_bytes
from understudy.lab import sandbox
from understudy.lab.natrules import ruleset
from understudy.render.ios_nat import render_ios_nat
from understudy.render.textchange import change_text

CHANGES = 8
_WORDS = (
    "ip", "nat", "inside", "source", "static", "list", "pool", "overload", "interface", "permit", "deny", "host", "any",
    "10.1.2.3", "0.0.0.255", "eq",
)  # fmt: skip


def _garbage(lines: int) -> str:
    generator = random.Random(lines)
    return "\n".join(
        "".join(chr(generator.choice((*range(33, 127), 0xE9, 0x3042))) for _ in range(40)) for _ in range(lines)
    )


def _slots(lines: int) -> str:
    generator = random.Random(lines)
    heads = ("ip nat ", "access-list 101 ", " permit ", "ip nat pool ", "route-map ", "interface ")
    return "\n".join(
        generator.choice(heads) + " ".join(generator.choices(_WORDS, k=generator.randint(0, 9))) for _ in range(lines)
    )


def _list(lines: int) -> str:
    rule = "ip nat inside source list 150 interface GigabitEthernet0/1 overload"
    entries = (f"access-list 150 permit tcp host {local(n)} any eq www" for n in range(lines - len(HEAD) - 1))
    return "\n".join((*HEAD, rule, *entries))


KINDS: dict[str, Callable[[int], str]] = {
    "mixed": mixed,
    "statics": lambda lines: "\n".join((*HEAD, *statics(lines - len(HEAD)))),
    "list": _list,
    "garbage": lambda lines: "\n".join((*HEAD, _garbage(lines - len(HEAD)))),
    "slots": lambda lines: "\n".join((*HEAD, _slots(lines - len(HEAD)))),
}


def read(kind: str, lines: int) -> dict[str, Any]:
    data = KINDS[kind](lines).encode()
    spent = [time.perf_counter()]
    try:
        reading = read_bytes(data)
    except OperatorError as error:
        return {"void": str(error)}
    spent.append(time.perf_counter())
    report = check(reading, profile_named("classic"))
    spent.append(time.perf_counter())
    interfaces = reading.configuration.interfaces
    nat = render_ios_nat(reading.configuration, {each.name: f"e{n}" for n, each in enumerate(interfaces)}, {})
    size = len(ruleset(nat))
    spent.append(time.perf_counter())
    counts = report.counts
    return {
        "lines": lines,
        "read_s": spent[1] - spent[0],
        "checked_s": spent[2] - spent[1],
        "compiled_s": spent[3] - spent[2],
        "total_s": spent[3] - spent[0],
        "us_a_line": (spent[3] - spent[0]) / lines * 1e6,
        "nat_lines": counts["nat"],
        "refused_lines": counts["refused"],
        "ruleset_bytes": size,
    }


def load(count: int) -> dict[str, Any]:
    """`parsed_s` is from the text to the model, `loaded_s` from there to the kernel.

    Of one entry that is another one: `rendered_ms` from the model to the second rule set, `changed_ms` from the two
    rule sets to the kernel.
    """
    data = "\n".join((*HEAD, *statics(count))).encode()
    begun = time.perf_counter()
    configuration = read_bytes(data).configuration
    parsed = time.perf_counter()
    ports = {"GigabitEthernet0/0": "e0", "GigabitEthernet0/1": "e1"}
    text = ruleset(render_ios_nat(configuration, ports, {}))
    compiled = time.perf_counter()
    # What has listed holds elements for the next command, so another one looks.
    with Nft() as nft, Nft() as look:
        nft.apply(text)
        loaded = time.perf_counter()
        gc.collect()
        gc.freeze()  # as a node does before it forks who changes the kernel
        found, transactions, rendered = [], [], []
        for number in range(CHANGES):
            at = count * number // CHANGES
            entries = list(configuration.statics)
            entries[at] = replace(entries[at], local=local(count + number))
            configuration = replace(configuration, statics=tuple(entries))
            renders = time.perf_counter()
            fresh = ruleset(render_ios_nat(configuration, ports, {}))
            before = time.perf_counter()
            rendered.append(before - renders)
            change = change_text(text, fresh)
            assert change is not None, "more than elements has changed"
            halfway = time.perf_counter()
            nft.run(change)
            transactions.append(time.perf_counter() - halfway)
            found.append(time.perf_counter() - before)
            text = fresh
            held = look.run(f"get element inet understudy ios_in_host {{ {global_(at)} }}\n")
            assert f"{global_(at)} : {local(count + number)}" in held, held
    return {
        "statics": count,
        "parsed_s": parsed - begun,
        "compiled_s": compiled - parsed,
        "kernel_s": loaded - compiled,
        "loaded_s": loaded - parsed,
        "rendered_ms": median(rendered) * 1000,
        "changed_ms": median(found) * 1000,
        "changed_max_ms": max(found) * 1000,
        "transaction_ms": median(transactions) * 1000,
        "changes_ms": [round(each * 1000, 3) for each in found],
    }


def main() -> int:
    what, *words = sys.argv[1:]
    row = read(words[0], int(words[1])) if what == "read" else sandbox.run(lambda: load(int(words[0])))
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
