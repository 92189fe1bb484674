"""What the processes of an agent hold."""

import contextlib
import os
from pathlib import Path


def packet_sockets(pid: int) -> int:
    """How many packet sockets a process holds."""
    return len([family for family in families(pid) if family == "packet"])


def families(pid: int) -> list[str]:
    """What the sockets of a process are, by the tables of its own network namespace."""
    tables = {}
    for table in ("packet", "udp", "udp6", "netlink", "unix"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            column = {"packet": 8, "udp": 9, "udp6": 9, "netlink": 9, "unix": 6}[table]
            tables[line.split()[column]] = table
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:["):
                found.append(tables.get(target[8:-1], "other"))
    return found
