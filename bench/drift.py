"""How long what somebody changes stays changed: `.venv/bin/python bench/drift.py [RUNS] > rows.jsonl`.

A lab with real agents. Each change is made to the Active's kernel by a system call or two, not by starting a program,
and the kernel is asked in a loop until it is as before. One row a repetition: `kind`, `change`, `ms` from just before
the change to the first answer that is right. A round takes 3.5 s, since an agent that has to repair one kind of thing
more often takes it for a fight.
"""

import argparse
import json
import os
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from understudy.adapters.links import RTM_DELADDR, Links
from understudy.adapters.netlink import (
    IFA_LOCAL,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELLINK,
    Request,
    RouteSocket,
    attribute,
    attributes,
    messages,
)
from understudy.adapters.nftables import Nft
from understudy.adapters.rules import OURS, Rules
from understudy.adapters.watch import NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES
from understudy.agent import client
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.lab import sandbox
from understudy.lab.build import Lab

ROOT = Path(__file__).resolve().parents[1]
LINK, ADDRESS = "us1n1v4", "203.0.113.10"
ROUND_S, PATIENCE_S, SETTLE_S, POLL_S = 3.5, 10.0, 0.15, 0.0005
NFT_MSG_GETRULE, NFT_MSG_GETSETELEM = 7, 13
NFPROTO_INET, NFPROTO_NETDEV = 1, 5
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    kind: str
    name: str
    do: Callable[[], object]
    is_right: Callable[[], bool]


class Kernel:
    """One node's kernel, through sockets and files that were opened inside of its namespace."""

    def __init__(self) -> None:
        self.nft = Nft()
        self.links = Links()
        self.route = RouteSocket()
        self.rules = Rules(self.route)
        self.netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.held = self._rules()
        settings = ("ipv4/ip_forward", "netfilter/nf_conntrack_tcp_loose")
        self.settings = {name: os.open(f"/proc/sys/net/{name}", os.O_RDWR) for name in settings}

    def changes(self) -> list[Change]:
        some = [rule for rule in self.held if rule.action != "blackhole"]
        settings = [
            Change("sysctls", name, partial(os.pwrite, file, b"0", 0), partial(_is_one, file))
            for name, file in self.settings.items()
        ]
        return [
            Change("ruleset", "flush ruleset", lambda: self.nft.run("flush ruleset\n"), self._filters),
            Change("ruleset", "flush ruleset, balancer", lambda: self.nft.run("flush ruleset\n"), self._balances),
            Change(
                "ruleset", "flush chain", lambda: self.nft.run("flush chain inet understudy forward\n"), self._filters
            ),
            Change("links", "delete link", self._delete_link, self._answers),
            Change("links", "link down", lambda: self.links.set_up(LINK, up=False), self._answers),
            Change("addresses", "delete address", self._delete_address, self._answers),
            Change("rules", "delete rules", lambda: self.rules.apply(some), lambda: self._rules() == self.held),
            *settings,
        ]

    def _filters(self) -> bool:
        """Rules are there, and the lease: an advertisement has left since."""
        chain = attribute(1, b"understudy\0") + attribute(2, b"forward\0")
        lease = attribute(1, b"understudy\0") + attribute(2, b"lease\0")
        return self._has(NFT_MSG_GETSETELEM, NFPROTO_NETDEV, lease) and self._has(NFT_MSG_GETRULE, NFPROTO_INET, chain)

    def _balances(self) -> bool:
        """And new connections to services find a server: what rules look up comes after them."""
        slots = attribute(1, b"understudy\0") + attribute(2, b"slots_2\0")
        return self._filters() and self._has(NFT_MSG_GETSETELEM, NFPROTO_INET, slots)

    def _has(self, kind: int, family: int, which: bytes) -> bool:
        """Whether a dump of netfilter's brings anything; a listing by libnftables would take longer than a repair."""
        payload = struct.pack("!BBH", family, 0, 0) + which
        head = struct.pack("=IHHII", 16 + len(payload), NFNL_SUBSYS_NFTABLES << 8 | kind, 0x301, 1, 0)
        self.netfilter.send(head + payload)
        found = False
        while True:
            for answer, body in messages(self.netfilter.recv(1 << 18)):
                if answer in (NLMSG_ERROR, NLMSG_DONE):
                    return found
                # The elements are one attribute, which is there and empty if there are none.
                found = found or kind != NFT_MSG_GETSETELEM or bool(attributes(body, 4).get(3))

    def _answers(self) -> bool:
        link = next((link for link in self.links.links() if link.name == LINK), None)
        addresses = self.links.held()
        return bool(
            link and link.up and any(str(a.interface.ip) == ADDRESS and a.index == link.index for a in addresses)
        )

    def _rules(self) -> set[Any]:
        return {each.rule for each in self.rules.held() if each.protocol == OURS}

    def _delete_link(self) -> None:
        payload = struct.pack("=BxHiII", 0, 0, self._index(), 0, 0)
        self.route.commit([Request(RTM_DELLINK, 0, payload, "delete link", LINK)])

    def _delete_address(self) -> None:
        payload = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, self._index())
        payload += attribute(IFA_LOCAL, socket.inet_aton(ADDRESS))
        self.route.commit([Request(RTM_DELADDR, 0, payload, "delete address", ADDRESS)])

    def _index(self) -> int:
        return next(link.index for link in self.links.links() if link.name == LINK)


def _is_one(file: int) -> bool:
    return os.pread(file, 8, 0) == b"1\n"


def _role(path: Path) -> str:
    try:
        return str(client.ask(path, "status")["groups"][0]["role"])
    except OperatorError:
        return ""


def measure(change: Change) -> Row:
    begun = time.monotonic_ns()
    change.do()
    while not change.is_right():
        if time.monotonic_ns() - begun > PATIENCE_S * 1e9:
            raise TimeoutError(f"{change.name}: not repaired")
        time.sleep(POLL_S)
    return {"kind": change.kind, "change": change.name, "ms": (time.monotonic_ns() - begun) / 1e6}


def run(runs: int) -> tuple[list[Row], dict[str, Any]]:
    """Every row, and what the Active says of itself at the end."""
    with tempfile.TemporaryDirectory() as state:
        lab = Lab(load_plan(ROOT / "examples/pair.yaml"), Path(state))
        lab.up()
        sockets = {name: lab.run_dir(name) / client.SOCKET for name in ("gw1", "gw2")}
        while not (node := next((name for name, path in sockets.items() if _role(path) == "active"), "")):
            time.sleep(0.1)
        kernel: Kernel = lab.namespaces[node].run(Kernel)
        rows = []
        for _ in range(runs):
            end = time.monotonic() + ROUND_S
            for change in kernel.changes():
                rows.append(measure(change))
                time.sleep(SETTLE_S)
            time.sleep(max(0, end - time.monotonic()))
        status = client.ask(sockets[node], "status")
        lab.down()
    return rows, status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=20, help="of each change")
    runs = parser.parse_args().runs
    rows, status = sandbox.run(lambda: run(runs))
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    for name in dict.fromkeys(row["change"] for row in rows):
        times = sorted(row["ms"] for row in rows if row["change"] == name)
        kind = next(row["kind"] for row in rows if row["change"] == name)
        sys.stderr.write(
            f"{kind:10} {name:34} n={len(times)} p50 {statistics.median(times):6.1f} ms  max {times[-1]:6.1f} ms\n"
        )
    group = status["groups"][0]
    sys.stderr.write(f"role {group['role']}, {group['transitions']} moves, alarms {status['drift']['alarms']}\n")


if __name__ == "__main__":
    main()
