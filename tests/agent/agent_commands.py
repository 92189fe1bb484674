"""The command line on a lab's pair, and the head of the file that stories about changes begin with."""

import json
import sys
from typing import Any

from agent_worlds import World
from typer.testing import CliRunner

from understudy.cli.app import app

HEAD = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24, sync: 192.168.250.0/29}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1, sync: 192.168.250.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2, sync: 192.168.250.2}
  web1: {inside: 10.9.0.11}
  web2: {inside: 10.9.0.12}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {outside: 203.0.113.10, inside: 10.9.0.254}
    advertise: 300ms
    vrid: 7
"""
COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()"]
"""For a process of its own."""


def command(world: World, *words: str, code: int = 0) -> dict[str, Any]:
    """Its JSON; all that it said if its exit code is another."""
    done = CliRunner().invoke(app, [*words, "--run-dir", str(world.lab.state), "--json"])
    assert done.exit_code == code, f"{' '.join(words)}: {done.exit_code}, not {code}\n{done.output[-2500:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def apply(world: World, text: str, *options: str, code: int = 0) -> dict[str, Any]:
    """`understudy apply` with this file."""
    file = world.lab.state / "new.yaml"
    file.write_text(text)
    return command(world, "apply", str(file), "--yes", "--no-probes", *options, code=code)
