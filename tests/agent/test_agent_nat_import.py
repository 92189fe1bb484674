"""A router's running configuration, imported by the command, run by a pair, used by sockets through a fail-over."""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from agent_sockets import INSIDE, OUTSIDE, connected, listening, own, talk
from agent_worlds import ROOT, World, in_lab, other
from typer.testing import CliRunner

from understudy.cli.app import app


def imported() -> str:
    """By the command, as an engineer would; it passes every check as it is."""
    with TemporaryDirectory() as directory:
        router, file = ROOT / "examples" / "router.cfg", Path(directory, "pair.yaml")
        names = ["--node", "gw1", "--node", "gw2"]
        result = CliRunner().invoke(app, ["nat", "import", str(router), "-o", str(file), *names])
        assert result.exit_code == 0, result.output
        assert CliRunner().invoke(app, ["check", str(file)]).exit_code == 0
        return file.read_text()


# Who serves shall not change in the middle of a story, also on a busy machine.
TEXT = imported().replace("nat:\n", "    advertise: 400ms\nnat:\n")
ROUTER, SERVER = "198.51.100.2", "198.51.100.80"


@in_lab
def test_hosts_go_on_using_the_routers_addresses(world: World) -> None:
    """Out through its address, in through the static port, and nobody has another gateway than before."""
    assert own(world, INSIDE) == "10.20.0.100"
    with listening(world, OUTSIDE, 8183) as server, connected(world, INSIDE, own(world, OUTSIDE), 8183) as asking:
        end, (seen, _) = server.accept()
        with end:
            assert seen == ROUTER
            talk(asking, end)
    with listening(world, INSIDE, 8080) as server, connected(world, OUTSIDE, SERVER, 80) as asking:
        end, (seen, _) = server.accept()
        with end:
            assert seen == own(world, OUTSIDE)
            talk(asking, end)
    (virtual_mac,) = world.answers("10.20.0.1", host=INSIDE)
    assert virtual_mac.startswith(bytes.fromhex("00005e0001"))


@in_lab
def test_their_connections_survive_the_death_of_the_active(world: World) -> None:
    """One of the list, one of the static entry; and new ones begin on the successor with the same addresses."""
    world.settle()
    with contextlib.ExitStack() as held:
        out = held.enter_context(listening(world, OUTSIDE, 8184))
        asking = held.enter_context(connected(world, INSIDE, own(world, OUTSIDE), 8184))
        answering = held.enter_context(out.accept()[0])
        inner = held.enter_context(listening(world, INSIDE, 8080))
        caller = held.enter_context(connected(world, OUTSIDE, SERVER, 80))
        called = held.enter_context(inner.accept()[0])
        talk(asking, answering)
        talk(caller, called)
        active = world.settle()
        copies = str(world.lab.run_dir(other(active)))
        port = asking.getsockname()[1]

        def copied() -> bool:
            told = CliRunner().invoke(app, ["nat", "show", "translations", "--run-dir", copies]).stdout
            return f"{SERVER}:80" in told and f":{port}" in told

        world.until(copied)
        world.lab.kill_agent(active)
        world.until(lambda: world.role(other(active)) == "active")
        talk(asking, answering)
        talk(caller, called)
        again = held.enter_context(connected(world, INSIDE, own(world, OUTSIDE), 8184))
        end, (seen, _) = out.accept()
        held.enter_context(end)
        assert seen == ROUTER
        talk(again, end)
