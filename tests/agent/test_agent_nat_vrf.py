"""A VRF in lines of Cisco IOS on a pair of real agents: its rules are its hosts' alone, who keep to themselves."""

import contextlib
import json
import socket
from typing import Any

from agent_sockets import OUTSIDE, own
from agent_worlds import World, in_lab

from understudy.agent.client import order, reload
from understudy.agent.reloader import BUSY
from understudy.ios.rows import plain, unpacked

TEXT = """
cluster: vrfs
networks:
  outside: {prefixes: 203.0.113.0/24, gateway: 203.0.113.254}
  red: 10.9.0.0/24
  blue: 10.8.0.0/24
nodes:
  gw1: {outside: 203.0.113.1, red: 10.9.0.1, blue: 10.8.0.1}
  gw2: {outside: 203.0.113.2, red: 10.9.0.2, blue: 10.8.0.2}
  web1: {red: 10.9.0.11}
  web2: {red: 10.9.0.12}
  web3: {blue: 10.8.0.11}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {outside: 203.0.113.10, red: 10.9.0.254, blue: 10.8.0.254}
    advertise: 400ms
nat:
  state: replicate
  lines:
    - interface outside
    - ip nat outside
    - interface red
    - ip vrf forwarding RED
    - ip nat inside
    - interface blue
    - ip nat inside
    - access-list 1 permit any
    - ip nat inside source list 1 interface outside vrf RED overload
    - ip nat inside source static 10.9.0.11 203.0.113.21 vrf RED
"""
PORT = 9400
NOTHING_S = 0.5
"""Within which a datagram that can arrive does, and the answer to it."""


def seen(world: World, host: str, target: str) -> str:
    """As whom a host's datagram arrives, with the answer that comes back to it; nothing if none does."""
    with contextlib.ExitStack() as held:
        there, here = (
            held.enter_context(world.lab.namespaces[each].socket(socket.AF_INET, socket.SOCK_DGRAM))
            for each in (target, host)
        )
        there.bind((own(world, target), PORT))
        for end in (there, here):
            end.settimeout(NOTHING_S)
        here.sendto(b"word", (own(world, target), PORT))
        try:
            _, address = there.recvfrom(64)
            there.sendto(b"back", address)
            assert here.recv(64) == b"back"
        except TimeoutError:
            return ""
        return str(address[0])


def reached(world: World, host: str, target: str) -> str:
    """As whom the first datagram arrives that does: one may be lost while the roles move."""
    return world.until(lambda: seen(world, host, target))


def table(world: World, *words: str) -> list[dict[str, Any]]:
    """Flows in the Active's table of translations."""
    question = json.dumps({"do": "translations", "words": words}).encode()
    reply = order(world.lab.run_dir(world.active()), "nat", "question", question)
    return [row for row in (plain(unpacked(each)) for each in reply["rows"]) if row["kind"] == "flow"]


def take(world: World, node: str, text: str) -> None:
    """A node whose former lines have no flow left just then reloads by itself; whoever asks meanwhile is to wait."""

    def taken() -> bool:
        reply = reload(world.lab.run_dir(node), "new.yaml", text.encode())
        assert reply["ok"] or reply["error"]["code"] == BUSY, reply
        return bool(reply["ok"])

    world.until(taken)


@in_lab
def test_a_rule_of_a_vrf_takes_its_hosts_alone(world: World) -> None:
    """The list permits anybody; whoever is in no VRF leaves untranslated. The same on the other node."""
    for _ in range(2):
        assert reached(world, "web2", OUTSIDE) == "203.0.113.10"
        assert reached(world, "web1", OUTSIDE) == "203.0.113.21"
        assert reached(world, "web3", OUTSIDE) == own(world, "web3")
        rows = table(world, "vrf", "RED")
        assert {row["inside_local"]["address"] for row in rows} == {own(world, "web1"), own(world, "web2")}
        assert not table(world, "vrf", "BLUE")
        world.switch_over()


@in_lab
def test_hosts_of_a_vrf_keep_to_themselves(world: World) -> None:
    """Control: without the VRF both networks reach each other."""
    assert seen(world, "web2", "web3") == ""
    assert seen(world, "web3", "web2") == ""
    world.settle()
    plain = TEXT.replace("    - ip vrf forwarding RED\n", "").replace(" vrf RED", "")
    for text in (plain, TEXT):
        for node in (world.standby(), world.active()):
            take(world, node, text)
        if text == plain:
            assert reached(world, "web2", "web3") == own(world, "web2")
            assert reached(world, "web3", "web2") == own(world, "web3")
            assert reached(world, "web3", OUTSIDE) == "203.0.113.10"
    assert seen(world, "web2", "web3") == ""
    world.settle()
