"""The bill a second time, from the price rows themselves and by another road."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from sim.audit.prices import unit_prices, whole
from sim.audit.prompts import media_recounted
from sim.audit.result import Check
from sim.audit.served import sold_at_s
from sim.audit.tools import fees_again
from sim.audit.usage import commitments_pusd, instances_paid, reservations_pusd, usage_pusd
from sim.money.bill import FIXED, Bill
from sim.records import Lane, Outcome, Reason, Records
from sim.scenario.events import ModelSwitch, PriceChange
from sim.scenario.live import Live
from sim.scenario.media import MediaKind
from sim.scenario.spec import Endpoint, Instances, Provisioned, Scenario
from sim.timeline import timeline

Ints = NDArray[np.int64]

_KINDS: tuple[MediaKind, ...] = ("image", "audio", "video", "pdf")


def money_checks(records: Records, scenario: Scenario, catalog: Catalog, bill: Bill) -> Iterator[Check]:
    """Attempts, lines and total agree, and agree with a second pricing, to 0 picodollars."""
    attempts_pusd = sum(bill.attempt_pusd.tolist())
    known = [line for line in bill.lines if line.amount_pusd is not None]
    class_lines = sum(line.amount_pusd or 0 for line in known if line.class_name != FIXED)
    used, nobodys = usage_pusd(records, scenario, catalog)
    spent = attempts_pusd + sum(amount or 0 for amount in used)
    detail = f"attempts and usage {spent}, lines {class_lines} picodollars"
    yield Check("money conserved", spent == class_lines, detail)
    products = all(
        line.unit.endswith(("_hour", "_credit"))
        or _is_product(line.quantity, line.unit_price_pusd, line.amount_pusd)
        for line in known
    )
    yield Check("lines multiply", products, f"{len(known)} priced lines")
    again, unknown = second_pricing(records, scenario, catalog)
    gap = int(np.abs(again - bill.attempt_pusd).sum())
    same = gap == 0 and np.array_equal(unknown, bill.unpriced)
    yield Check("money recomputed", same, f"difference {gap} picodollars over {len(again)} attempts")
    bound = (reservations_pusd(records, scenario, catalog), commitments_pusd(records, scenario, catalog))
    parts = [*bound, *nobodys]
    fixed = None if None in parts else sum(part or 0 for part in parts)
    yield Check("fixed costs recomputed", fixed == bill.fixed_pusd, f"{bill.fixed_pusd} against {fixed}")
    yield instances_paid(records, scenario)
    total = None if unknown.any() or fixed is None or None in used else spent + fixed
    yield Check("bill total", total == bill.total_pusd, f"{bill.total_pusd} against {total} picodollars")
    amounts = [charge.pusd for charge in bill.charges]
    charged = None if None in amounts else sum(amount or 0 for amount in amounts)
    yield Check("charges add up", charged == bill.total_pusd, f"{charged} against {bill.total_pusd}")
    for end, own in zip(("low", "high"), bill.between or (), strict=False):
        yield _at_end(end, money_checks(records, _with_ends(scenario, end), catalog, own))


def _with_ends(scenario: Scenario, end: str) -> Scenario:
    """Every assumed price at one end of its range."""
    ends = [{"low": getattr(p, end), "high": getattr(p, end)} for p in scenario.assume_prices]
    prices = tuple(p.model_copy(update=own) for p, own in zip(scenario.assume_prices, ends, strict=True))
    return scenario.model_copy(update={"assume_prices": prices})


def _at_end(end: str, checks: Iterator[Check]) -> Check:
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    return Check(f"bill at the {end} end", not wrong, "; ".join(wrong) or "recomputed with difference 0")


def _is_product(quantity: float, price: int | None, amount: int | None) -> bool:
    return price is not None and int(quantity) * price == amount


# --- by the token -----------------------------------------------------------------------------


def second_pricing(records: Records, scenario: Scenario, catalog: Catalog) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars of each attempt, and which have an unknown price, fees of tools included."""
    amount, unknown = tokens_again(records, scenario, catalog)
    fees, no_price = fees_again(records, scenario, catalog)
    return amount + fees, unknown | no_price


def tokens_again(records: Records, scenario: Scenario, catalog: Catalog) -> tuple[Ints, NDArray[np.bool_]]:
    """Picodollars of each attempt's tokens, and which have an unknown price, straight from the price rows."""
    n = len(records.attempts)
    amount, unknown = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    at_s = sold_at_s(records, scenario)
    sold_days = _days_of(at_s, scenario)
    media = media_recounted(records, scenario, catalog)
    for name in records.endpoint_names:
        endpoint = scenario.endpoints[name]
        rows = np.flatnonzero(_sold_by_token(records, name, endpoint))
        piece = _pieces(records, scenario, at_s[rows])
        for day, k in {*zip(sold_days[rows].tolist(), piece.tolist(), strict=True)}:
            chosen = rows[(sold_days[rows] == day) & (piece == k)]
            on = scenario.prices_on + timedelta(days=day)
            sold, changes = _terms(records, scenario, catalog, name, float(at_s[chosen[0]]))
            _price(records, scenario, catalog, sold, on, chosen, media, changes, amount, unknown)
    return amount, unknown


def _pieces(records: Records, scenario: Scenario, at_s: NDArray[np.float64]) -> Ints:
    """Number of the piece between two beginnings or ends of events that each instant lies in."""
    spells = timeline(scenario, records.workload.luck)
    edges = np.unique([edge for spell in spells for edge in (spell.begin_s, spell.end_s)])
    return np.searchsorted(edges, at_s, side="right").astype(np.int64)


def _terms(
    records: Records, scenario: Scenario, catalog: Catalog, name: str, at_s: float
) -> tuple[Endpoint, list[PriceChange]]:
    """The endpoint with the model that it serves at an instant, and the changes of its prices that hold."""
    sold, changes = scenario.endpoints[name], []
    held = [spell.event for spell in timeline(scenario, records.workload.luck) if spell.holds(at_s)]
    for event in held:
        if isinstance(event, ModelSwitch) and event.endpoint == name:
            sold = sold.model_copy(update={"model": event.model})
    for event in held:
        if isinstance(event, PriceChange) and _same(event.model, sold.model, scenario, catalog):
            changes.append(event)
    return sold, changes


def _same(one: str, other: str | None, scenario: Scenario, catalog: Catalog) -> bool:
    on = scenario.prices_on
    return other is not None and catalog.model(one, on).name == catalog.model(other, on).name


def _sold_by_token(records: Records, name: str, endpoint: Endpoint) -> NDArray[np.bool_]:
    attempts = records.attempts
    free_of_charge = (Outcome.THROTTLED, Outcome.REJECTED, Outcome.FAILED)
    sold = (attempts.endpoint == records.endpoint_names.index(name)) & np.isfinite(attempts.begin_s)
    for outcome in free_of_charge:
        sold &= (attempts.outcome != outcome) | (attempts.reason == Reason.CUT_OFF_BILLED)
    if isinstance(endpoint, Provisioned):
        return np.asarray(sold & (attempts.lane == Lane.SPILL))
    return np.asarray(sold & (not isinstance(endpoint, Instances)))


def _days_of(at_s: NDArray[np.float64], scenario: Scenario) -> Ints:
    """Calendar days since the start, by whole midnights passed."""
    start = scenario.start_utc
    first_midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
    to_midnight = (first_midnight - start).total_seconds()
    last = float(at_s.max(initial=0.0))
    midnights = np.arange(to_midnight, last + 86_400, 86_400)
    return np.searchsorted(midnights, at_s, side="right").astype(np.int64)


def _price(
    records: Records,
    scenario: Scenario,
    catalog: Catalog,
    endpoint: Endpoint,
    on: date,
    rows: NDArray[np.intp],
    media: dict[MediaKind, Ints],
    changes: list[PriceChange],
    amount: Ints,
    unknown: NDArray[np.bool_],
) -> None:
    attempts = records.attempts
    live = isinstance(endpoint, Live)
    prompts = attempts.input_tokens[rows].astype(np.int64)
    none = np.zeros(len(rows), np.int64)
    seen, sound, film, pages = (media[kind][rows] if kind in media else none for kind in _KINDS)
    if live and records.workload.spoken is not None:
        sound = sound + records.workload.spoken[attempts.request[rows]]
    tokens = {
        "input": prompts - attempts.cached_tokens[rows] - seen - sound - film - pages,
        "input_image": seen + pages,
        "input_video": film,
        "input_audio": sound,
        "cached_input": attempts.cached_tokens[rows].astype(np.int64),
        "output_audio" if live else "output": attempts.output_tokens[rows].astype(np.int64)
        + attempts.thinking_tokens[rows],
    }
    for unit, count in tokens.items():
        price, known = unit_prices(endpoint, unit, on, prompts, scenario, catalog)
        for change in changes:
            _change(price, known, unit, change)
        amount[rows] += np.where(known, count * price, 0)
        unknown[rows] |= ~known & (count > 0)


def _change(price: Ints, known: NDArray[np.bool_], unit: str, change: PriceChange) -> None:
    """Apply a price change to picodollars a token, in place."""
    if change.usd_per_million is None:
        factor = Decimal(repr(change.factor))
        price[:] = [whole(Decimal(one) * factor) for one in price.tolist()]
        return
    usd = next((usd for name, usd in change.usd_per_million.items() if name == unit), None)
    if usd is not None:
        price[:], known[:] = whole(Decimal(repr(usd)) * 10**6), True
