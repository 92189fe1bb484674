"""Bad cables in a real lab: what the rules strike, in which direction, and what they leave alone."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab_worlds import eventually, new_lab, pair

from understudy.errors import EnvironmentFailure
from understudy.lab import sandbox
from understudy.lab.build import Lab
from understudy.lab.impairment import EVERYTHING, Impairment, Partition, corrupted, lost, udp_port
from understudy.lab.nftsocket import NftSocket, list_chains

VRRP = 112
COUNT = 400
ARRIVES_S = 3.0
MESSAGE = bytes((0x31, 42, 100, 1, 0, 10, 0xAB, 0xCD, 10, 9, 0, 254))
"""An advertisement of priority 100 whose checksum nobody here looks at."""


def in_lab(state: Path, story: Callable[[Lab], object]) -> None:
    def main() -> None:
        lab = new_lab(pair(), state)
        lab.up(agents=False)
        story(lab)

    sandbox.run(main)


class Wire:
    """From one host to another on the inside LAN: COUNT messages of a protocol, and what arrives of them."""

    def __init__(self, lab: Lab, sender: str, receiver: str, protocol: int = VRRP) -> None:
        kind = socket.SOCK_DGRAM if protocol == socket.IPPROTO_UDP else socket.SOCK_RAW
        self.receiver = lab.namespaces[receiver].socket(socket.AF_INET, kind, protocol)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.receiver.setblocking(False)
        self.sender = lab.namespaces[sender].socket(socket.AF_INET, kind, protocol)
        self.source = str(lab.topology.port(sender, "inside").addresses[0].ip)
        self.target = (str(lab.topology.port(receiver, "inside").addresses[0].ip), 0)
        if kind == socket.SOCK_DGRAM:
            self.receiver.bind(("0.0.0.0", 4112))
            self.target = (self.target[0], 4112)

    def carry(self, count: int = COUNT, expected: Callable[[], int] | None = None) -> list[bytes]:
        """Send so many; what arrives of them until as many as `expected` (all of them) have, and no more wait.

        On a busy machine the kernel may leave a delivery to another process, and `sendto` returns before it.
        """
        for _ in range(count):
            self.sender.sendto(MESSAGE, self.target)
        found: list[bytes] = []
        deadline = time.monotonic() + ARRIVES_S
        while True:
            time.sleep(0.01)
            found += self._waiting()
            if len(found) >= (count if expected is None else expected()) or time.monotonic() > deadline:
                return found

    def lose(self, count: int) -> list[bytes]:
        """What arrives of so many of which nothing shall."""
        found = self.carry(count, lambda: 0)
        time.sleep(0.1)
        return found + self._waiting()

    def _waiting(self) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = self.receiver.recvfrom(2048)
                if source[0] == self.source:  # A raw socket hears the others too.
                    found.append(data[-len(MESSAGE) :])
        return found


def impair(lab: Lab, from_node: tuple[str, ...], to_node: tuple[str, ...]) -> Impairment:
    port = lab.topology.port("gw1", "inside")
    rules = Impairment(lab.switch, "test", [port.switch_port], from_node, to_node)
    rules.begin([port.switch_index])
    return rules


def test_a_mute_node_is_not_heard_but_hears_and_a_deaf_one_the_other_way_round(tmp_path: Path) -> None:
    """Loss in one direction is loss in that direction alone, from `begin` to `end`."""

    def story(lab: Lab) -> None:
        out, back = Wire(lab, "gw1", "gw2"), Wire(lab, "gw2", "gw1")
        assert (len(out.carry(20)), len(back.carry(20))) == (20, 20), "both know each other's MAC address now"
        mute = impair(lab, EVERYTHING, ())
        assert (len(out.lose(20)), len(back.carry(20))) == (0, 20)
        mute.end()
        assert len(out.carry(20)) == 20
        mute.close()
        deaf = impair(lab, (), EVERYTHING)
        assert (len(out.carry(20)), len(back.lose(20))) == (20, 0)
        assert deaf.packets() >= 20
        deaf.close()
        assert len(back.carry(20)) == 20, "closing ends what was not ended"

    in_lab(tmp_path, story)


def test_a_share_is_lost_or_changed_of_one_protocol_only(tmp_path: Path) -> None:
    """30 % lost, 50 % with another priority and the checksum of before; the heartbeats of the same cable unharmed."""

    def story(lab: Lab) -> None:
        vrrp, heartbeats = Wire(lab, "gw1", "gw2"), Wire(lab, "gw1", "gw2", socket.IPPROTO_UDP)
        assert len(vrrp.carry(20)) == 20
        loss = impair(lab, lost(0.3), ())
        arrived = len(vrrp.carry(expected=lambda: COUNT - loss.packets()))
        assert 0.6 * COUNT < arrived < 0.8 * COUNT, "four standard deviations around 70 %"
        assert loss.packets() == COUNT - arrived
        assert len(heartbeats.carry(20)) == 20
        loss.close()
        damage = impair(lab, corrupted(0.5), ())
        messages = vrrp.carry()
        assert len(messages) == COUNT
        changed = [message for message in messages if message != MESSAGE]
        assert 0.4 * COUNT < len(changed) < 0.6 * COUNT
        assert set(changed) == {MESSAGE[:2] + b"\xff" + MESSAGE[3:]}
        damage.close()
        silence = impair(lab, udp_port(4112), ())
        assert (len(heartbeats.lose(20)), len(vrrp.carry(20))) == (0, 20)
        silence.close()

    in_lab(tmp_path, story)


def test_a_partition_parts_two_and_leaves_everybody_else(tmp_path: Path) -> None:
    """gw1 and gw2 hear nothing of each other, and a server hears both."""

    def story(lab: Lab) -> None:
        wires = [Wire(lab, *ends) for ends in (("gw1", "gw2"), ("gw2", "gw1"), ("gw1", "web1"), ("web1", "gw2"))]
        assert [len(wire.carry(10)) for wire in wires] == [10] * 4
        partition = Partition(lab.switch, "test")
        assert [len(wire.carry(10)) for wire in wires] == [10] * 4, "nothing before it begins"
        ports = [lab.topology.port(node, "inside").switch_index for node in ("gw1", "gw2")]
        partition.begin([(ports[0], ports[1])])
        assert [len(wire.lose(10)) for wire in wires[:2]] == [0, 0]
        assert [len(wire.carry(10)) for wire in wires[2:]] == [10, 10]
        partition.end()
        assert [len(wire.carry(10)) for wire in wires] == [10] * 4
        partition.close()

    in_lab(tmp_path, story)


def test_a_flush_takes_every_table_and_a_bad_change_is_told(tmp_path: Path) -> None:
    """What `nft flush ruleset` does, in one system call; a set that is not there is an error with its name."""

    def story(lab: Lab) -> None:
        node = lab.namespaces["gw1"]
        text = "table inet a { chain c { counter; }; }; table netdev b { set s { type mark; }; }"
        node.run(subprocess.run, ["nft", text], check=True, timeout=10)
        (chain,) = node.run(list_chains)
        assert '"inet", "a", "c"' in chain
        nft = node.run(NftSocket)
        with pytest.raises(EnvironmentFailure, match="set s of table c"):
            nft.add(5, "c", "s", [bytes(4)])
        assert nft.tables() == {(1, "a"), (5, "b")}
        nft.flush_ruleset()
        assert nft.tables() == frozenset()
        assert node.run(list_chains) == frozenset()
        nft.close()

    in_lab(tmp_path, story)


def clock_agent(_plan: object, _node: object, run_dir: Path, _key: bytes) -> None:
    """Tells its clocks and stays."""
    (run_dir / "clocks").write_text(f"{time.monotonic()} {time.clock_gettime(time.CLOCK_BOOTTIME)}")
    time.sleep(60)


def test_an_agent_can_be_started_days_ahead_and_on_a_disk_of_its_own(tmp_path: Path) -> None:
    """Both clocks are three days ahead of ours; the node's directory ends where its disk does."""

    def main() -> tuple[float, float, int]:
        lab = Lab(pair(), tmp_path, agent_main=clock_agent, disk_bytes=1 << 20)
        lab.up(agents=False)
        before = time.monotonic()
        lab.start_agent("gw1", clocks_ahead=3 * 86_400_000_000_000)
        told = lab.run_dir("gw1") / "clocks"
        monotonic, boot = map(float, eventually(lambda: told.read_text() if told.exists() else "").split())
        written = 0
        with (lab.run_dir("gw1") / "filler").open("wb", buffering=0) as filler:
            try:
                while written < 4 << 20:
                    written += filler.write(bytes(4096))
            except OSError:
                pass
        return monotonic - before, boot - before, written

    monotonic, boot, written = sandbox.run(main)
    assert 259_200 <= monotonic < 259_260
    assert boot >= monotonic
    assert written < 1 << 20
