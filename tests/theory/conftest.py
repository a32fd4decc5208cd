"""Lets the tests here import their helpers (`cases`, `formulas`, `judge`, `measures`)."""

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture(autouse=True)
def _at_full_speed():
    """No line tracing here: it triples the time of the inner loop, which the engine's own tests cover."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)
