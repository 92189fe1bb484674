"""The history of translations beside a kernel that has more news than a socket holds."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from flow_bed import MARK, Kernel
from nft_bed import in_sandbox

from understudy.agent.nat_history import BUFFER_BYTES, HistoryFile, follow
from understudy.core.replication.events import Kind, Record
from understudy.ios.reader import read_text
from understudy.wire.conntrack import Flow, Tcp, Tuple, build

HOST, NEAR, FAR = (ip_address(text) for text in ("10.9.0.11", "203.0.113.10", "198.51.100.9"))
FLOWS = 400
LINES = """
interface g0/0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat inside source list 1 interface g0/1 overload
"""


def made(port: int) -> Record:
    tuples = (Tuple(HOST, FAR, 6, port, 80), Tuple(FAR, NEAR, 6, 80, port))
    return Kind.CHANGED, build(Flow(*tuples, 0xE, 100, MARK, Tcp(3)))


@pytest.mark.parametrize(("buffer_bytes", "missed"), [(4096, [1, 2]), (BUFFER_BYTES, [])])
def test_lost_news_are_told_once_each_and_made_up_for(buffer_bytes: int, missed: list[int], tmp_path: Path) -> None:
    """All flows are known after each, whether their news arrived or not; with room for them nothing is lost."""
    path = tmp_path / "history"

    def story() -> tuple[list[int], list[int]]:
        kernel = Kernel("gateway")
        known, told = [], list[int]()

        def stopped() -> bool:
            """Looked at before each reading: what is new meanwhile waits in the socket."""
            held = HistoryFile(path, write=False)
            known.append(sum(1 for _ in held.ring.records()))
            held.close()
            if known[-1] in (0, FLOWS):
                assert kernel.table.write([made(1 + known[-1] + port) for port in range(FLOWS)]) == 0
            return known[-1] >= 2 * FLOWS or len(known) > 1000

        kernel.machine.run(follow, path, read_text(LINES).configuration, 1 << 20, stopped, told.append, buffer_bytes)
        return known, told

    known, told = in_sandbox(story)
    assert known[-1] == 2 * FLOWS
    assert told == missed
