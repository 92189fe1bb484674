"""The clients of bench/sessions.py: each holds one connection, and what comes must be what was sent, all of it, once.

    ftp        curl fetches a large file, and then another one over the same control connection
    announced  a transfer that the client announces at the beginning and asks for at the end: until then the gateways
               have only an expectation of it; meanwhile the control connection is spoken on
    ssh        a counter, line by line, through `cat` at the other end
    websocket  numbered messages, both ways at once

None of them connects again. What a client saw of time are its gaps: from the last progress to the next one.
"""

import asyncio
import contextlib
import ftplib
import hashlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contenders import environment, peers
from daemons import BEAT_S, FTP_PORT, WEBSOCKET_PORT, become_user, program

from understudy.drill.board import Board, Cell
from understudy.units import MILLISECOND, SECOND, Duration

NOTED: Duration = 60 * MILLISECOND
"""A shorter gap is how these programs speak: none is noted, and nothing is known of how long it was."""
STALLED: Duration = 15 * SECOND
"""Without any progress for so long a session is given up."""
_READ = 1 << 16
_NEVER_SILENT = 1 << 62
SMALL_FILE, SMALL_TEXT = "after.txt", "the control connection lives\n"
LARGE_FILE = "large.bin"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one session."""

    ended: str
    """`whole`, `reset` (closed under the client), `stalled`, `wrong` (missing, repeated or altered), `refused`."""
    why: str
    units: int
    """Bytes, lines or messages that came and were right."""
    gaps: tuple[tuple[int, int], ...]
    """(last progress before, next one after), longer than NOTED; the last one may have no end but ours."""
    last: int
    """Instant of the last progress."""


class Pulse:
    """Notes every progress of one session, for itself and on the board."""

    def __init__(self, board: Board, number: int) -> None:
        self._board, self._number = board, number
        self.units = 0
        self.last = time.monotonic_ns()
        self._gaps: list[tuple[int, int]] = []

    def beat(self, units: int = 1) -> None:
        now = time.monotonic_ns()
        self._note(now)
        self.units += units
        self.last = now
        self._board.arrived(self._number, now, NOTED)

    def _note(self, now: int) -> None:
        if self.units and now - self.last > NOTED:
            self._gaps.append((self.last, now))

    def end(self) -> None:
        """Nobody need wait for this one any more."""
        self._board.arrived(self._number, _NEVER_SILENT, NOTED)

    @property
    def stalled(self) -> bool:
        return time.monotonic_ns() - self.last > STALLED

    @property
    def stopped(self) -> bool:
        """Whether the story is over and the session may come to its end."""
        return bool(self._board[Cell.STOP])

    def told(self, ended: str, why: str = "") -> Told:
        if ended in ("reset", "stalled"):
            self._note(time.monotonic_ns())
            ended = ended if self.units else "refused"
        return Told(ended, why[-300:], self.units, tuple(self._gaps), self.last)


Client = Callable[[Path, str, Pulse], Told]
"""Runs a session to its end: where its files are, whom to call, what to note."""


def ftp(directory: Path, address: str, pulse: Pulse, *, active: bool) -> Told:
    """The checksum of the file is in `directory`/large.sha256. One login, or the control connection had died."""
    name = "active" if active else "passive"
    after = directory / f"after-{name}.txt"
    url = f"ftp://{address}:{FTP_PORT}"
    argv = [
        program("usr/bin/curl"), "--silent", "--show-error", "--fail-early", "--user", f"anonymous:{name}@lab",
        *(["--ftp-port", "-"] if active else ["--ftp-pasv"]),
        f"{url}/{LARGE_FILE}", "--output", "-", f"{url}/{SMALL_FILE}", "--output", str(after),
    ]  # fmt: skip
    become_user(directory)
    digest = hashlib.sha256()
    with _running(argv) as curl:
        assert curl.stdout is not None
        while True:
            if select.select([curl.stdout], [], [], 0.1)[0]:
                data = os.read(curl.stdout.fileno(), _READ)
                if not data:
                    break
                digest.update(data)
                pulse.beat(len(data))
            elif pulse.stalled:
                return pulse.told("stalled")
        code, said = _end(curl)
    if code:
        return pulse.told("reset", f"curl ended with {code}: {said}")
    if digest.hexdigest() != (directory / "large.sha256").read_text():
        return pulse.told("wrong", "the checksum is another one")
    if after.read_text() != SMALL_TEXT:
        return pulse.told("wrong", "the file after it is another one")
    logins = (
        (directory / "vsftpd.log").read_text().count(f'OK LOGIN: Client "203.0.113.10", anon password "{name}@lab"')
    )
    return pulse.told("whole") if logins == 1 else pulse.told("reset", f"{logins} logins")


def announced(_: Path, address: str, pulse: Pulse) -> Told:
    try:
        with ftplib.FTP() as client:
            client.connect(address, FTP_PORT, STALLED / SECOND)
            client.login("anonymous", "announced@lab")
            with client.makeport() as listener:
                while not pulse.stopped:
                    client.voidcmd("NOOP")
                    pulse.beat()
                    time.sleep(BEAT_S)
                client.sendcmd(f"RETR {SMALL_FILE}")
                incoming, _peer = listener.accept()
                with incoming, incoming.makefile() as stream:
                    incoming.settimeout(STALLED / SECOND)
                    text = stream.read(len(SMALL_TEXT) + 1)
                client.voidresp()
    except TimeoutError as silent:
        return pulse.told("stalled", str(silent))
    except (OSError, EOFError, ftplib.Error) as refused:
        return pulse.told("reset", str(refused))
    return pulse.told("whole") if text == SMALL_TEXT else pulse.told("wrong", f"{text[:40]!r}")


def ssh(directory: Path, address: str, pulse: Pulse) -> Told:
    """Lines begin when they are due, whether or not those before have come back."""
    argv = [program("usr/bin/ssh"), "-F", str(directory / "ssh_config"), address, "cat"]
    become_user(directory)
    sent, received = 0, b""
    due = time.monotonic_ns()
    with _running(argv) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        os.set_blocking(client.stdin.fileno(), False)
        while not pulse.stalled:
            if pulse.stopped and not client.stdin.closed:
                client.stdin.close()
            while not client.stdin.closed and due <= time.monotonic_ns():
                try:
                    os.write(client.stdin.fileno(), b"%d\n" % (sent + 1))
                except BlockingIOError:
                    break
                except BrokenPipeError:
                    break  # told by what it does not send any more
                sent += 1
                due += int(BEAT_S * SECOND)
            if not select.select([client.stdout], [], [], BEAT_S / 2)[0]:
                continue
            data = os.read(client.stdout.fileno(), _READ)
            if not data:
                break
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                if line != b"%d" % (pulse.units + 1):
                    return pulse.told("wrong", f"{line[:40]!r} after {pulse.units}")
                pulse.beat()
        else:
            return pulse.told("stalled")
        code, said = _end(client)
    if not pulse.stopped or code:
        return pulse.told("reset", f"ssh ended with {code}: {said}")
    return pulse.told("whole") if pulse.units == sent else pulse.told("wrong", f"{pulse.units} of {sent} lines came")


def websocket(_: Path, address: str, pulse: Pulse) -> Told:
    return asyncio.run(talk(f"ws://{address}:{WEBSOCKET_PORT}", pulse))


async def talk(uri: str, pulse: Pulse) -> Told:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    try:
        connection = await connect(uri, ping_interval=None, proxy=None, open_timeout=10)
    except (OSError, TimeoutError) as error:
        return pulse.told("reset", str(error))
    sent = 0

    async def speak() -> None:
        nonlocal sent
        while not pulse.stopped:
            sent += 1
            await connection.send(f"client {sent}")
            await asyncio.sleep(BEAT_S)
        await connection.send(f"end {sent}")

    speaking = asyncio.create_task(speak())
    try:
        while True:
            message = await asyncio.wait_for(connection.recv(), STALLED / SECOND)
            if message == f"end {pulse.units}":
                return pulse.told("whole")
            if message != f"server {pulse.units + 1}":
                return pulse.told("wrong", f"{message[:40]!r} after {pulse.units}")
            pulse.beat()
    except TimeoutError:
        return pulse.told("stalled")
    except ConnectionClosed as closed:
        # Who hears another number than the next one says so and hangs up.
        return pulse.told("wrong" if closed.rcvd and closed.rcvd.code == 1008 else "reset", str(closed))
    finally:
        speaking.cancel()
        connection.transport.abort()


@contextlib.contextmanager
def _running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        argv, env=environment(peers()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and last words of a program that has closed its output."""
    assert process.stderr is not None
    try:
        code = process.wait(STALLED / SECOND)
    except subprocess.TimeoutExpired:
        return -1, "it did not end"
    return code, process.stderr.read().decode(errors="replace").strip()
