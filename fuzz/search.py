"""Fuzz the readers of others' bytes, guided by coverage (Atheris): `make fuzz`, FUZZ_SECONDS for all of them together.

    python fuzz/search.py [TARGET...]            each in a process of its own, seeds from fuzz/corpus/TARGET
    python fuzz/search.py --replay TARGET FILE   one input, as in `make test`

What breaks a promise is kept in fuzz/crashes/TARGET with the command that replays it. New inputs that reached new code
go to fuzz/found/TARGET and serve the next run; neither directory is committed.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
MEMORY_MB_MAX = 1024
INPUT_SECONDS_MAX = 5


def fuzz_one(name: str, seconds: int) -> None:
    """Never returns: the fuzzer ends the process, with status 0 if nothing was found in the time."""
    import atheris

    with atheris.instrument_imports(include=["understudy"], enable_loader_override=False):
        import targets
    target = targets.MAKERS[name]()
    for place in ("found", "crashes"):
        (HERE / place / name).mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-max_len={targets.LENGTH_MAX.get(name, 512)}",
        f"-artifact_prefix={HERE / 'crashes' / name}/",
        "-print_final_stats=1",
    ]
    dictionary = HERE / "corpus" / f"{name}.dict"
    if dictionary.exists():
        options.append(f"-dict={dictionary}")
    atheris.Setup([sys.argv[0], *options, str(HERE / "found" / name), str(HERE / "corpus" / name)], target)
    atheris.Fuzz()


def fuzz_all(names: list[str], seconds: int) -> int:
    """Each for its share of the time. The number of targets that broke a promise."""
    broken = 0
    for name in names:
        known = set((HERE / "crashes" / name).glob("*"))
        share = max(1, seconds // len(names))
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(share)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
        stats = [line.split(":")[-1].strip() for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"fuzz: {name}: {stats[0] if stats else '?'} inputs in {share} s: {'broken' if done.returncode else 'fine'}"
        )
        if done.returncode:
            broken += 1
            print(done.stderr[-3000:])
            for crash in sorted(set((HERE / "crashes" / name).glob("*")) - known):
                print(f"fuzz: replay it with: {sys.executable} fuzz/search.py --replay {name} {crash}")
    return broken


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        fuzz_one(arguments[1], int(arguments[2]))
    import targets

    if arguments[:1] == ["--replay"]:
        targets.MAKERS[arguments[1]]()(Path(arguments[2]).read_bytes())
        print("no promise is broken")
        return 0
    return fuzz_all(arguments or list(targets.MAKERS), int(os.environ.get("FUZZ_SECONDS", "60")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
