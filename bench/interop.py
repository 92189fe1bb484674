"""The whole matrix beside keepalived and FRR: every way to speak, both roles, with and without preemption.

    python bench/interop.py [--into DIR] [--only WORD ...] [--runs N] [--list]

Each trial takes one pair through a router's whole life (tests/interop/lives.py): elect, preempt or not, leave with
priority 0, return, die, return, be cut off and healed. Rows go to DIR/interop.jsonl as they come, one JSON object a
check; trials that have their rows there are not run again. The table at the end is what docs/interop.md shows.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/interop"))

from contenders import peers  # noqa: E402
from interoptable import table  # noqa: E402
from lives import Trial, as_json  # noqa: E402
from speech import Speech  # noqa: E402

from understudy.errors import OperatorError  # noqa: E402

VMAC = "  use_vmac\n"
VMAC_UNICAST = "  use_vmac\n  vmac_xmit_base\n"
"""With unicast peers keepalived wants it so. With multicast it is then deaf to advertisements from the virtual MAC."""
MATRIX = (
    Speech("keepalived"),
    Speech("keepalived", unicast=True),
    Speech("keepalived", family=6),
    Speech("keepalived", family=6, unicast=True),
    Speech("keepalived", version=2, advertise="1s"),
    Speech("keepalived", version=2, unicast=True, advertise="1s"),
    Speech("keepalived", options=VMAC),
    Speech("keepalived", options=VMAC_UNICAST, unicast=True),
    Speech("keepalived", options=VMAC_UNICAST, virtual_mac=False),
    Speech("keepalived", virtual_mac=False),
    Speech("keepalived", virtual_mac=False, unicast=True),
    Speech("keepalived", family=6, virtual_mac=False),
    Speech("keepalived", lans=2),
    Speech("keepalived", advertise="1s"),
    Speech("frr"),
    Speech("frr", family=6),
    Speech("frr", advertise="1s"),
)
CASES = ((True, True), (False, True), (True, False), (False, False))
"""Whether our node is the preferred one, and whether the preferred one preempts."""


def main() -> int:
    options = _options()
    chosen = [speech for speech in MATRIX if all(word in _label(speech) for word in options.only)]
    if options.list:
        print("\n".join(_label(speech) for speech in chosen))
        return 0
    try:
        peers()
    except OperatorError as missing:
        print(missing, file=sys.stderr)
        return 1
    options.into.mkdir(parents=True, exist_ok=True)
    kept = options.into / "interop.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for run in range(options.runs):
        for speech in chosen:
            for ours_first, preempt in CASES:
                place = {"speech": _label(speech), "ours_first": ours_first, "preempt": preempt, "run": run}
                if any(place.items() <= row.items() for row in rows):
                    continue
                began = time.monotonic()
                made = [json.loads(as_json(row)) | place for row in Trial(speech, ours_first, preempt).run()]
                rows += made
                with kept.open("a") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
                verdict = "ok" if all(row["ok"] for row in made) else f"FAILED {made[-1]['check']}"
                print(
                    f"{place['speech']:42} {_case(ours_first, preempt):30} {verdict} {time.monotonic() - began:.1f} s"
                )
                sys.stdout.flush()
    print()
    print("\n".join(table(rows)))
    return 0 if all(row["ok"] for row in rows) else 2


def _label(speech: Speech) -> str:
    return speech.name + (f" every {speech.advertise}" if speech.advertise != "100ms" else "")


def _case(ours_first: bool, preempt: bool) -> str:
    return f"{'ours' if ours_first else 'theirs'} preferred, {'preempts' if preempt else 'does not preempt'}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "bench/results/interop", help="where the rows are kept")
    parser.add_argument("--only", nargs="*", default=[], help="ways to speak whose name holds all these words")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the ways to speak and end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
