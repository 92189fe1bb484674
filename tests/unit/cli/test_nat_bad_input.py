"""Bad input through the command line: a clear error with the line and what was expected, in bounded memory."""

import gzip
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli.app import app

MEMORY_MAX = 500 << 20
COMMAND = (sys.executable, "-c", "from understudy.cli import main; main()")

FOREIGN = {
    "junos": ("version 20.4R3;\nsecurity {\n    nat {\n        source {\n}}}\n", "Juniper Junos"),
    "junos-set": ("set security nat source rule-set RS from zone trust\n", "Juniper Junos"),
    "fortios": ("#config-version=FGT60E\nconfig firewall policy\n    edit 1\n        set nat enable\nend\n", "FortiOS"),
    "asa": ("ASA Version 9.8(2)\nhostname x\nobject network L\n subnet 10.0.0.0 255.0.0.0\n", "Cisco ASA"),
    "vyos": ("set nat source rule 100 outbound-interface eth0\n", "VyOS"),
    "mikrotik": ("/ip firewall nat\nadd action=masquerade chain=srcnat\n", "MikroTik"),
    "iptables": ("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\n", "iptables"),
    "huawei": ("sysname HW\nnat address-group 1 203.0.113.1 203.0.113.9\n", "Huawei"),
}


def told(command: str, file: Path) -> tuple[int, str]:
    """Exit code and all that was said."""
    done = CliRunner().invoke(app, ["nat", command, str(file)])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_another_vendors_configuration_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    """By `check` and `print` on its line; no output of `show` either."""
    text, vendor = FOREIGN[name]
    file = tmp_path / name
    file.write_text(text)
    for command in ("check", "print"):
        code, said = told(command, file)
        assert code == 1
        assert f"this is {vendor}" in said or vendor in said
        assert f"{file}:" in said
    code, said = told("parse-show", file)
    assert code == 1
    assert "E7104" in said
    assert "line " in said


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)) * 40, b"\x7fELF\x02\x01\x01" + bytes(500), gzip.compress(b"ip nat inside\n" * 99),
     "interface g0/1\n ip nat inside\n".encode("utf-16-le")],
    ids=["bytes", "program", "packed", "utf-16-without-mark"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "print", "parse-show"])
def test_what_is_no_text_is_refused_with_its_line(command: str, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "some"
    file.write_bytes(data)
    code, said = told(command, file)
    assert code == 1
    assert "E7102" in said
    assert "line 1 is not text" in said
    assert "expected" in said


@pytest.mark.parametrize("command", ["check", "print", "parse-show"])
def test_a_hundred_megabytes_are_refused_in_little_memory(command: str, tmp_path: Path) -> None:
    """No more than the bound is read; a process with half a gigabyte does it."""
    file = tmp_path / "big"
    with file.open("wb") as stream:
        stream.write(b"ip nat inside source static 10.0.0.1 203.0.113.1\n" * 1000)
        stream.truncate(100 << 20)

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))

    done = subprocess.run(  # a limit of the whole process
        [*COMMAND, "nat", command, str(file)], capture_output=True, text=True, check=False, preexec_fn=bound
    )
    assert done.returncode == 1, done.stderr
    assert "E7101" in done.stderr
    assert "32 MiB" in done.stderr


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("ip nat pool P 203.0.113.1 203.0.113.9 netmask 255.255.2", 1, "an IPv4 address has four numbers"),
        ("hostname x\nip nat inside source static tcp 10.0.0.5 80 203.0.", 2, "an IPv4 address has four numbers"),
        ("ip nat pool P 203.0.113.9 203.0.113.1 netmask 255.255.255.0\r\n", 1, "before its start"),
        ("hostname x\r\nip nat inside sorce list 1\r\n", 2, "expected source or destination"),
    ],
)
def test_half_a_line_and_a_wrong_one_are_told_with_place_and_what_was_expected(
    text: str, line: int, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "half.ios"
    file.write_bytes(text.encode())
    for command, place in (("check", f"{file}:{line}: refused"), ("print", f"{file}:{line}:")):
        code, said = told(command, file)
        assert code == 1
        assert place in said
        assert expected in said
