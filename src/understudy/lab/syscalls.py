"""The system calls that Python 3.11 lacks (`os.setns` and `os.unshare` came with 3.12), by their kernel names.

Each raises OSError with the kernel's errno. All act on the calling thread only, as the kernel does.
"""

import ctypes
import os

CLONE_NEWTIME = 0x0000_0080
CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` refers to; `kind` is its CLONE_NEW* flag."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if data is None else data.encode(),
        ),
        f"mount {target}",
    )


def set_parent_death_signal(signal: int) -> None:
    """The kernel sends us `signal` when the thread that forked us ends (0: never)."""
    _check(_libc.prctl(ctypes.c_int(PR_SET_PDEATHSIG), ctypes.c_ulong(signal), 0, 0, 0), "prctl")


def mount_fresh_sysfs() -> None:
    """Give the calling process its own view of /sys, which shows the network namespace that mounted it."""
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def advance_clocks(seconds: int) -> None:
    """Put the calling process, which must have one thread, where CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead by this.

    A time namespace (time_namespaces(7)). Realtime is one for the whole machine.
    """
    unshare(CLONE_NEWTIME)
    with open("/proc/self/timens_offsets", "w") as offsets:
        offsets.write(f"monotonic {seconds} 0\nboottime {seconds} 0\n")
    with open("/proc/self/ns/time_for_children") as namespace:
        setns(namespace.fileno(), CLONE_NEWTIME)
