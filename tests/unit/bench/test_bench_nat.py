"""Parts of bench/nat.py that need no namespace: material by chance, texts judged by an index, the page."""

from pathlib import Path
from typing import Any

import nat
import pytest
from natcorpus import Entry, judged, read_index
from natpage import nat_section
from natrandom import trial
from nattexts import mixed

from understudy.ios.reader import read_text

ROLES = "interface g0/0\n ip nat inside\ninterface g0/1\n ip nat outside\n"
STATIC = "ip nat inside source static 10.9.0.5 203.0.113.5\n"


def test_a_seed_is_a_configuration_without_a_refused_line() -> None:
    """The same every time, another for another seed, with packets that begin flows of their own."""
    texts = set()
    for seed in range(40):
        made = trial(seed, 20)
        assert made == trial(seed, 20)
        assert not read_text(made.text).refused
        flows = [{str(each) for each in (s.protocol, s.source, s.source_port, s.destination, s.destination_port)}
                 for s in made.shots]  # fmt: skip
        assert all(flows.count(flow) == 1 for flow in flows)
        texts.add(made.text)
    assert len(texts) == 40


def test_a_text_of_every_kind_of_line_has_as_many_as_asked_for() -> None:
    reading = read_text(mixed(500))
    assert not reading.refused
    assert len(mixed(500).splitlines()) == 500
    configuration = reading.configuration
    assert configuration.statics
    assert configuration.dynamics
    assert configuration.access_lists


@pytest.mark.parametrize(
    ("expect", "text", "fits"),
    [
        ("accept", ROLES + STATIC, True),
        ("accept", ROLES + "ip nat inside source static 10.9.0.555 203.0.113.5\n", False),
        ("accept", "hostname R1\n", False),
        ("accept-fragment", STATIC, True),
        ("accept-fragment", ROLES + STATIC, False),
        ("accept-lines-flag-conflicts", ROLES + STATIC + STATIC.replace("0.5 ", "0.6 "), True),
        ("accept-lines-flag-conflicts", ROLES + STATIC, False),
        ("flag", ROLES + "ip nat pool P 10.0.0.9 10.0.0.1 prefix-length 24\n", True),
        ("template", "ip nat inside source static <inside-ip> 203.0.113.5\n", True),
        ("template", ROLES + STATIC, False),
        ("parse-output", "Pro Inside global      Inside local       Outside local      Outside global\n"
                         "--- 203.0.113.5        10.9.0.5           ---                ---\n", True),
        ("parse-output", "nothing of the kind\n", False),
        ("unheard-of", ROLES + STATIC, False),
    ],
)  # fmt: skip
def test_a_text_is_judged_as_its_index_says(tmp_path: Path, expect: str, text: str, fits: bool) -> None:
    path = tmp_path / "text"
    path.write_text(text)
    assert judged(Entry("text", path, expect))["fits"] is fits


def test_texts_stand_beside_the_index_or_below_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/one.cfg").write_text(STATIC)
    index = tmp_path / "index.tsv"
    index.write_text("file\tkind\texpect\none.cfg\tconfig\taccept\n")
    (entry,) = read_index(index)
    assert (entry.expect, entry.path) == ("accept", tmp_path / "below/one.cfg")


def row(case: str, **found: Any) -> dict[str, Any]:
    return {"part": "x", "case": case, "number": 0, "void": "", "load": 0.5, **found}


def page(name: str, *rows: dict[str, Any]) -> str:
    document = {"part": f"nat-{name}", "claim": "a bar", "command": "a command", "exit": 0, "rows": list(rows)}
    return nat_section({f"nat-{name}": document})


def test_a_figure_stands_beside_its_bar_with_its_command() -> None:
    fine = row("random", seed=1, packets=20, agreed=20, why=[])
    assert "20 of 20 packets over 1 configurations" in page("explain", fine)
    assert "| met | `a command`; it ended with 0 |" in page("explain", fine)
    wrong = row("random", seed=2, packets=20, agreed=19, why=["seed 2, packet 3: no"])
    told = page("explain", fine, wrong)
    assert "**missed**" in told
    assert "* seed 2, packet 3: no" in told
    assert nat_section({}) == ""


def test_what_differs_on_purpose_does_not_miss_the_bar() -> None:
    same = row("a", linux="same", packets=2, passed=True, why=[], note="")
    other = row("b", linux="differs", packets=1, passed=False, why=["packet 1: no"], note="because")
    told = page("cases", same, other)
    assert "1 of 1 marked `same`, 0 of 1 others; 3 packets" in told
    assert "| met |" in told
    assert "`b`: packet 1: no" in told
    assert "**missed**" in page("cases", {**same, "passed": False}, other)


@pytest.mark.parametrize(("slow", "met"), [(0.9, True), (1.1, False)])
def test_lines_must_be_read_in_time_and_in_linear_time(slow: float, met: bool) -> None:
    rows = [row("mixed 1000", total_s=0.08), row("mixed 10000", total_s=slow)]
    assert ("| met |" in page("lines", *rows)) is met
    crooked = [row("list 1000", total_s=0.01), row("list 100000", total_s=30.0), *rows]
    assert "not linear" in page("lines", *crooked)


def test_statics_by_their_worst_change() -> None:
    fine = row("100000", statics=100_000, loaded_s=1.5, parsed_s=1.0, changed_ms=2.0, changed_max_ms=4.0,
               transaction_ms=0.5, changes_ms=[2.0, 4.0])  # fmt: skip
    assert "| met |" in page("statics", fine)
    assert "**missed**" in page("statics", fine, {**fine, "changed_max_ms": 6.0})


def test_what_a_time_leaves_out_stands_beside_it() -> None:
    """Reading is judged with loading, and rendering is told."""
    slow = row("100000", statics=100_000, loaded_s=2.5, parsed_s=2.0, changed_ms=2.0, changed_max_ms=4.0,
               transaction_ms=0.5, changes_ms=[2.0, 4.0], rendered_ms=140.0)  # fmt: skip
    told = page("statics", slow)
    assert "from the text to the kernel in 4.5 s (4.5-4.5): **missed**" in told
    assert "from the model to the kernel 2.5 s (2.5-2.5): met" in told
    assert "rendered before that, from all entries, in 140 ms (140-140)" in told
    assert "| **missed** |" in told


def test_the_ratio_is_of_medians() -> None:
    rates = {"mbit_s_1": 100.0, "mbit_s_many": 98.0, "connections_s_1": 10.0, "connections_s_many": 10.0}
    rows = [row("1 and many", number=n, **rates) for n in range(5)]
    assert "| met |" in page("throughput", *rows)
    assert "throughput: 0.980" in page("throughput", *rows)
    assert "**missed**" in page("throughput", *({**each, "mbit_s_many": 90.0} for each in rows))


def test_a_ratio_is_undecided_while_its_interval_holds_the_bar() -> None:
    """Neither met by its middle, nor missed."""
    rates = {"mbit_s_1": 100.0, "connections_s_1": 10.0, "connections_s_many": 10.0}
    rows = [row("1 and many", number=n, mbit_s_many=many, **rates) for n, many in enumerate((90.0, 99.0, 100.0, 101.0))]
    assert "| undecided |" in page("throughput", *rows)


def test_void_rows_are_counted_and_a_part_without_others_is_not_measured() -> None:
    fine, void = row("random", seed=1, packets=20, agreed=20, why=[]), {**row("random"), "void": "not run"}
    assert "| 1 (2) |" in page("explain", fine, void, void)
    assert "| 0 (1) | 0.5 | not measured |" in page("explain", void)
    assert "| real texts | every text judged as its index says | not measured |" in page("explain", fine)


def test_texts_from_elsewhere_are_told_with_the_variable_that_names_them() -> None:
    """Or the command would measure others."""
    here = row("examples/nat/pat:one", linux="same", packets=2, passed=True, why=[], note="")
    away = {**here, "case": "cases:one"}
    assert "UNDERSTUDY" not in page("cases", here)
    told = page("cases", away)
    assert "`UNDERSTUDY_NAT_CASES=FILE:FILE a command`" in told
    assert "1 of 1 texts are not in this repository" in told


def test_rows_of_two_commits_are_told() -> None:
    fine = row("random", seed=1, packets=20, agreed=20, why=[])
    told = page("explain", fine, {**fine, "commit": "abc"}, {**fine, "commit": "abc"})
    assert "rows of a commit that they do not name: 1, `abc`: 2" in told


def test_texts_are_counted_by_what_is_expected() -> None:
    rows = [row("a", expect="accept", fits=True, why=[]), row("b", expect="accept", fits=False, why=["line 3: no"])]
    told = page("corpus", *rows)
    assert "`accept` 1 of 2" in told
    assert "* `b`: line 3: no" in told


def test_rows_name_no_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file elsewhere they have the name; two of one name cannot be told apart."""
    ours = nat.EXAMPLES[0]
    other = tmp_path / "beside" / "given.yaml"
    other.parent.mkdir()
    for file in (tmp_path / "given.yaml", other):
        file.write_bytes(ours.read_bytes())
    wish = nat.Wish((other, ours), None, None, quick=True)
    named = [run.case for run in nat._cases("cases", lambda case: pytest.fail("not run"), wish)]
    assert {name.partition(":")[0] for name in named} == {"given", f"examples/nat/{ours.stem}"}
    words = ["nat.py", "--into", str(tmp_path), "--cases", str(other), "--cases", str(tmp_path / "given.yaml")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        nat.main()
    assert ended.value.code == 2
