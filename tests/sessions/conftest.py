"""The stories are the benchmark's, told faster; who is nobody is known by the tests of the lab."""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(_ROOT / "bench"), str(_ROOT / "tests/lab")]
