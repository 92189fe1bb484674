"""The hands on a kernel, given their commands one by one: what they do while they rest, fail, or hand over."""

import pickle
from pathlib import Path

from nft_bed import PAIR, in_sandbox, shell

from understudy.adapters.nftables import Nft
from understudy.agent.hands import Hands
from understudy.agent.messages import Message
from understudy.agent.newhands import NewHands
from understudy.agent.options import AgentOptions
from understudy.agent.running import Running, make_running
from understudy.config import load_plan
from understudy.units import NetworkName, NodeName

NODE = NodeName("gw1")
PORTS = {NetworkName("outside"): "outside", NetworkName("inside"): "inside"}


def hands() -> Hands:
    """Of gw1, whose ports are there; nothing is applied yet."""
    return NewHands(of_gw1())


def of_gw1() -> Running:
    shell("ip link set lo up")
    for port in PORTS.values():
        shell(f"ip link add {port} type veth peer name {port}-far\nip link set {port} up\nip link set {port}-far up")
    options = AgentOptions(load_plan(PAIR), NODE, Path("/nonexistent"), bytes(32))
    return make_running(options, PORTS)


def told(each: Hands, *messages: Message) -> list[Message]:
    return [each.carry_out(message) for message in messages]


def pairs() -> str:
    with Nft() as nft:
        return nft.run("list map inet understudy pairs4\n")


def test_resting_hands_write_no_pairs() -> None:
    """The maps may be another file's by then; with the next `apply` they are its own again, as told meanwhile."""

    def story() -> None:
        each = hands()
        told(each, {"op": "apply"})
        before = pairs()
        told(each, {"op": "rest"}, {"op": "servers", "up": []})
        assert pairs() == before
        told(each, {"op": "apply"})
        assert "elements" in before
        assert "elements" not in pairs()

    in_sandbox(story)


def test_hands_that_follow_others_know_the_servers_of_their_last_moment() -> None:
    """Not those of a reload long ago, and not all of them: a dead server gets no connection in between."""

    def story() -> None:
        running = of_gw1()
        first = NewHands(running)
        one, *others = sorted(first._everyone)
        told(first, {"op": "apply"}, {"op": "servers", "up": [one]}, {"op": "servers", "up": others})
        held = pairs()
        second = NewHands(running)
        told(second, {"op": "apply"})
        assert pairs() == held
        assert told(second, {"op": "survey"})[0]["up"] == others
        third = NewHands(pickle.loads(pickle.dumps(running)))
        assert third._up == first._everyone

    in_sandbox(story)


def test_hands_whose_apply_fails_watch_all_the_same() -> None:
    """Else what others change would stay, and nobody would say so."""

    def story() -> None:
        each = hands()
        told(each, {"op": "apply"}, {"op": "rest"})
        shell("ip link set outside down\nip link set outside name away")
        (answer,) = told(each, {"op": "apply"})
        assert "its port outside is gone" in answer["error"]
        assert each._drift.wait_s is not None
        found = each._drift.work(())
        assert found is not None
        assert [alarm["object"] for alarm in found["drift"]["alarms"]] == ["links"]

    in_sandbox(story)


def test_what_was_damaged_before_the_roles_were_known_is_found_afterwards() -> None:
    """The first look may come before the core asks what is held, and sees no address that is missing."""

    def story() -> None:
        each = hands()
        number = next(iter(each._numbers.values()))
        told(each, {"op": "apply"}, {"op": "role", "group": "edge", "active": True})
        shell(f"nft add element netdev understudy lease {{ {number} timeout 60s }}")
        each._drift._roles.clear()  # as hands that were forked anew
        each._drift.work(())
        (answer,) = told(each, {"op": "survey"})
        assert answer["held"] == ["edge"]
        shell("ip addr flush dev us1n1v4")
        found = each._drift.work(())
        assert found is not None
        assert "addresses" in [line.get("object") for line in found["lines"]]

    in_sandbox(story)


def test_a_group_that_is_handed_over_stays_quiet_through_a_repair() -> None:
    """Only elements that the hands did not put there are taken away."""

    def story() -> None:
        each = hands()
        number = each._numbers[next(iter(each._numbers))]
        told(each, {"op": "apply"})
        each._drift.work(())
        told(each, {"op": "quiet", "group": "edge", "on": True})
        shell("nft flush chain inet understudy forward")
        each._drift.work(each._drift.sockets)
        assert list(each._nft.quiet()) == [number]
        told(each, {"op": "quiet", "group": "edge", "on": False})
        shell(f"nft add element netdev understudy quiet {{ {number} timeout 60s }}")
        each._drift.work(each._drift.sockets)
        assert each._nft.quiet() == {}

    in_sandbox(story)
