"""Makes tests/harness importable from every folder of black-box tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
