"""The benchmark is a folder of programs, not a package: they find each other beside themselves.

At the end of the path: one of them is named like a package that others might want.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "bench"))
