"""Lets the tests here build small scenarios as the engine's tests do."""

import sys
from pathlib import Path

ENGINE = str(Path(__file__).parents[1] / "engine")
if ENGINE not in sys.path:
    sys.path.insert(0, ENGINE)
