"""Hands that come into a kernel which others have made: after a crash, for another file, or to put the old one back.

They begin with the servers that are down, which they keep in mind for those that follow them, and leave the end of
their work (`finish`) for a moment without a core:

    the lease's table    while the core before still advertises, its leases must last as long as its interval asks
                         for, and no longer than it tells the peer to wait; with the next core both change at once
    added addresses      whether a link shall hold them depends on the role, which a living core could change
"""

from dataclasses import replace

from understudy.adapters.links import IFF_UP
from understudy.agent.hands import Hands
from understudy.agent.messages import Message
from understudy.agent.running import Running, lease_part
from understudy.errors import EnvironmentFailure


class NewHands(Hands):
    """See the module. `complete`: addresses may be missing where the node is Active. `before`: the rule set so far."""

    def __init__(self, running: Running, *, meanwhile: str = "", complete: bool = False, before: str = "") -> None:
        super().__init__(running.options, running.config, running.interfaces)
        if running.up is not None:
            self._up &= running.up
        self._verdicts = running.verdicts
        self._up -= self._verdicts.among(self._up)
        self._verdicts.note(self._everyone - self._up, down=True)
        self._meanwhile = meanwhile
        self._complete = complete
        self._before = before
        self._commands["finish"] = self._finish

    def _apply(self, message: Message) -> Message:
        """A server that is down gets no connection, not even between two transactions."""
        self._keep_loose()
        everyone = self._config
        self._config = replace(everyone, ruleset=self._ruleset_now())
        try:
            return super()._apply(message)
        finally:
            self._config = everyone

    def _ruleset_now(self) -> str:
        ruleset = super()._ruleset_now()
        return self._meanwhile + ruleset.removeprefix(lease_part(ruleset)) if self._meanwhile else ruleset

    def _servers(self, message: Message) -> Message:
        before = self._up
        answer = super()._servers(message)
        self._verdicts.note(before - self._up, down=True)
        self._verdicts.note(self._up - before, down=False)
        return answer

    def _finish(self, message: Message) -> Message:
        """No core gives a role or takes one away now; the next one advertises with its own interval.

        What is served here takes all addresses of the file: those that it added, or that a failed reload took away.
        """
        if self._meanwhile:
            self._meanwhile = ""
            try:
                self._nft.run(lease_part(self._config.ruleset))
            except EnvironmentFailure as failure:
                # With the old lease no core may advertise the new interval: fresh hands begin from scratch, and a core.
                raise RuntimeError("the lease cannot follow the interval") from failure
        if self._complete:
            self._complete = False
            alive = self._nft.leases().keys() - self._nft.quiet().keys()
            links = [link for link in self._config.links if self._numbers[link.group] in alive]
            self._links.take([link for link in links if self._links.flags(link.name) & IFF_UP])
        return {}
