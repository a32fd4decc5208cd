"""Lets the tests of events build small scenarios as the engine's tests do."""

import sys
from pathlib import Path

ENGINE = Path(__file__).parents[1] / "engine"
if str(ENGINE) not in sys.path:
    sys.path.insert(0, str(ENGINE))
