"""What a node and its groups share: the other node as the channel tells of it, and this node's own standing."""

from dataclasses import dataclass, field

from understudy.core.timers import LONG_AGO
from understudy.units import NetworkName
from understudy.wire.heartbeat import Body, GroupState, Hears


@dataclass(slots=True)
class PeerView:
    """What the channel says of the other node; kept by the node, read by its groups."""

    number: int = 0
    name: str = ""
    heard_at: int = LONG_AGO
    """When any path last brought a heartbeat."""
    ever: bool = False
    fresh: bool = False
    epoch: int = 0
    sequence: int = -1
    body: Body | None = None
    doubted_until: int = 0
    """We slept: what the queue held was old news, and the peer may have believed itself alone meanwhile."""
    path_heard_at: dict[NetworkName, int] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """It is heard, and neither in maintenance nor stopping: it could take a group over."""
        body = self.body
        return self.fresh and body is not None and body.eligible and not body.stopping

    @property
    def deaf(self) -> bool:
        """By its own word it hears us nowhere: no offer of ours would arrive."""
        words = [lan.hears for lan in self.body.lans] if self.body is not None else []
        return Hears.NO in words and Hears.YES not in words

    def group(self, number: int) -> GroupState | None:
        """What it last said of a group, however long ago."""
        if self.body is not None:
            for group in self.body.groups:
                if group.number == number:
                    return group
        return None


@dataclass(slots=True)
class Standing:
    """Whether this node may serve at all, and whether there is news to tell."""

    maintenance: bool = False
    stopping: bool = False
    insisted: bool = False
    """An operator wants the maintenance whatever the other node lacks."""
    news: bool = True
    """Something that the heartbeat carries has changed: what the node says, or one of its groups."""
