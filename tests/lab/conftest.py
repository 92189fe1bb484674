"""What the benchmark compares by the thousand is compared here for a few: it finds its own modules beside themselves.

At the end of the path: one of them is named like a package that others might want.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
