"""A loopback server that speaks the Gemini protocol and whose latencies follow a known, exported truth."""

from __future__ import annotations

from calibration.emulator.truth import (
    BatchLaw,
    Faults,
    ImplicitLaw,
    Limits,
    LiveLaw,
    ModelTruth,
    OutputLaw,
    Regime,
    Truth,
)

__all__ = [
    "BatchLaw",
    "Faults",
    "ImplicitLaw",
    "Limits",
    "LiveLaw",
    "ModelTruth",
    "OutputLaw",
    "Regime",
    "Truth",
]
