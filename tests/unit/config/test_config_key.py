"""The cluster's key: made once, read only when nobody else can."""

import stat
from pathlib import Path

import pytest

from understudy.config.key import KEY_SIZE, create_key, load_key
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
