"""Every problem can be told in Korean."""

import subprocess
import sys
from pathlib import Path

from understudy.config.codes import CODES
from understudy.config.korean import MEANINGS


def test_every_code_has_its_meaning_in_korean() -> None:
    """None is missing, none is left over, and each is Korean."""
    assert set(MEANINGS) == set(CODES)
    assert all(any("가" <= character <= "힣" for character in meaning) for meaning in MEANINGS.values())


def test_the_check_tells_the_meaning_below_the_message(tmp_path: Path) -> None:
    """By option or by the environment; the English line stays as it is, so that it can be searched for."""
    file = tmp_path / "bad.yaml"
    file.write_text("cluster: Shop\nnetworks: {lan: 192.0.2.0/24}\nnodes: {a: {lan: 192.0.2.1}}\n")
    command = [str(Path(sys.executable).with_name("understudy")), "check", str(file)]
    english = subprocess.run(command, capture_output=True, text=True, check=False)
    korean = subprocess.run([*command, "--lang", "ko"], capture_output=True, text=True, check=False)
    by_environment = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"UNDERSTUDY_LANG": "ko", "PATH": "/usr/bin"}
    )
    assert english.returncode == korean.returncode == 1
    assert MEANINGS["E2108"] not in english.stderr
    assert MEANINGS["E2108"] in korean.stderr
    assert english.stderr.splitlines()[0] in korean.stderr
    assert by_environment.stderr == korean.stderr
