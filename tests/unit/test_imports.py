"""The direction of imports: what decides never reaches out to what acts."""

import ast
from pathlib import Path

import pytest

import understudy

ROOT = Path(understudy.__file__).parent

# A package may import those named beside it, and itself. What is missing here may import everything below `cli`.
ALLOWED = {
    "units": set(),
    "errors": set(),
    "wire": {"units", "errors"},
    "core": {"units", "errors", "wire"},
    "config": {"units", "errors", "wire", "core", "ios"},
    "migrate": {"units", "errors", "ios"},
    "ios": {"units", "errors"},
    "render": {"units", "errors", "wire", "core", "config", "ios"},
    "adapters": {"units", "errors", "wire", "core", "config", "ios", "render"},
    "agent": {"units", "errors", "wire", "core", "config", "ios", "render", "adapters"},
    "sim": {"units", "errors", "wire", "core", "config", "render"},
    "lab": {"units", "errors", "wire", "core", "config", "ios", "render", "adapters", "agent"},
    "rollout": {"units", "errors", "config", "agent", "lab", "drill"},
}
PURE = ("units", "errors", "wire", "core", "render", "ios")
WORLD = {
    "asyncio",
    "socket",
    "time",
    "os",
    "logging",
    "subprocess",
    "threading",
    "select",
    "ctypes",
    "random",
    "datetime",
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        part = path.relative_to(root).parts[0].removesuffix(".py")
        for name in sorted(imports(path)):
            pieces = name.split(".")
            if pieces[0] == "understudy" and len(pieces) > 1 and part in ALLOWED:
                if pieces[1] != part and pieces[1] not in ALLOWED[part] and (root / pieces[1]).exists():
                    found.append(f"{path.relative_to(root)} imports {name}")
            elif part in PURE and pieces[0] in WORLD:
                found.append(f"{path.relative_to(root)} imports {name}")
    return found


def test_imports_point_inward() -> None:
    """No package imports one further out, and what is pure imports no clock, socket or thread."""
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    "line", ["import time", "from understudy.agent import app", "import understudy.adapters.links"]
)
def test_a_wrong_import_in_the_core_is_found(tmp_path: Path, line: str) -> None:
    """Control: the check above reports each kind of violation."""
    for part in ("core", "agent", "adapters"):
        (tmp_path / part).mkdir()
    (tmp_path / "core" / "bad.py").write_text(f"{line}\n")
    assert violations(tmp_path)
