"""The node's store: what it says is on the disk, and an epoch never comes twice."""

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from understudy.agent import draining
from understudy.agent.draining import Former
from understudy.agent.store import EPOCHS_RESERVED, Store, Stored
from understudy.config.key import create_key, rotate
from understudy.errors import EnvironmentFailure

FORMER = Former(("a line",), "", (), (), "", "classic", None)
WRITERS: tuple[Callable[[Path], object], ...] = (
    lambda path: Store(path).save(Stored(1, False)),
    lambda path: draining.save(path, (FORMER,)),
    rotate,
)
"""Each with a file that must be whole after a power cut."""


@contextmanager
def no_room() -> Iterator[None]:
    """For a byte in any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Epoch and maintenance, also by another object."""
    Store(tmp_path / "store.json").save(Stored(41, True))
    assert Store(tmp_path / "store.json").load() == Stored(41, True)


@pytest.mark.parametrize("write", WRITERS, ids=["store", "draining", "key"])
def test_the_content_is_on_the_disk_before_it_has_the_name_and_the_name_before_it_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]
) -> None:
    """fsync of the file, then rename, then fsync of the directory: a power cut leaves the old or the new, whole."""
    path = tmp_path / "file"
    create_key(path)
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        steps.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write(path)
    assert steps == ["file", "rename", "directory"]
    assert (os.listdir(tmp_path), path.stat().st_mode & 0o777) == (["file"], 0o600)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"epoch": 4}', b'{"epoch": "x", "maintenance": 1}', b"\xff\xfe"]
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    """The node starts, and its epoch is beyond every earlier one all the same."""
    path = tmp_path / "store.json"
    before = Store(path).next_epoch().epoch
    path.write_bytes(damage)
    assert Store(path).load() == Stored()
    assert Store(path).next_epoch().epoch >= before


def test_epochs_grow_with_every_start_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over the cores of one start, which count on without writing, and with a clock that was set back."""
    store = Store(tmp_path / "store.json")
    first = store.next_epoch().epoch
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    assert store.next_epoch().epoch >= first + EPOCHS_RESERVED


def test_a_new_epoch_keeps_maintenance(tmp_path: Path) -> None:
    """A node in maintenance is so after a restart."""
    store = Store(tmp_path / "store.json")
    store.save(Stored(1, True))
    assert store.next_epoch().maintenance
    assert store.load().maintenance


def test_a_disk_that_refuses_leaves_the_old_content_and_says_so(tmp_path: Path) -> None:
    """Not a byte of the new one has room: the failure names the file and the reason, and nothing is left of it."""
    path = tmp_path / "store.json"
    Store(path).save(Stored(5, True))
    with no_room(), pytest.raises(EnvironmentFailure, match=r"write the store .*store\.json: File too large"):
        Store(path).save(Stored(6, False))
    assert json.loads(path.read_text()) == {"epoch": 5, "maintenance": True}
    assert os.listdir(tmp_path) == ["store.json"]


def test_a_rehearsal_fails_where_saving_would_and_leaves_nothing(tmp_path: Path) -> None:
    """What was saved stays; a place that cannot be written is told by the error that saving would raise."""
    path = tmp_path / "store.json"
    store = Store(path)
    store.save(Stored(7, True))
    store.rehearse()
    assert (os.listdir(tmp_path), store.load()) == (["store.json"], Stored(7, True))
    with no_room(), pytest.raises(EnvironmentFailure, match="File too large"):
        store.rehearse()
    assert (os.listdir(tmp_path), store.load()) == (["store.json"], Stored(7, True))
