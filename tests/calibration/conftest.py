"""No test of this folder reaches beyond the machine; small truths and virtual time for all of them."""

import ipaddress
import socket
import sys
from datetime import date
from pathlib import Path

import pytest

from calibration.emulator import Faults, ModelTruth, Truth
from calibration.emulator.server import running
from calibration.plan import Target
from calibration.spend import Tariff
from profiles.catalog import load_catalog
from profiles.latency import LatencyLaw, Noise, ThinkingLaw

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from virtual_time import in_virtual_time  # noqa: E402

LAW = LatencyLaw(0.5, 5e-6, 1e-6, 0.004, Noise(0.2), Noise(0.1), first_chunk_tokens=24)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """Refuses every connection to another machine."""
    connect = socket.socket.connect

    def checked(self, address):
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        assert host == "localhost" or ipaddress.ip_address(host).is_loopback, f"a test dialled {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)


@pytest.fixture(scope="session")
def truth():
    """A thinking model, a plain one, and one model for each fault."""
    thinking = {"low": ThinkingLaw(300, 0.3), "off": None}
    faults = {name: ModelTruth(LAW, faults=Faults(**{name: 1.0})) for name in Faults.__dataclass_fields__}
    models = {"thinker": ModelTruth(LAW, thinking, "low"), "plain": ModelTruth(LAW)} | faults
    return Truth(models, seed=7, time_scale=20)


@pytest.fixture(scope="session")
def base_url(truth):
    """An emulator of that truth."""
    with running(truth) as url:
        yield url


@pytest.fixture(scope="session")
def flash_card():
    """Real prices, for the arithmetic of spending."""
    return (
        load_catalog()
        .model("gemini-3.8-flash", date(2026, 11, 22))
        .rate_card(channel="gemini_api", on=date(2026, 11, 22))
    )


@pytest.fixture(scope="session")
def target(flash_card):
    """A planned model with those prices."""

    def make(name="m", rooms=None):
        rooms = rooms or {}
        return Target(
            name,
            Tariff(flash_card),
            rooms,
            dict.fromkeys(rooms, 100.0),
            next(iter(rooms), None),
            65_536,
            10**6,
        )

    return make


@pytest.fixture(scope="session")
def virtual():
    """``virtual(coroutine)`` runs it in virtual time and gives its result."""
    return in_virtual_time
