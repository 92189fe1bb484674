"""A rotary whose servers are checked, on a pair of real agents: who fails is passed over, and it is told."""

import contextlib
import time

from agent_sockets import listening
from agent_worlds import World, in_lab
from test_agent_nat_rotary import HOSTS, PORT, Farm, farm, in_turn
from test_agent_nat_rotary import TEXT as PLAIN

CHECKED = 9100
# Who could not run for a while finds no server dead for that.
CHECK = f"  rotary_check: {{tcp: true, port: {CHECKED}, every: 50ms, timeout: 3s, rise: 1, fall: 2}}\n"
TEXT = PLAIN.replace("  lines:\n", CHECK + "  lines:\n")


def served(made: Farm, count: int) -> list[str]:
    made.serve(count)
    return made.found[-count:]


@in_lab
def test_a_server_whose_check_fails_is_passed_over_and_told(world: World) -> None:
    active, since = world.active(), time.monotonic_ns()

    def told(kind: str, words: str) -> bool:
        return any(words in event["detail"] for event in world.events(active, kind, since))

    with contextlib.ExitStack() as held:
        made = held.enter_context(farm(world))
        checked = {host: listening(world, host, CHECKED) for host in HOSTS}
        for number, host in enumerate(HOSTS, start=11):
            held.enter_context(checked[host])
            world.until(lambda number=number: told("rotary-check", f"10.9.0.{number} up"))  # type: ignore[misc]
        world.until(lambda: told("rotary-skip", "10.9.0.13 has its turn again"))
        assert in_turn(served(made, 4))
        checked["web2"].__exit__(None, None, None)
        world.until(lambda: told("rotary-skip", "10.9.0.12 is left out"))
        assert set(served(made, 4)) == {"web1", "web3"}
        since = time.monotonic_ns()
        with listening(world, "web2", CHECKED):
            world.until(lambda: told("rotary-skip", "10.9.0.12 has its turn again, 2 were passed over"))
            assert in_turn(served(made, 4))


@in_lab
def test_with_no_server_well_all_have_their_turns(world: World) -> None:
    """Nobody listens on the port that is checked: it may be the check that is wrong."""

    def last_word(number: int) -> str:
        told = [event["detail"] for event in world.events(world.active(), "rotary-check")]
        return next((words for words in reversed(told) if f"/10.9.0.{number} " in words), "")

    world.until(lambda: all(" down" in f" {last_word(number)}" for number in (11, 12, 13)))
    with farm(world) as made:
        assert in_turn(served(made, 4)), PORT
