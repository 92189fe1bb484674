"""The parts of a redundancy group: each keeps one thing that the role needs, and knows nothing of the others' moves.

    evidence        who holds the group, and since when               core.evidence
    routers         RFC 9568 on each LAN                              core.routers
    voice           advertisements, and the lease that they refresh   core.voice
    announcements   gratuitous ARP and its like, repeated             core.announcements
    promotion       the steps that lead to Active, with the fence     core.promotion
    gate            whether the state of the flows is here            core.gate
    handover        offer, overlap, request                           core.handover
    holding         links and addresses in the kernel, the farewell   core.holding
    disbelief       which advertisements are somebody else's          core.disbelief
    holddown        patience with a group that moves too often        core.holddown
    rest            why it serves not, though it could                core.rest
    record          which rows of the decision came into force        core.record

Several of them together are moved by core.tenure, core.takeover, core.succession and core.ear.
"""

from dataclasses import dataclass

from understudy.core.announcements import Announcements
from understudy.core.disbelief import Disbelief
from understudy.core.evidence import Evidence
from understudy.core.gate import Gate
from understudy.core.handover import Handover
from understudy.core.holddown import HoldDown
from understudy.core.holding import Holding
from understudy.core.peer import PeerView, Standing
from understudy.core.promotion import Promotion
from understudy.core.reach import LanReach
from understudy.core.record import Record
from understudy.core.rest import Rest
from understudy.core.routers import Routers
from understudy.core.settings import GroupSettings, NodeSettings
from understudy.core.voice import Voice
from understudy.units import NetworkName


@dataclass(frozen=True, slots=True)
class Parts:
    settings: GroupSettings
    node: NodeSettings
    peer: PeerView
    standing: Standing
    voice: Voice
    routers: Routers
    evidence: Evidence
    handover: Handover
    holding: Holding
    gate: Gate
    announcements: Announcements
    promotion: Promotion
    disbelief: Disbelief
    holddown: HoldDown
    rest: Rest
    record: Record


def make_parts(
    settings: GroupSettings,
    node: NodeSettings,
    lans: dict[NetworkName, LanReach],
    peer: PeerView,
    standing: Standing,
) -> Parts:
    ports = [lans[router.network] for router in settings.routers]
    voice = Voice(settings, node, ports, peer, standing)
    routers = Routers(settings, ports, voice)
    return Parts(
        settings,
        node,
        peer,
        standing,
        voice,
        routers,
        Evidence(settings, node, list(dict.fromkeys(ports)), routers, peer),
        Handover(settings, node, peer, standing),
        Holding(settings.name),
        Gate(settings, node, peer, standing),
        Announcements(settings.name),
        Promotion(settings),
        Disbelief(settings, node, peer),
        HoldDown(),
        Rest(standing),
        Record(settings.name),
    )
