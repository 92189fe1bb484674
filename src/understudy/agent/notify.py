"""What the service manager is told (sd_notify(3)): that we are ready, what we are doing, that we live, that we stop.

Without a service manager nothing happens.
"""

import json
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The socket that `NOTIFY_SOCKET` names. The watchdog is fed by the core's word, passed on by the supervisor."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = watched and environment.get("WATCHDOG_USEC", "0") not in ("", "0")
        self._roles: dict[str, str] = {}

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=handing over")

    def restarting(self) -> None:
        """The same process begins anew, and is `ready` again soon: the manager shall not take it for an end."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=starting anew")

    def alive(self) -> None:
        if self._watchdog:
            self._send("WATCHDOG=1")

    def take(self, line: bytes) -> None:
        """A line of the journal: a change of role becomes the line that `systemctl status` shows."""
        if b'"kind":"moved"' not in line:
            return
        try:
            moved = json.loads(line)
            self._roles[moved["group"]] = f"{moved['group']}: {moved['new']} ({moved['reason']})"
        except (ValueError, KeyError, TypeError):
            return
        self._send("STATUS=" + "; ".join(self._roles.values()))

    def _send(self, *state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.setblocking(False)
                end.connect(self._address)
                end.send("\n".join(state).encode())
        except OSError:
            return  # The service manager is busy or gone: not a reason to stop serving.
