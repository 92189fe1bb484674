"""Two rule sets: the commands between them lead from one's elements to the other's, and to nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.render.text import Elements, elements_text
from understudy.render.textchange import CHANGES_MAX, change_text

Maps = dict[str, dict[str, str]]
_maps = st.fixed_dictionaries(
    {name: st.dictionaries(st.integers(0, 12).map(lambda n: f"10.0.0.{n}"), st.sampled_from("ab"), min_size=1)
     for name in ("m", "n")}
)  # fmt: skip


def text(maps: Maps, rule: str = "accept") -> str:
    blocks = (
        elements_text(Elements("map", name, "type ipv4_addr : mark;", tuple(f"{k} : {v}" for k, v in held.items())))
        for name, held in sorted(maps.items())
    )
    chain = f"\tchain c {{\n\t\t{rule}\n\t}}"
    return "add table inet understudy\n\ntable inet understudy {\n" + "\n\n".join((*blocks, chain)) + "\n}\n"


def carried_out(commands: str, maps: Maps) -> Maps:
    """As the kernel would: what is deleted must be there, what is added must not."""
    held = {name: dict(elements) for name, elements in maps.items()}
    for line in commands.splitlines():
        verb, element, family, table, name, rest = line.split(None, 5)
        assert (element, family, table) == ("element", "inet", "understudy")
        for each in rest.strip("{ }").split(", "):
            key, _, value = each.partition(" : ")
            if verb == "delete":
                del held[name][key]
            else:
                assert verb == "add"
                assert key not in held[name]
                held[name][key] = value
    return held


@given(_maps, _maps)
def test_the_change_leads_from_one_to_the_other(old: Maps, new: Maps) -> None:
    change = change_text(text(old), text(new))
    assert change is not None
    assert carried_out(change, old) == new


def test_one_of_many_is_one_element() -> None:
    old = {"m": {f"10.0.{n // 200}.{n % 200}": "a" for n in range(5000)}, "n": {"10.0.0.1": "a"}}
    new = {"m": {**old["m"], "10.0.12.7": "b"}, "n": old["n"]}
    assert change_text(text(old), text(new)) == (
        "delete element inet understudy m { 10.0.12.7 }\nadd element inet understudy m { 10.0.12.7 : b }\n"
    )


def test_what_is_more_than_elements_is_no_change_of_elements() -> None:
    """Another rule, another map, a map that had nothing; and more than is worth it."""
    held = {"m": {"10.0.0.1": "a"}, "n": {"10.0.0.1": "a"}}
    assert change_text(text(held), text(held)) == ""
    assert change_text(text(held), text(held, "drop")) is None
    assert change_text(text(held), text({"m": held["m"]})) is None
    assert change_text(text({**held, "n": {}}), text(held)) is None
    many = {f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}": "a" for n in range(CHANGES_MAX + 2)}
    assert change_text(text(held), text({**held, "m": many})) is None
