"""A real agent on gw1, somebody else's daemon on gw2, and a switch between them: what is done and what is seen."""

import json
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from foreign import Node
from speech import OURS, THEIRS, Speech
from tap import ETH_P_ALL, Wire

from understudy.agent import client
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.lab import processes, sandbox
from understudy.lab.build import Lab
from understudy.units import SECOND, Address, NodeName
from understudy.wire import arp, ndp

CLIENT = "client-lan"
PATIENCE_S = 6.0


class Pair:
    """The lab, our agent, their daemon."""

    def __init__(self, lab: Lab, speech: Speech) -> None:
        self.lab = lab
        self.speech = speech
        self.wire = Wire(lab)
        group = lab.plan.settings(NodeName(OURS)).groups[0]
        theirs = lab.plan.settings(NodeName(THEIRS)).groups[0]
        self.interval = group.advertise
        self.patience_s = PATIENCE_S + 8 * self.interval / SECOND
        self.address: Address = next(a for a in group.routers[0].addresses if not a.is_link_local)
        sources: dict[int, str] = {a.version: str(a.ip) for a in reversed(lab.topology.host(THEIRS).addresses)}
        options = {"instance": speech.options} if speech.options else {}
        self.theirs = Node(lab, THEIRS, theirs, sources, speech.kind, options)

    # --- what is done

    def start(self, node: str) -> None:
        if node == THEIRS:
            self.theirs.start()
        else:
            self.lab.start_agent(OURS)
            self.until(lambda: self.role() in ("active", "backup"), "the agent starts")

    def leave(self, node: str) -> int:
        """Politely; the instant before."""
        at = time.time_ns()
        if node == THEIRS:
            self.theirs.stop()
        else:
            pids = self.lab.agent_pids(OURS)
            os.kill(pids[0], signal.SIGTERM)
            assert processes.wait_until_gone(pids, PATIENCE_S), "the agent does not end"
            self.lab.kill_agent(OURS)
        return at

    def die(self, node: str) -> int:
        """The whole machine, at once; the instant before."""
        at = self.lab.power_off(node) + time.time_ns() - time.monotonic_ns()
        if node == THEIRS:
            self.theirs.forget()
        return at

    def boot(self, node: str) -> None:
        """After `die`."""
        self.lab.power_on(node, agent=False)
        self.theirs.links_made &= node != THEIRS
        self.start(node)

    # --- what is seen

    def role(self) -> str:
        """Our agent's, by its own word."""
        try:
            return str(self.status()["groups"][0]["role"])
        except OperatorError:
            return "gone"

    def status(self) -> dict[str, Any]:
        return client.ask(self.lab.run_dir(OURS) / client.SOCKET, "status")

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.lab.run_dir(OURS) / "events.jsonl"
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["kind"] == kind]

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The same once there are any: the supervisor writes a moment after the core has acted."""
        self.until(lambda: self.events(kind), f"the journal tells of {kind}")
        return self.events(kind)

    def answering(self) -> set[str]:
        """Who answers a client that asks for the address."""
        self.wire.take()
        since = time.time_ns()
        with self.lab.namespaces[CLIENT].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as asker:
            asker.bind(("eth0", ETH_P_ALL))
            mac = bytes(asker.getsockname()[4])
            own = next(a.ip for a in self.lab.topology.host(CLIENT).addresses if a.version == self.address.version)
            for _ in range(4):
                if isinstance(self.address, IPv6Address):
                    assert isinstance(own, IPv6Address)
                    asker.send(ndp.solicitation_frame(self.address, own, mac))
                else:
                    assert isinstance(own, IPv4Address)
                    asker.send(arp.request_frame(self.address, own, mac))
                time.sleep(0.01)
        self.wire.take()
        return {a.node for a in self.wire.answered if a.at >= since and a.address == self.address}

    def speaking(self) -> set[str]:
        return self.wire.speaking(self.interval * 16 // 5)

    def serving(self, who: set[str]) -> bool:
        """Exactly these advertise and answer, our agent thinks so, too, and the client's own kernel gets through."""
        ours = self.role()
        known = ours == "active" if OURS in who else ours in ("backup", "gone")
        return known and self.speaking() == who and self.answering() == who and self.reached()

    def reached(self) -> bool:
        """Whether the client gets an answer from the address, by the MAC that it has learned: a refusal will do."""
        family = socket.AF_INET6 if self.address.version == 6 else socket.AF_INET
        with self.lab.namespaces[CLIENT].socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(0.1)
            try:
                connection.connect((str(self.address), 9))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
            return True

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + self.patience_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.picture()}"
            self._pause(0.02)

    def settle(self, *who: str) -> None:
        self.until(lambda: self.serving(set(who)), f"{' and '.join(who)} should serve")

    def stay(self, *who: str) -> None:
        """It is so, and remains so for longer than any timer runs."""
        self.settle(*who)
        end = time.monotonic() + 5 * self.interval / SECOND
        while time.monotonic() < end:
            assert self._goes_on(set(who)), f"{' and '.join(who)} should go on serving: {self.picture()}"
            self._pause(0.05)

    def _goes_on(self, who: set[str]) -> bool:
        """On a busy machine a look may miss an answer; nobody else is ever seen."""
        for _ in range(3):
            if self.serving(who):
                return True
            if (self.speaking() | self.answering()) - who:
                return False
        return False

    def picture(self) -> str:
        self.wire.take()
        last = [
            f"{(a.at - time.time_ns()) / 1e6:.0f} ms {a.node} {a.source} v{a.advertisement.version} "
            f"priority {a.advertisement.priority}"
            for a in self.wire.advertised[-6:]
        ]
        dropped = self.status()["dropped"] if self.role() != "gone" else {}
        log = self.lab.run_dir(OURS) / "agent.log"
        return "\n".join(
            [
                f"speaking {self.speaking()}, answering {self.answering()}, our agent {self.role()}, dropped {dropped}",
                *last,
                *(str(event) for kind in ("moved", "mismatch", "error") for event in self.events(kind)[-6:]),
                log.read_text()[-1500:] if log.exists() else "",
                self.theirs.log(),
            ]
        )

    def _pause(self, seconds: float) -> None:
        select.select([], [], [], seconds)


def within(speech: Speech, story: Callable[[Pair], None], *, ours_first: bool = True, preempt: bool = True) -> None:
    """Tell a story about a pair, in a sandbox of its own."""

    def main(report: Callable[[None], None]) -> None:
        with pair_of(speech, ours_first, preempt) as pair:
            story(pair)
        report(None)

    with sandbox.start(main) as told:
        told.receive(120)


@contextmanager
def pair_of(speech: Speech, ours_first: bool, preempt: bool) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "cluster.yaml"
        file.write_text(speech.text(ours_first=ours_first, preempt=preempt))
        lab = Lab(load_plan(file), Path(directory))
        lab.up(agents=False)
        pair = Pair(lab, speech)
        try:
            yield pair
        finally:
            pair.theirs.kill()
            lab.down()
