"""The cluster's key: made once, read only when nobody else can."""

import os
import stat
from pathlib import Path

import pytest

from understudy.config.key import KEY_SIZE, create_key, load_key, load_keys, promote, retire, rotate
from understudy.errors import OperatorError


def refusal(path: Path) -> str:
    """The code with which a key file is refused."""
    with pytest.raises(OperatorError) as caught:
        load_key(path)
    return caught.value.code


def test_a_key_is_32_random_bytes_for_its_owner_alone(tmp_path: Path) -> None:
    """Two keys differ, and the file has mode 0600 whatever the umask."""
    create_key(tmp_path / "a.key")
    create_key(tmp_path / "b.key")
    assert len(load_key(tmp_path / "a.key")) == KEY_SIZE
    assert load_key(tmp_path / "a.key") != load_key(tmp_path / "b.key")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert (tmp_path / "a.key").read_text(encoding="ascii").startswith("understudy-key-1 ")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """The second call fails and the first key is still there."""
    create_key(tmp_path / "a.key")
    before = load_key(tmp_path / "a.key")
    with pytest.raises(OperatorError, match="exists") as caught:
        create_key(tmp_path / "a.key")
    assert caught.value.code == "E2704"
    assert load_key(tmp_path / "a.key") == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    """Any right of group or world is too much, and the hint says how to mend it."""
    path = tmp_path / "a.key"
    create_key(path)
    path.chmod(mode)
    assert refusal(path) == "E2702"
    with pytest.raises(OperatorError) as caught:
        load_key(path)
    assert f"chmod 600 {path}" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "understudy-key-1",
        "understudy-key-2 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "understudy-key-1 AAAA",
        "understudy-key-1 not base64 at all",
        "understudy-key-1 ====",
        "understudy-key-1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= more",
    ],
)
def test_anything_else_is_no_key(tmp_path: Path, text: str) -> None:
    """A wrong format, a short key and trailing words are all E2703, and the text is not repeated."""
    path = tmp_path / "a.key"
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    assert refusal(path) == "E2703"


def test_a_key_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """A missing file and a missing folder are E2701."""
    assert refusal(tmp_path / "none.key") == "E2701"
    with pytest.raises(OperatorError) as caught:
        create_key(tmp_path / "none" / "a.key")
    assert caught.value.code == "E2701"


def test_a_key_is_replaced_step_by_step(tmp_path: Path) -> None:
    """A second one, the second first, the first alone; each time a whole file for its owner only, and no other left."""
    path = tmp_path / "a.key"
    create_key(path)
    old = load_key(path)
    assert rotate(path) == 2
    first, new = load_keys(path)
    assert (first, len(new)) == (old, KEY_SIZE)
    assert promote(path) == 2
    assert load_keys(path) == (new, old)
    assert retire(path) == 1
    assert load_keys(path) == (new,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["a.key"]


def test_steps_out_of_order_change_nothing(tmp_path: Path) -> None:
    """Nothing to promote or retire, and no second rotation within one: E2706, and the file as it was."""
    path = tmp_path / "a.key"
    create_key(path)
    for step in (promote, retire):
        with pytest.raises(OperatorError) as caught:
            step(path)
        assert caught.value.code == "E2706"
    rotate(path)
    before = path.read_bytes()
    with pytest.raises(OperatorError) as caught:
        rotate(path)
    assert caught.value.code == "E2706"
    assert path.read_bytes() == before


def test_a_file_that_was_half_written_counts_for_nothing(tmp_path: Path) -> None:
    """Cut anywhere in its second line it is refused, with the line's number; the control is where the line begins."""
    path = tmp_path / "a.key"
    create_key(path)
    old = load_key(path)
    rotate(path)
    whole = path.read_bytes()
    begin = whole.index(b"\n") + 1
    for end in range(begin + 1, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(OperatorError) as caught:
            load_keys(path)
        assert caught.value.code == "E2703"
        assert "line 2" in caught.value.message
    path.write_bytes(whole[:begin])
    assert load_keys(path) == (old,)


def test_the_same_key_twice_or_too_many_are_refused(tmp_path: Path) -> None:
    """A copy is no second key, and a file is no key ring."""
    path = tmp_path / "a.key"
    create_key(path)
    line = path.read_text(encoding="ascii")
    path.write_text(line * 2, encoding="ascii")
    assert refusal(path) == "E2703"
    lines = []
    for number in range(5):
        create_key(tmp_path / f"{number}.key")
        lines.append((tmp_path / f"{number}.key").read_text(encoding="ascii"))
    path.write_text("".join(lines), encoding="ascii")
    assert refusal(path) == "E2703"
    path.write_text("".join(lines[:4]), encoding="ascii")
    assert len(load_keys(path)) == 4


def test_a_step_that_cannot_be_written_leaves_the_file(tmp_path: Path) -> None:
    """Something is in the way of the new file: E2701, and the old one is whole."""
    path = tmp_path / "a.key"
    create_key(path)
    before = path.read_bytes()
    (tmp_path / ".a.key.new").mkdir()
    with pytest.raises(OperatorError) as caught:
        rotate(path)
    assert caught.value.code == "E2701"
    assert path.read_bytes() == before
