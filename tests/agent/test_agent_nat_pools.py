"""The process that hands out addresses, on a pair of real agents: what keeps it from its work is in the journal."""

import time

from agent_commands import command
from agent_sockets import OUTSIDE, connected, listening, own, talk
from agent_worlds import ROOT, World, in_lab, other

from understudy.adapters.packetlog import PacketLog
from understudy.render.ios_first import LOG_GROUP

TEXT = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
# web2 is in the pool.
TEXT = TEXT.replace("access-list 1 permit 10.9.0.160 0.0.0.31", "access-list 1 permit host 10.9.0.12")


@in_lab
def test_a_node_whose_log_another_program_reads_says_so_and_hands_out_once_it_can(world: World) -> None:
    """The standby's, found when it takes over; no process ends by it."""
    active, since = world.active(), time.monotonic_ns()
    standby = other(active)
    log = world.lab.namespaces[standby].run(PacketLog, LOG_GROUP)
    try:
        pid = world.until(lambda: world.pid(standby, "pools"))
        world.lab.kill_agent(active)
        world.until(lambda: world.role(standby) == "active")

        def said() -> list[str]:
            return [e["detail"] for e in world.events(standby, "error", since) if "log group" in e["detail"]]

        world.until(said)
        assert not world.events(standby, "pools-taken", since)
    finally:
        log.close()
    world.until(lambda: world.events(standby, "pools-taken", since))
    assert len(said()) == 1
    assert world.pid(standby, "pools") == pid
    with listening(world, OUTSIDE, 8301) as server, connected(world, "web2", own(world, OUTSIDE), 8301) as asking:
        asked, _ = server.accept()
        with asked:
            talk(asking, asked)


@in_lab
def test_addresses_that_were_given_back_are_counted_as_they_went(world: World) -> None:
    """And a connection after that has an address again."""
    active = world.active()
    for port in (8311, 8312):
        with listening(world, OUTSIDE, port) as server, connected(world, "web2", own(world, OUTSIDE), port) as asking:
            asked, _ = server.accept()
            with asked:
                talk(asking, asked)
            cleared = command(world, "nat", "clear", "translations", "*")
            assert (cleared["node"], cleared["entries"]) == (active, 1)
