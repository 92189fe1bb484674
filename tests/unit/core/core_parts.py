"""The machines of one group of the example pair, without the node around them."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from understudy.config import load_plan
from understudy.core.ear import Ear
from understudy.core.parts import Parts, make_parts
from understudy.core.peer import PeerView, Standing
from understudy.core.reach import LanReach
from understudy.core.succession import Succession
from understudy.core.takeover import Takeover
from understudy.core.tenure import Tenure
from understudy.units import Instant
from understudy.wire.heartbeat import Body, GroupState, Lease, Phase, Role, Sync

EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass
class Machines:
    parts: Parts
    tenure: Tenure
    takeover: Takeover
    succession: Succession
    ear: Ear

    def become_active(self, now: int = 0) -> None:
        """As by a failover whose steps are all done."""
        self.tenure.take_up(Instant(now), "takes-over", "silence", "nobody is heard", [])
        self.parts.holding.take([])

    def hear_of(self, theirs: GroupState, *, now: int = 0) -> None:
        """The peer says over the channel where it stands."""
        peer = self.parts.peer
        digest = self.parts.node.config_digest
        peer.body = Body(digest, eligible=True, stopping=False, lans=(), groups=(theirs,))
        peer.fresh = peer.ever = True
        peer.heard_at = now


def machines(node: int = 0, example: str = "pair.yaml", *, started: bool = True, **changes: Any) -> Machines:
    """Of the example's node at that place, listening as Backup; `changes` are to the group's settings."""
    plan = load_plan(EXAMPLES / example)
    settings = plan.settings(plan.nodes[node].name)
    group = replace(settings.groups[0], **changes)
    lans = {router.network: LanReach(router.network, settings.heartbeat, ()) for router in group.routers}
    peer = PeerView(settings.peers[0].number, settings.peers[0].name)
    parts = make_parts(group, settings, lans, peer, Standing())
    for index in range(len(group.routers)):
        parts.voice.set_local(index, ip_address(f"192.0.2.{node + 1}"))
    tenure = Tenure(parts)
    takeover = Takeover(parts, tenure)
    if started:
        tenure.start(Instant(0), [])
    return Machines(parts, tenure, takeover, Succession(parts, tenure, takeover), Ear(parts, tenure))


def theirs(role: Role, phase: Phase = Phase.NONE, *, token: int = 0, target: int = 0) -> GroupState:
    """What the peer says of the group."""
    return GroupState(1, role, phase, target, Lease.NONE, token, 0, 1, Sync.NOT_NEEDED, False)
