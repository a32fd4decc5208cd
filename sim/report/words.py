"""Figures as words: one way to write money, seconds, shares and counts, wherever people read them.

Three significant figures; what is unknown says so and never looks like zero; a share short of all never
reads 100%, and one above nothing never reads 0%. Amounts end at zero, so their intervals are cut there
(an interval over few replications may reach below); differences are not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from profiles.money import format_usd
from sim.outcome.basis import Basis
from sim.outcome.series import Happening
from sim.outcome.stats import LEVEL, Estimate

KINDS = {
    "first": "first calls",
    "retry": "retries",
    "hedge": "hedges",
    "escalation": "escalations",
    "verification": "verdicts",
}
UNKNOWN = "unknown"
LEVEL_WORDS = f"{LEVEL:.0%} interval"

_PERIODS = {
    "USD/h": "an hour",
    "USD/day": "a day",
    "USD/month": "a month",
    "USD/request": "a request",
    "USD/user/month": "a user and month",
    "USD/1000 answers": "per 1,000 answers",
    "USD/1000 adequate answers": "per 1,000 adequate answers",
}
_UNITS = {
    "input": "input tokens",
    "cached_input": "cached input tokens",
    "input_image": "input tokens of pictures and pages",
    "input_video": "input tokens of film",
    "input_audio": "input tokens of sound",
    "cached_audio": "cached tokens of sound",
    "thinking": "thinking tokens",
    "output": "output tokens",
    "output_audio": "output tokens of sound",
    "cache_storage_hour": "stored tokens times hours",
    "search_query": "searches",
    "grounded_prompt": "prompts that search",
    "maps_query": "map queries",
    "gsu_hour": "reserved GSU-hours",
    "gsu_credit": "reservation credit",
    "instance_hour": "instance hours",
    "committed_hour": "committed instance hours",
    "commitment_credit": "hours that the commitment covers",
}
_FIGURES = {
    "usd_per_month": "USD a month",
    "goodput_share": "within SLO",
    "adequate_share": "adequate answers",
    "throttled_request_share": "met a 429",
}
_CRITERIA = {
    "context": "only this model's window holds the prompt",
    "modality": "only this model reads the input",
    "deployment": "only this place allows the deployment asked for",
    "governance": "only there may data of its class go",
    "production": "only this model is generally available with an SLA",
    "reasoning": "the depth of reasoning asked for",
    "latency": "people wait for the answer",
}


REASONS = {
    "RPM": "requests a minute",
    "INPUT_TPM": "input tokens a minute",
    "RPD": "requests a day",
    "RESERVATION": "the reservation's window is full",
    "QUEUE_FULL": "its queue is full",
    "CONTEXT": "the prompt does not fit",
    "CONTENTION": "shared capacity is pressed",
    "OUTAGE": "outage",
    "SERVER_ERROR": "server error",
    "NO_ROOM": "the service has no room",
    "CONCURRENT": "calls under way at once",
    "ENQUEUED_TOKENS": "input tokens under way",
    "SPEND_RATE": "spend in ten minutes",
    "BILLING_CAP": "spend in the month",
    "INSTANCE_LOST": "its instance was lost",
    "JOB_TOKENS": "longer than batch jobs may hold",
    "SESSIONS": "Live sessions open at once",
    "SESSION_LENGTH": "the Live session's longest time",
    "CUT_OFF": "cut off by an outage",
    "CUT_OFF_BILLED": "cut off by an outage, billed",
}


# --- plain numbers ----------------------------------------------------------------------------


def reason(name: str) -> str:
    """Why a call came back, by the name of a `Reason`."""
    return REASONS.get(name, name.lower().replace("_", " "))


def usd(value: float) -> str:
    """An amount of dollars: ``$26,100``, ``$12.30``, ``$0.0031``."""
    return format_usd(Decimal(repr(float(value))))


def picodollars(amount: int | None, ends: tuple[int, int] | None = None) -> str:
    """An exact amount of the bill, rounded for people; ``unknown`` for None, unless its ends are known."""
    if amount is not None:
        return format_usd(amount)
    return UNKNOWN if ends is None else f"between {format_usd(ends[0])} and {format_usd(ends[1])}"


def three_figures(value: float) -> str:
    """A number to three significant figures, with thousands separators and without an exponent."""
    if not value:
        return "0"
    with localcontext(prec=3, rounding=ROUND_HALF_EVEN):
        rounded = +Decimal(repr(float(value)))
    return f"{rounded:,.{max(0, 2 - rounded.adjusted())}f}"


def duration(value_s: float) -> str:
    """A time: ``12.3 ms``, ``0.786 s``, ``15.4 s``, ``3,600 s``."""
    if 0 < abs(value_s) < 0.1:
        return f"{three_figures(value_s * 1000)} ms"
    return f"{three_figures(value_s)} s"


def percent(value: float) -> str:
    """A share: ``95.8%``; more digits near the ends, so that only all is 100% and only none is 0%."""
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    if 0.0005 <= value < 0.9995 or not 0 < value < 1:
        return f"{value:.1%}"
    if value < 0.5:
        return "<0.01%" if value < 0.00005 else f"{value:.2%}"
    return ">99.99%" if value >= 0.99995 else f"{value:.2%}"


def bound(bound_s: float, share_asked: float) -> str:
    """What an SLO asks: ``95% within 6 s``."""
    return f"{target(share_asked)} within {bound_s:g} s"


def target(share_asked: float) -> str:
    """A share that somebody asks for, as written: ``95%``, ``99.9%``."""
    return f"{100 * share_asked:.6g}%"


def number(value: float) -> str:
    """A count: whole below 10,000 where it is whole, then ``12,300``; ``2.4M`` from a million."""
    if abs(value) >= 1e9:
        return f"{three_figures(value / 1e9)}B"
    if abs(value) >= 1e6:
        return f"{three_figures(value / 1e6)}M"
    if float(value).is_integer() and abs(value) < 10_000:
        return f"{int(value):,}"
    return three_figures(value)


# --- estimates --------------------------------------------------------------------------------


def money(found: Estimate) -> str:
    """The point in dollars, without its period: ``$676``."""
    return _point(found, usd)


def money_interval(found: Estimate) -> str:
    """``$453 to $900``, or that there is none."""
    return _interval(found, usd)


def money_a_period(found: Estimate) -> str:
    """The point and what it is for: ``$676 a month``."""
    return _with_period(money(found), found)


def seconds(found: Estimate) -> str:
    """The point as a time: ``5.79 s``."""
    return _point(found, duration)


def seconds_interval(found: Estimate) -> str:
    """``4.82 s to 7.12 s``, or that there is none."""
    return _interval(found, duration)


def share(found: Estimate) -> str:
    """The point as a percentage: ``95.8%``."""
    return _point(found, percent)


def share_interval(found: Estimate) -> str:
    """``94.9% to 96.6%``, or that there is none."""
    return _interval(found, percent, top=1.0)


def count(found: Estimate) -> str:
    """The point as a count: ``5,367``, ``35.1M``."""
    return _point(found, number)


def count_interval(found: Estimate) -> str:
    """``1,230 to 4,560``, or that there is none."""
    return _interval(found, number)


def basis(found: Basis) -> str:
    """The grade of a quality figure: ``measured, n = 400``, ``assumed``."""
    if not found.measured_share:
        return found.grade
    part = "" if found.grade == "measured" else f" ({percent(found.measured_share)} of the answers)"
    return f"{found.grade}{part}, n = {number(found.n)}"


def both(point: str, interval: str) -> str:
    """A point and its interval in one: ``$676 ($453 to $900)``."""
    return f"{point} ({interval})" if " to " in interval else point


# --- differences ------------------------------------------------------------------------------


def difference(found: Estimate) -> str:
    """A signed difference in the words of its unit: ``-$691``, ``+15.7 pt``, ``+0.42 s``."""
    return _point(found, _signed(found.unit))


def difference_interval(found: Estimate) -> str:
    """``-$1,220 to -$163``, or that there is none."""
    return _interval(found, _signed(found.unit), floor=None)


def direction(found: Estimate) -> str:
    """Whether the whole interval is on one side of zero: ``more``, ``less``, ``the same`` or ``unclear``."""
    if found.value is None:
        return UNKNOWN
    if found.low is None or found.high is None:
        return "unclear"
    if found.low == found.high == 0:
        return "the same"
    return "more" if found.low > 0 else "less" if found.high < 0 else "unclear"


# --- names ------------------------------------------------------------------------------------


def unit(name: str) -> str:
    """What a line of the bill counts, in words."""
    return _UNITS.get(name, name.replace("_", " "))


def figure(name: str) -> str:
    """A figure of a run in words."""
    return _FIGURES.get(name, name.replace("_", " "))


def amount(unit_name: str) -> Callable[[float], str]:
    """How a value of a unit is written."""
    if unit_name.startswith("USD"):
        return usd
    return percent if unit_name == "share" else number


def criterion(name: str) -> str:
    """Why a rule sent a request where it did, in words."""
    return _CRITERIA.get(name, name.replace("_", " "))


def verdict(met: bool | None, sure: bool = True) -> str:
    """``met``, ``missed`` or ``unknown``; said to be close where the interval reaches over the line."""
    if met is None:
        return UNKNOWN
    word = "met" if met else "missed"
    return word if sure else f"{word}, too close to call"


# --- helpers ----------------------------------------------------------------------------------


def _point(found: Estimate, write: Callable[[float], str]) -> str:
    if found.value is not None:
        return write(found.value)
    if found.low is None or found.high is None:
        return UNKNOWN
    return f"between {write(found.low)} and {write(found.high)}"


def _interval(
    found: Estimate, write: Callable[[float], str], floor: float | None = 0.0, top: float | None = None
) -> str:
    if found.value is None:
        return found.note
    if found.low is None or found.high is None:
        return "no interval"
    low = found.low if floor is None else max(found.low, floor)
    high = found.high if top is None else min(found.high, top)
    if low == high:
        return "no spread"
    return f"{write(low)} to {write(high)}"


def _with_period(text: str, found: Estimate) -> str:
    period = _PERIODS.get(found.unit)
    return text if period is None or text == UNKNOWN else f"{text} {period}"


def _signed(unit_name: str) -> Callable[[float], str]:
    write = usd if unit_name.startswith("USD") else _points if unit_name == "share" else duration
    return lambda value: write(value) if value <= 0 else f"+{write(value)}"


def _points(value: float) -> str:
    """Percentage points; a small difference keeps a digit."""
    points = round(100 * value, 1)
    return f"{points:.1f} pt" if points or not value else f"{three_figures(100 * value)} pt"


# --- times of a run ---------------------------------------------------------------------------


def span(one: Happening) -> str:
    """When an event held, in words."""
    if one.end_s is None:
        return f"from {clock(one.begin_s)} on"
    return f"from {clock(one.begin_s)} to {clock(one.end_s)}"


def clock(at_s: float) -> str:
    """Hours, minutes and seconds since the start."""
    whole = round(at_s)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
