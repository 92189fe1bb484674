"""The node's supervisor: small, quiet, and everything already imported, so that a dead core is forked anew in
milliseconds.

    supervisor      forks and watches the others, writes the journal's file, talks to systemd
     +- hands       changes the kernel (agent.hands)
     +- core        decides and speaks (agent.app); no other process of the node sends an advertisement
     +- checks      asks the servers, without privileges (agent.checks)
     +- flows       keeps flows in two kernels, where the file wants that (agent.replicator)
     +- pools       hands out addresses of NAT pools, where the file has any without `overload` (agent.pools)
     +- reload      loads another file (agent.loading); what follows is agent.reloader's
     +- drain       looks at flows of translations that the file lost (agent.drainer)
     +- sweep       ends copies of flows that the file keeps no more (agent.sweeper)

The supervisor imports all of it once and then only forks: a fork takes milliseconds and shares its memory. The core
that follows a killed one finds the lease alive and the links up, and goes on as Active (core.tenure, `adopt`). Whoever
replicates flows outlives it, and the core outlives that: the line between them is the supervisor's. If the
hands die, the core is ended with them, because neither may believe that the other knows what the kernel holds. The
supervisor's death is the node's: every child dies with it, and the kernel lease makes the node silent.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from dataclasses import replace
from typing import NoReturn

from understudy.adapters.nftables import Nft
from understudy.agent import app, checks, draining, messages
from understudy.agent.again import Again
from understudy.agent.children import (
    ENDING,
    PR_SET_TIMERSLACK,
    STATUS_HANDS_STUCK,
    Children,
    die_with,
    keep_only,
    prctl,
)
from understudy.agent.control import BACKLOG
from understudy.agent.door import Door
from understudy.agent.hands_orders import ask, settle
from understudy.agent.journal import ALIVE, FLOWS_ALIVE, LINE_MAX, POOLS_ALIVE, JournalFile, JournalSender
from understudy.agent.lans import know_keys, open_lans
from understudy.agent.newhands import NewHands
from understudy.agent.notify import ServiceManager
from understudy.agent.options import (
    AgentOptions,
    claim_directories,
    find_interfaces,
    find_node,
    require_capabilities,
)
from understudy.agent.reloader import Reloader
from understudy.agent.revived import CORE_SILENCE_MAX, FlowsChild, PoolsChild, Silence, keeps_flows
from understudy.agent.running import Running, make_running
from understudy.agent.store import Store
from understudy.agent.trial import Trial
from understudy.errors import EnvironmentFailure
from understudy.units import SECOND, Instant, NetworkName

__all__ = ["AgentOptions", "run"]

RESPAWNS_MAX = 20
"""Within a minute; beyond that something is wrong that a fork does not mend, and the node ends."""
APPLY_TIMEOUT_S = 60
REMOVE_TIMEOUT_S = 2
STOP_TIMEOUT = 3 * SECOND
CHECKS_LATER_S = 0.1
"""After a core began: every millisecond of its start is a millisecond of the lease, and the checks can wait."""
FORK_PATIENCE_S = 0.1
LAST_WORDS_S = 3.0
"""For a process that still answers its client, with what is left of the CPU."""
TICK_S = 1.0
LINES_AT_ONCE = 256
"""Of the journal, before the children are looked at again."""


def run(options: AgentOptions, trial: Trial | None = None) -> NoReturn:
    """Be the node's agent until SIGTERM, or until it begins anew (agent.again). Raises OperatorError before anything
    was changed, if the node is not as the file says or lacks what an agent needs. `trial`: the file may be on one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # Nobody hears one yet: it waits.
    gc.collect()
    keep_only(())  # Whatever the caller had open is not ours to keep; also select needs small numbers.
    node = find_node(options.plan, options.node)
    require_capabilities()
    Nft().close()  # Said here if the library is missing. It is loaded once, for all hands that follow.
    interfaces = find_interfaces(node)
    lock = claim_directories(options)
    options = replace(options, draining=draining.load(options.draining_path))
    try:
        supervisor = Supervisor(options, interfaces, trial)
        try:
            again = supervisor.run()
        except BaseException:
            supervisor.abandon()
            raise
    finally:
        os.close(lock)
    # Nobody hears a signal again: it waits for the next life, which ends by it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if again is not None and not supervisor.told_to_end:
        again.execute()
    sys.exit(0)


class Supervisor:
    def __init__(self, options: AgentOptions, interfaces: dict[NetworkName, str], trial: Trial | None = None) -> None:
        self._running = make_running(options, interfaces)
        self._lans = open_lans(options, self._running.settings, interfaces)
        self._epoch = Store(options.store_path).next_epoch().epoch
        self._journal_in, self._journal_out = messages.pair()
        self._journal = JournalFile(options.journal_path)
        self._lines = JournalSender(self._journal_out, options.node)
        self._door = Door(options.control_path)
        """Where clients of the core come in, whichever it is."""
        self._children = Children(self._journal_out, self._lines)
        self._reloader = Reloader(
            options.reload_path,
            self._children,
            self._lines,
            lambda: self._running,
            self._order_hands,
            self._adopt,
            self._restart,
            trial,
        )
        self._flows = FlowsChild(self._children, self._lines, self._journal_out, self._lans, self._epoch)
        self._pools = PoolsChild(self._children, self._lines, self._journal_out, self._epoch)
        self.told_to_end = False
        """By a signal: then nothing begins anew, whatever was agreed before or after."""
        self._again: Again | None = None
        self._generation = 0
        self._respawned: list[int] = []
        self._stopping_since = 0
        self._silence = Silence("core", CORE_SILENCE_MAX)
        self._checks_due = 0.0
        self._hung_up = False
        self._manager = ServiceManager()

    def run(self) -> Again | None:
        """Start everything, keep it running, and end it in order. Returns what to be next, if it shall not just end."""
        prctl(PR_SET_TIMERSLACK, 1)
        app.warm_up(self._running.options, self._running.settings)
        gc.collect()
        gc.freeze()  # What is imported now stays: collecting it would copy shared pages.
        wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, self._told)
        signal.signal(signal.SIGHUP, self._read_again)
        self._start_hands(first=True)
        self._door.open(BACKLOG)
        self._start_core()
        self._flows.start(self._running)
        self._pools.start(self._running)
        self._start_checks()
        self._manager.ready()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # A core is there to be told.
        ticked = time.monotonic()
        while True:
            asking = [end.fileno() for end in self._reloader.sockets()]
            watched = [self._journal_in.fileno(), wake_in, *asking, *self._children.descriptors()]
            awaited = self._flows.awaited or self._pools.awaited
            hurry = self._stopping_since or self._checks_due or awaited or self._reloader.busy
            wait_s = 0.1 if hurry else TICK_S
            ready, _, _ = select.select(watched, [], [], wait_s)
            for descriptor in ready:
                if descriptor == self._journal_in.fileno():
                    self._write_journal()
                elif descriptor == wake_in:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_in, 512)
                elif descriptor in asking:
                    if not self._stopping_since:
                        self._reloader.ready(descriptor)
                else:
                    self._ended(descriptor)
            self._attend_reload()
            if 0 < self._checks_due <= time.monotonic() and not self._stopping_since:
                self._start_checks()
            if self._flows.due:
                self._flows.start(self._running)
            if self._pools.due and not self._stopping_since:
                self._pools.start(self._running)
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                for silence in (self._silence, self._flows.silence, self._pools.silence):
                    silence.pass_round(self._children, self._lines)
            if self._stopping_since and self._may_end():
                self._end()
                return self._again

    # --- the children

    def _start_hands(self, *, first: bool = False) -> None:
        """Fork the hands and have them set the kernel up. Raises EnvironmentFailure; a first attempt leaves nothing."""
        self._fork_hands()
        error = ask(self._hands_end, {"op": "apply", "first": first}, APPLY_TIMEOUT_S)
        if error:
            raise EnvironmentFailure("set up", str(self._running.options.node), error)

    def _fork_hands(self) -> None:
        running = self._running
        self._hands_end, theirs = messages.pair()
        self._children.spawn("hands", lambda: NewHands(running).run(theirs), theirs)

    def _start_core(self, role: str = "core", gate: socket.socket | None = None) -> None:
        """With a `gate` it says there that it is ready, and waits for a word."""
        self._generation += 1
        checks_in, checks_out = messages.pair()
        generation, running = self._generation, self._running

        def body() -> None:
            if gate is not None:
                gate.send(b"ready")
                gate.recv(16)
            app.run_core(
                running.options,
                running.settings,
                self._lans,
                self._epoch + generation,
                self._hands_end,
                checks_in,
                self._journal_out,
                self._door.listener,
                generation,
                self._flows.core_end if keeps_flows(running) else None,
                announce=running.announce,
            )

        sockets = [lan.port.socket for lan in self._lans.values()]
        sockets += [lan.channel for lan in self._lans.values() if lan.channel is not None]
        sockets += [gate] if gate is not None else []
        sockets += [self._flows.core_end, self._door.listener]
        pid = self._children.spawn(role, body, self._hands_end, checks_in, *sockets)
        self._checks_in, self._checks_out = checks_in, checks_out
        self._silence.heard()
        with contextlib.suppress(OSError):  # A full disk must not end the node.
            running.options.core_pid_path.write_text(f"{pid}\n")
        if self._stopping_since:  # Said to the core before it. This one has the whole time for it.
            self._stopping_since = time.monotonic_ns()
            self._children.signal(role, signal.SIGTERM)

    def _start_checks(self) -> None:
        self._checks_due = 0.0
        plan, parent = self._running.options.plan, os.getpid()
        if not checks.targets(plan):
            return

        def body() -> None:
            app.drop_privileges()
            die_with(parent)  # The kernel forgets it with every change of credentials.
            checks.run(plan, self._checks_out)

        self._children.spawn("checks", body, self._checks_out)

    def _ended(self, pidfd: int) -> None:
        """A child has ended: put another in its place."""
        noticed = Instant(time.monotonic_ns())
        role, status = self._children.reap(pidfd)
        if role == "flows":
            self._flows.ended(noticed, status)
            return
        if role == "pools":
            self._pools.ended(noticed, status)
            return
        if role not in ("core", "hands", "checks"):
            self._reloader.ended(role)
            return
        if self._stopping_since:
            return
        if role == "core" and status == 0:
            self._stop()
            return
        self._limit()
        stuck = role == "core" and os.waitstatus_to_exitcode(status) == STATUS_HANDS_STUCK
        if stuck or (role == "core" and self._reloader.changing):
            role = "hands"  # They may hang, or the kernel be half-way to another file.
        if role == "hands" and self._reloader.changing:
            settle(self._children, self._hands_end)
            self._reloader.abort("core or hands ended meanwhile: both begin anew with the old file")
        if role == "hands":
            for other in ("core", "checks", "hands"):
                self._children.kill(other)
            self._start_hands()
        if role != "checks":
            self._start_core()
            self._children.kill("checks")
        self._checks_due = time.monotonic() + CHECKS_LATER_S
        self._lines.write(noticed, {"kind": "process-ended", "subject": role, "detail": f"status {status:#x}"})

    # --- another file

    def _read_again(self, number: int, frame: object) -> None:
        self._hung_up = True

    def _attend_reload(self) -> None:
        if self._stopping_since:
            self._reloader.abort("the node is ending")
        elif self._hung_up and not self._reloader.busy:
            self._hung_up = False
            self._reloader.read_again()
        self._reloader.tick()

    def _order_hands(self, message: messages.Message) -> bool:
        """Beside the core's commands: the core passes over the answer, which names none of its own."""
        return messages.send(self._hands_end, message)

    def _restart(self, again: Again) -> None:
        """End as ever, and begin anew."""
        self._again = again
        self._stop()

    def _adopt(self, running: Running, hands_end: socket.socket) -> None:
        """The kernel holds what `running` says, by the hands at `hands_end`: a new core goes on from there.

        Raises OSError, with nothing changed, if none can be forked.
        """
        old, before = self._hands_end, self._running
        self._hands_end, self._running = hands_end, running
        try:
            know_keys(self._lans, running.options.keys)
            ours, theirs = socket.socketpair()
            self._start_core("new-core", theirs)
        except OSError:
            self._hands_end, self._running = old, before
            know_keys(self._lans, before.options.keys)
            raise
        # For hands that may follow these one day: what was only true now; of the servers `verdicts` keeps it.
        self._running = replace(running, up=None, announce=False, meanwhile="")
        select.select([ours], [], [], FORK_PATIENCE_S)  # The old one advertises until the new one is there.
        self._children.kill("core")  # Not one of its advertisements may meet the lease that follows.
        settle(self._children, old)
        messages.send(hands_end, {"op": "finish"})
        with contextlib.suppress(OSError):  # Should it have ended already, another follows it.
            ours.send(b"go")
        self._children.promote("new-core", "core")
        self._children.promote("new-hands", "hands")
        self._children.kill("checks")
        self._checks_due = time.monotonic() + CHECKS_LATER_S
        for end in (old, ours, theirs):
            end.close()
        if before.replicates_unlike(running):
            self._children.kill("flows")
            self._flows.start(self._running)
        if before.config.pools != running.config.pools or before.options.keys != running.options.keys:
            self._children.kill("pools")
            self._pools.start(self._running)
        if self._stopping_since:  # Said to the core that is gone.
            self._children.signal("core", signal.SIGTERM)
        gc.freeze()

    def _limit(self) -> None:
        now = time.monotonic_ns()
        self._respawned = [at for at in self._respawned if now - at < 60 * SECOND] + [now]
        if len(self._respawned) > RESPAWNS_MAX:
            sys.stderr.write("E5210 the node's processes keep ending: see the journal. The supervisor gives up.\n")
            os._exit(1)

    # --- the end

    def abandon(self) -> None:
        """Another life of this process may follow: it shall be alone."""
        self._children.finish(0)
        self._door.close()
        self._reloader.close()

    def _told(self, number: int, frame: object) -> None:
        self.told_to_end = True
        self._stop()

    def _stop(self) -> None:
        if not self._stopping_since:
            self._stopping_since = time.monotonic_ns()
            self._children.signal("core", signal.SIGTERM)
        if self.told_to_end or self._again is None:
            self._manager.stopping()
        else:
            self._manager.restarting()

    def _may_end(self) -> bool:
        return "core" not in self._children or time.monotonic_ns() - self._stopping_since > STOP_TIMEOUT

    def _end(self) -> None:
        self._door.close()
        self._reloader.close()
        self._children.kill("core")
        self._children.kill("flows")
        self._children.kill("pools")
        self._children.kill("checks")
        error = "no process for it"
        if "hands" in self._children:
            error = ask(self._hands_end, {"op": "remove"}, REMOVE_TIMEOUT_S)
        if error:  # once more, by fresh hands
            self._children.kill("hands")
            self._fork_hands()
            error = ask(self._hands_end, {"op": "remove"}, REMOVE_TIMEOUT_S)
        self._children.kill("hands")
        if error:
            self._lines.write(Instant(time.monotonic_ns()), {"kind": "error", "subject": "remove", "detail": error})
        self._children.finish(LAST_WORDS_S)
        self._write_journal()
        with contextlib.suppress(OSError):
            self._running.options.core_pid_path.unlink()

    def _write_journal(self) -> None:
        for _ in range(LINES_AT_ONCE):
            try:
                line = self._journal_in.recv(LINE_MAX)
            except OSError:
                return
            if line == ALIVE:
                self._silence.heard()
                self._manager.alive()
            elif line == FLOWS_ALIVE:
                self._flows.silence.heard()
            elif line == POOLS_ALIVE:
                self._pools.silence.heard()
            elif line:
                self._journal.append(line)
                self._manager.take(line)
