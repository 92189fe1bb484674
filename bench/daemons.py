"""OpenSSH, vsftpd and a WebSocket server on hosts of a lab, and their clients' commands.

The programs are Debian's, unpacked into `.peers/` by `scripts/peers`; WebSocket is the library `websockets`. All of
them run as an ordinary user: in a user namespace with one user, who is whoever we are, so that nothing differs between
root and others, and in mounts in which that user has a name, without which neither sshd nor ssh nor vsftpd starts.
"""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import environment, peers

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import syscalls
from understudy.lab.build import Lab

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

USER = "session"
_UID = 1000
_MS_BIND = 0x1000
FTP_PORT, SSH_PORT, WEBSOCKET_PORT = 21, 22, 8765
BEAT_S = 0.02
"""Between two lines or messages of whoever speaks."""
_CHUNK = 8192
"""Bytes that vsftpd sends at once: with its rate they tell how finely an interruption is seen."""
_LISTENING_S = 10.0
_PROGRAMS = ("usr/sbin/sshd", "usr/bin/ssh", "usr/bin/ssh-keygen", "usr/sbin/vsftpd", "usr/bin/curl")


def program(path: str) -> str:
    """Of the unpacked packages. Raises OperatorError E6501 if nobody unpacked them."""
    root = peers()
    missing = [each for each in _PROGRAMS if not (root / each).exists()]
    if missing:
        raise OperatorError("E6501", f"{', '.join(missing)}: not in {root}", "run scripts/peers")
    return str(root / path)


# -- the user that all are --


def become_user(directory: Path) -> None:
    """The calling process, which has one thread, becomes an ordinary user with a name, whose home is `directory`."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    for name in ("passwd", "group"):
        syscalls.mount(str(directory / name), f"/etc/{name}", None, _MS_BIND)
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_UID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_UID} {gid} 1")


def furnish(directory: Path, *, ftp_rate: int) -> None:
    """What the programs read: names, keys, configurations. vsftpd serves `directory`/ftp, `ftp_rate` bytes a second."""
    directory.mkdir(mode=0o755)
    (directory / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{USER}:x:{_UID}:{_UID}::{directory}:/bin/sh\n")
    (directory / "group").write_text(f"root:x:0:\n{USER}:x:{_UID}:\n")
    for key in ("host_key", "user_key"):
        subprocess.run(
            [program("usr/bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)],
            env=environment(peers()), check=True, timeout=20,
        )  # fmt: skip
    shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
    (directory / "sshd_config").write_text(
        f"Port {SSH_PORT}\nHostKey {directory}/host_key\nAuthorizedKeysFile {directory}/authorized_keys\n"
        "PidFile none\nStrictModes no\nUsePAM no\nUseDNS no\nTCPKeepAlive no\nClientAliveInterval 0\nLogLevel VERBOSE\n"
    )
    # Nothing that could hide an interruption: no connection shared, none made anew, no question whether it lives.
    (directory / "ssh_config").write_text(
        f"User {USER}\nIdentityFile {directory}/user_key\nIdentitiesOnly yes\nBatchMode yes\nControlMaster no\n"
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nServerAliveInterval 0\nTCPKeepAlive no\n"
        "ConnectTimeout 10\n"
    )
    (directory / "ftp").mkdir(mode=0o555)
    # One that its user launched changes to nobody else, needs no chroot and no capability.
    (directory / "vsftpd.conf").write_text(
        f"listen=YES\nlisten_port={FTP_PORT}\nbackground=NO\nrun_as_launching_user=YES\nftp_username={USER}\n"
        f"nopriv_user={USER}\nsecure_chroot_dir={directory}/ftp\nanon_root={directory}/ftp\nanonymous_enable=YES\n"
        f"local_enable=NO\nanon_max_rate={ftp_rate}\ntrans_chunk_size={_CHUNK}\nuse_sendfile=NO\nseccomp_sandbox=NO\n"
        "isolate=NO\nisolate_network=NO\nallow_writeable_chroot=YES\nxferlog_enable=YES\nxferlog_std_format=NO\n"
        f"vsftpd_log_file={directory}/vsftpd.log\nlog_ftp_protocol=YES\nidle_session_timeout=600\n"
    )


# -- servers --


def start(lab: Lab, host: str, directory: Path, names: Sequence[str]) -> None:
    """Start these of SERVERS on a host and return once they listen. They leave with the lab."""
    namespace = lab.namespaces[host]
    namespace.sysctl("net.ipv4.ip_unprivileged_port_start", 0)
    for name in names:
        namespace.spawn(_run_server, directory, name, host)
    ports = [SERVERS[name][0] for name in names]
    deadline = time.monotonic() + _LISTENING_S
    while ports:
        with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
            end.settimeout(1)
            if end.connect_ex(("127.0.0.1", ports[-1])) == 0:
                ports.pop()
                continue
        if time.monotonic() > deadline:
            logs = [directory / f"{name}-{host}.log" for name in names]
            said = " ".join(log.read_text(errors="replace")[-300:] for log in logs if log.exists())
            raise EnvironmentFailure("start", f"port {ports[-1]} of {host}", said or os.strerror(errno.ETIMEDOUT))
        time.sleep(0.02)


def _run_server(directory: Path, name: str, host: str) -> None:
    log = os.open(directory / f"{name}-{host}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    become_user(directory)
    _, command = SERVERS[name]
    if not command:
        asyncio.run(_serve_websockets())
    argv = [program(command[0]), *(each.format(directory=directory) for each in command[1:])]
    os.execve(argv[0], argv, environment(peers()))


SERVERS: dict[str, tuple[int, tuple[str, ...]]] = {
    "sshd": (SSH_PORT, ("usr/sbin/sshd", "-D", "-e", "-f", "{directory}/sshd_config")),
    "vsftpd": (FTP_PORT, ("usr/sbin/vsftpd", "{directory}/vsftpd.conf")),
    "websocket": (WEBSOCKET_PORT, ()),
}
"""Name -> port, command; without a command it runs in this very process."""


async def _serve_websockets() -> None:
    from websockets.asyncio.server import serve

    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # health checks connect and say nothing
    # Without pings: nothing but what is said tells whether a connection lives.
    async with serve(converse, "0.0.0.0", WEBSOCKET_PORT, ping_interval=None) as server:
        await server.serve_forever()


async def converse(connection: "ServerConnection") -> None:
    """The server's half: numbered messages both ways; the last one says how many there were.

    Whoever sends anything but the next number is hung up on.
    """
    heard = sent = 0
    ending = asyncio.Event()

    async def speak() -> None:
        nonlocal sent
        while not ending.is_set():
            sent += 1
            await connection.send(f"server {sent}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), BEAT_S)

    speaking = asyncio.create_task(speak())
    try:
        async for message in connection:
            if message == f"client {heard + 1}":
                heard += 1
            elif message == f"end {heard}":
                ending.set()
                await speaking
                await connection.send(f"end {sent}")
            else:
                await connection.close(1008, f"{message} after {heard}"[:100])
    finally:
        speaking.cancel()
