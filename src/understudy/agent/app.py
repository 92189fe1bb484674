"""The composition root: the only place where real sockets, the real clock and the real kernel meet `core.node.Node`."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from understudy.adapters.channel import FLOWS_PORT, POOLS_PORT, PORT, Channel
from understudy.adapters.conntrack import FlowEvents, FlowTable
from understudy.adapters.links import LinkWatch
from understudy.agent.children import ENDING, Children
from understudy.agent.control import Control
from understudy.agent.driver import Driver
from understudy.agent.journal import JournalSender
from understudy.agent.lans import Lan
from understudy.agent.messages import Message
from understudy.agent.options import AgentOptions, find_node
from understudy.agent.patience import patient
from understudy.agent.pool_paths import PoolPaths, paths_to
from understudy.agent.pools import PoolKeeper
from understudy.agent.replicator import EVENTS_QUEUE, Replicator
from understudy.agent.replicator_line import CoreLine
from understudy.agent.running import Running
from understudy.agent.status import describe_node
from understudy.agent.store import Store
from understudy.core.effects import SendHeartbeat
from understudy.core.events import (
    CheckFinished,
    GateWaived,
    KernelRepaired,
    LocalAddressLearned,
    MaintenanceCommanded,
    Started,
    SwitchoverCommanded,
    Tick,
)
from understudy.core.node import Node
from understudy.core.replication.machine import Replication
from understudy.core.settings import NodeSettings
from understudy.units import GroupName, Instant, NetworkName


def warm_up(options: AgentOptions, settings: NodeSettings) -> None:
    """Do once, before the fork, what a core does first: its successor finds code and libraries ready (3 ms of 10)."""
    channel = open_channel(options, settings, 0)
    node = Node(settings, epoch=0)
    for group in settings.groups:
        for router in group.routers:
            node.handle(Instant(0), LocalAddressLearned(router.network, router.family, router.addresses[0]))
    for event in (Started(frozenset(group.name for group in settings.groups)), Tick()):
        for effect in node.handle(Instant(0), event):
            if isinstance(effect, SendHeartbeat):
                for peer in settings.peers:
                    channel.seal(effect.payload, peer.number, 0)
    node.next_deadline()


def open_channel(options: AgentOptions, settings: NodeSettings, epoch: int, port: int = PORT) -> Channel:
    """To every peer of the node."""
    peers = frozenset(peer.number for peer in settings.peers)
    return Channel(options.key, settings.number, epoch, peers, more_keys=options.more_keys, port=port)


def run_core(
    options: AgentOptions,
    settings: NodeSettings,
    lans: Mapping[NetworkName, Lan],
    epoch: int,
    hands: socket.socket,
    checks: socket.socket,
    journal_end: socket.socket,
    door: socket.socket,
    generation: int,
    flows: socket.socket | None = None,
    *,
    announce: bool = False,
) -> None:
    """The core process: returns when everything is handed over. Clients come in at `door`. `announce`: the LANs do not
    know all addresses yet.
    """
    journal = JournalSender(journal_end, options.node)
    node = Node(settings, epoch=epoch, maintenance=Store(options.store_path).load().maintenance)
    channel = open_channel(options, settings, epoch)
    driver = Driver(node, lans, channel, hands, checks, LinkWatch(), journal, generation, flows)

    def begin(survey: Message) -> None:
        held = frozenset(GroupName(name) for name in survey.get("held", []))
        if held:
            journal.write(Instant(time.monotonic_ns()), {"kind": "adopted", "groups": sorted(held)})
        driver.feed(Started(held))
        if driver.flows is not None:
            driver.flows.begin()
        up = set(survey.get("up", []))
        for server in settings.servers:
            if server.binding not in up:  # The kernel knows a dead server from the core before this one.
                for _ in range(server.fall):
                    driver.feed(CheckFinished(server.binding, False, "was down before the restart"))
        if announce and held:  # Answered after the addresses were taken, since hands work in order.
            driver.hands.ask({"op": "survey"}, lambda survey: driver.feed(KernelRepaired()))
        # Not before it is known what this node serves: until then clients wait at the door.
        driver.control = Control(door, patient(driver, _commands(driver, options)))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # There is something to hand over.

    # First of all: while the hands look at the kernel, the rest is made ready.
    driver.hands.ask({"op": "survey"}, begin)
    _install_signals(driver)
    journal.write(Instant(time.monotonic_ns()), {"kind": "started", "generation": generation, "epoch": epoch})
    for lan in lans.values():
        for family, address in lan.own.items():
            driver.feed(LocalAddressLearned(lan.network, 4 if family == 4 else 6, address))
    driver.look_at_carriers()
    try:
        driver.run()
    finally:
        if driver.control is not None:
            driver.control.close()


def run_flows(
    options: AgentOptions,
    settings: NodeSettings,
    lans: Mapping[NetworkName, Lan],
    stream: int,
    core: socket.socket,
    journal_end: socket.socket,
) -> None:
    """The process that replicates flows; does not return. `stream` is greater than that of any before on this node."""
    journal = JournalSender(journal_end, options.node)
    channel = open_channel(options, settings, stream, FLOWS_PORT)
    table = FlowTable(groups=_kept_groups(settings))
    news = FlowEvents(table.portid, EVENTS_QUEUE)
    machine = Replication(settings)
    replicator = Replicator(
        machine, settings, lans, channel, table, news, CoreLine(core), journal, sync_delay=options.sync_delay
    )
    replicator.run(stream)


def _kept_groups(settings: NodeSettings) -> frozenset[int]:
    """Those of which a peer may have anything written here."""
    copied = settings.flows.copied
    return frozenset(group.number for group in settings.groups if group.peers and (group.stateful or copied))


def run_pools(running: Running, epoch: int, journal_end: socket.socket) -> None:
    """The process that hands out addresses of pools; does not return. `epoch`: greater than of any before."""
    options, settings, pools = running.options, running.settings, running.config.pools
    assert pools is not None
    links = [link for link in running.config.links if link.group == pools.group and link.family == 4]
    own = {port.network: [i.ip for i in port.addresses] for port in find_node(options.plan, options.node).attachments}
    peers = {peer.number: peer.paths for peer in settings.peers}
    paths = paths_to(own, settings.networks, running.interfaces, peers)
    journal = JournalSender(journal_end, options.node)
    PoolKeeper(
        pools,
        links,
        next(group.number for group in settings.groups if group.name == pools.group),
        PoolPaths(paths, options.keys, open_channel(options, settings, epoch, POOLS_PORT)),
        journal,
        Children(journal_end, journal),
        drop_privileges,
    ).run()


def _install_signals(driver: Driver) -> None:
    """SIGTERM hands over, once `begin` lets it through; SIGINT is the supervisor's to translate."""

    def stop(number: int, frame: object) -> None:
        driver.request_stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _commands(
    driver: Driver, options: AgentOptions
) -> Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]:
    node = driver.node

    def handle(request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
        match request["command"]:
            case "status":
                answer(describe_node(driver, options))
            case "switchover":
                name = request.get("group") or next(iter(node.groups), "")
                driver.feed(SwitchoverCommanded(GroupName(str(name)), force=bool(request.get("force"))))
                answer({"ok": not node.refusal, "error": node.refusal} if node.refusal else {"ok": True})
            case "waive":
                name = request.get("group") or next(iter(node.groups), "")
                driver.feed(GateWaived(GroupName(str(name))))
                answer({"ok": not node.refusal, "error": node.refusal} if node.refusal else {"ok": True})
            case "flows":
                if driver.flows is None:
                    answer({"error": f"no flows are kept on {node.settings.name}: the file has no `state:` for any"})
                else:
                    driver.flows.compare(answer)
            case "maintenance":
                on = bool(request.get("on"))
                refusal = _refuse_maintenance(node) if on and not request.get("force") else ""
                if refusal:
                    answer({"ok": False, "error": refusal})
                    return

                def stored(error: str) -> None:
                    """On the disk first: what would not survive a restart must not be claimed."""
                    if error:
                        answer({"ok": False, "error": error})
                        return
                    driver.feed(MaintenanceCommanded(on, force=bool(request.get("force"))))
                    answer({"ok": True})

                driver.store_maintenance(on, stored)
            case other:
                answer({"error": f"unknown command {other!r}"})

    return handle


def _refuse_maintenance(node: Node) -> str:
    """An Active without a standby would leave the addresses to nobody."""
    for group in node.groups.values():
        body = node.peer.body
        ready = node.peer.fresh and body is not None and body.eligible and not body.stopping
        if group.role.name == "ACTIVE" and not ready:
            name = group.settings.name
            return f"{node.settings.name} is Active for {name} and no standby could take over; --force to insist"
    return ""


def drop_privileges() -> None:
    """For a process that needs none: no new ones by exec, no capabilities, and another user where that is possible."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
        with contextlib.suppress(OSError):
            os.setresgid(65534, 65534, 65534)
        with contextlib.suppress(OSError):
            os.setresuid(65534, 65534, 65534)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    nothing = (ctypes.c_uint32 * 6)()
    libc.capset(ctypes.byref(header), ctypes.byref(nothing))
