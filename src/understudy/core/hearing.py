"""What a virtual router makes of others' advertisements before they decide anything: which ones its settings take, and
what the operator should know of them. Each finding is a word (core.vrrp.Mismatched), given once for each change.
"""

from typing import Final

from understudy.core.settings import RouterSettings
from understudy.units import CENTISECOND, Address, Instant
from understudy.wire.vrrp import PRIORITY_OWNER, Advertisement

DEAF_AFTER = 4
"""Intervals for which a router of lower rank may go on advertising beside us before it counts as deaf."""


class _Rival:
    """Of what a router of lower rank has advertised beside us: the first, the last, and whether that was told."""

    __slots__ = ("last", "since", "told")

    def __init__(self, since: Instant) -> None:
        self.since = self.last = since
        self.told = False


class Hearing:
    __slots__ = ("_pseudo_header", "_refused", "_rival", "_settings", "seen")

    seen: Advertisement | None
    """The latest advertisement that was taken and compared with our settings."""
    _refused: tuple[Address, str] | None
    """Whose advertisements were last refused, and why."""
    _rival: _Rival | None
    """Active only: the router that we outrank and that goes on all the same."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings: Final = settings
        # What a checksum like ours covers; over IPv6 and in version 2 there is only one form.
        one_form = settings.family == 6 or settings.version == 2
        self._pseudo_header: Final = settings.family == 6 if one_form else settings.pseudo_header
        self.forget()

    def forget(self) -> None:
        """As in Initialize: nobody was heard."""
        self.seen = None
        self._refused = None
        self._rival = None

    def forget_rival(self) -> None:
        """Our state has changed."""
        self._rival = None

    def refusal(self, source: Address, advertisement: Advertisement) -> tuple[str, bool]:
        """Why our settings do not take it, empty if they do; and whether that is news."""
        if advertisement is self.seen and not self._settings.unicast:
            return "", False
        why = self._why_not(source, advertisement)
        news = bool(why) and self._refused != (source, why)
        if news:
            self._refused = (source, why)
        return why, news

    def differences(self, advertisement: Advertisement) -> list[str]:
        """What differs from our settings (RFC 9568, section 7.1), without deciding anything."""
        settings, before = self._settings, self.seen
        self.seen = advertisement
        interval_cs, addresses, form = advertisement.interval_cs, advertisement.addresses, advertisement.pseudo_header
        found = []
        if before is None and settings.priority == PRIORITY_OWNER:  # erratum 8298
            found.append("owner")
        if interval_cs != settings.advertisement_interval_cs and (not before or before.interval_cs != interval_cs):
            found.append("interval")
        if addresses != settings.addresses and (not before or before.addresses != addresses):
            found.append("addresses")
        if form not in (None, self._pseudo_header) and (not before or before.pseudo_header != form):
            found.append("checksum")
        return found

    def finds_deaf(self, now: Instant, advertisement: Advertisement) -> bool:
        """As Active, of one that must lose: a router that hears us stands down at our first advertisement."""
        interval = max(self._settings.advertisement_interval_cs, advertisement.interval_cs) * CENTISECOND
        rival = self._rival
        if rival is None or now - rival.last > 2 * interval:
            rival = self._rival = _Rival(now)
        rival.last = now
        if rival.told or now - rival.since < DEAF_AFTER * interval:
            return False
        rival.told = True
        return True

    def _why_not(self, source: Address, advertisement: Advertisement) -> str:
        settings = self._settings
        if advertisement.version != settings.version:
            return "version"
        if advertisement.unicast != bool(settings.unicast):
            return "unicast" if advertisement.unicast else "multicast"
        if settings.unicast and source not in settings.unicast:
            return "stranger"
        if settings.version == 2 and advertisement.interval_cs != settings.advertisement_interval_cs:
            return "interval"  # RFC 3768, section 7.1
        return ""
