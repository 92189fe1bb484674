"""The composition root: the only place where real sockets, the real clock and the real kernel meet `core.node.Node`."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

from understudy.adapters.channel import PORT, Channel
from understudy.adapters.links import Links
from understudy.adapters.packet import Port
from understudy.agent.control import Control
from understudy.agent.driver import Driver, Lan
from understudy.agent.journal import JournalSender
from understudy.agent.messages import Message
from understudy.agent.options import AgentOptions, find_node
from understudy.agent.status import describe_node
from understudy.agent.store import Store
from understudy.core.events import (
    CarrierChanged,
    CheckFinished,
    LocalAddressLearned,
    MaintenanceCommanded,
    Started,
    SwitchoverCommanded,
)
from understudy.core.node import Node
from understudy.core.settings import NodeSettings
from understudy.errors import OperatorError
from understudy.units import SECOND, Address, Duration, Family, GroupName, Instant, NetworkName

RTMGRP_LINK = 1


def run_core(
    options: AgentOptions,
    interfaces: dict[NetworkName, str],
    hands: socket.socket,
    checks: socket.socket,
    journal_end: socket.socket,
    generation: int,
) -> None:
    """The core process: returns when everything is handed over."""
    stored = Store(options.store_path).next_epoch()
    settings = replace(options.plan.settings(options.node), jiffy=kernel_jiffy())
    journal = JournalSender(journal_end, options.node)
    node = Node(settings, epoch=stored.epoch, maintenance=stored.maintenance)
    links = _watch_links()
    lans = _open_lans(options, settings, interfaces)
    channel = Channel(options.key, settings.number, stored.epoch, frozenset(peer.number for peer in settings.peers))
    driver = Driver(node, lans, channel, hands, checks, links, journal, generation)
    driver.control = Control(options.control_path, _commands(driver, options))
    _install_signals(driver)
    journal.write(Instant(time.monotonic_ns()), {"kind": "started", "generation": generation, "epoch": stored.epoch})

    present = Links()
    for lan in lans.values():
        for family, address in lan.own.items():
            driver.feed(LocalAddressLearned(lan.network, 4 if family == 4 else 6, address))
        if not present.flags(lan.port.name) & 0x40:  # IFF_RUNNING: the port has carrier
            driver.feed(CarrierChanged(lan.network, False))

    def begin(survey: Message) -> None:
        held = frozenset(GroupName(name) for name in survey.get("held", []))
        if held:
            journal.write(Instant(time.monotonic_ns()), {"kind": "adopted", "groups": sorted(held)})
        driver.feed(Started(held))
        up = set(survey.get("up", []))
        for server in settings.servers:
            if server.binding not in up:  # The kernel knows a dead server from the core before this one.
                for _ in range(server.fall):
                    driver.feed(CheckFinished(server.binding, False, "was down before the restart"))

    driver.ask_hands({"op": "survey"}, begin)
    try:
        driver.run()
    finally:
        driver.control.close()


def kernel_jiffy() -> Duration:
    """The kernel's tick: the resolution of the coarse clock (clock_getres(2))."""
    return round(time.clock_getres(getattr(time, "CLOCK_MONOTONIC_COARSE", 6)) * SECOND)


def _open_lans(
    options: AgentOptions, settings: NodeSettings, interfaces: dict[NetworkName, str]
) -> dict[NetworkName, Lan]:
    families: dict[NetworkName, set[Family]] = {}
    for group in settings.groups:
        for router in group.routers:
            families.setdefault(router.network, set()).add(router.family)
    names = dict.fromkeys((*families, *settings.paths))
    own: dict[NetworkName, dict[int, Address]] = {}
    for attachment in find_node(options.plan, options.node).attachments:
        own[attachment.network] = {interface.version: interface.ip for interface in attachment.addresses}
    peers = {network: address for peer in settings.peers for network, address in peer.paths.items()}
    lans = {}
    for name in names:
        port = Port(interfaces[name], frozenset(families.get(name, set())))
        if 6 in families.get(name, set()):
            own[name][6] = _link_local(port)
        channel = None
        if name in peers:
            source = next(
                interface.ip
                for attachment in find_node(options.plan, options.node).attachments
                if attachment.network == name
                for interface in attachment.addresses
                if interface.version == peers[name].version
            )
            channel = _channel_socket(source, interfaces[name])
        lans[name] = Lan(name, settings.networks.index(name), port, own[name], channel)
    return lans


def _channel_socket(source: Address, interface: str) -> socket.socket:
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    end = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    try:
        end.bind((str(source), PORT))
    except OSError as error:
        raise OperatorError(
            "E5207",
            f"cannot use UDP port {PORT} on {source}: {error.strerror}",
            "another agent may be running on this node: understudy status",
        ) from error
    end.setblocking(False)
    return end


def _link_local(port: Port) -> IPv6Address:
    """The port's own link-local address, or the one its MAC would give it."""
    for index, address, _ in Links().addresses():
        if index == port.index and isinstance(address, IPv6Address) and address.is_link_local:
            return address
    mac = port.mac
    identifier = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def _watch_links() -> socket.socket:
    end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    end.bind((0, RTMGRP_LINK))
    end.setblocking(False)
    return end


def _install_signals(driver: Driver) -> None:
    """SIGTERM hands over; SIGINT is the supervisor's to translate."""

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
                driver.feed(SwitchoverCommanded(GroupName(str(name))))
                answer({"ok": not node.refusal, "error": node.refusal} if node.refusal else {"ok": True})
            case "maintenance":
                on = bool(request.get("on"))
                refusal = _refuse_maintenance(node) if on and not request.get("force") else ""
                if refusal:
                    answer({"ok": False, "error": refusal})
                    return
                driver.when_persisted(
                    lambda reply: answer(
                        {"ok": "error" not in reply, **({"error": reply["error"]} if "error" in reply else {})}
                    )
                )
                driver.feed(MaintenanceCommanded(on))
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
