"""What a run costs: every attempt priced to the picodollar, reservations and instances by the hour.

Who pays what:

- pay-as-you-go, and what a reservation spills, is billed by the token at the rate card of the attempt's
  own day; a prompt above the long-context threshold moves the whole request to the long-context card;
- a call the service worked on is billed, heard or not: a timeout that was not cancelled costs all of its
  tokens. Calls refused (429, full queue) or failed (5xx) cost nothing (assumed: the provider does not say);
- a reservation's own traffic costs nothing by the token: its GSU-hours are paid, used or not;
- searches and map queries cost their fee after the free allowances (`sim.money.tool_fees`);
- own instances cost the hours they are there, stored tokens theirs (`sim.money.metered`).

An unknown price is an InputError, unless the study is historical or the model was never priced: then the
line has no amount, the total has none, and the notes say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.money import PUSD_PER_USD, exact_sum
from profiles.offers import TokenUnit, UnitPrice
from sim.money.bill import Bill, Line, merged, spread, total
from sim.money.chargeback import charges
from sim.money.metered import commitment_lines, gsu_lines, usage_lines
from sim.money.months import HOURS_PER_MONTH, fixed_per_month
from sim.money.tariff import Seller, price_day, sellers, sold_s
from sim.money.tool_fees import Fee, free_price, tool_fees
from sim.money.waste import by_cause, by_kind, set_aside, unused
from sim.records import Attempts, Outcome, Reason, Records, Usage
from sim.scenario.live import Live
from sim.scenario.prices import pinned
from sim.scenario.spec import Instances, Provisioned, Scenario
from sim.stations.prompts import Prompts, prompts_at
from sim.workload.columns import Workload

Ints = NDArray[np.int64]

ENDS: tuple[Literal["low"], Literal["high"]] = ("low", "high")
_BILLED = (
    Outcome.SERVED,
    Outcome.TIMED_OUT,
    Outcome.UNFINISHED,
    Outcome.ABANDONED,
    Outcome.CANCELLED,
)


# --- by the token -----------------------------------------------------------------------------


def quantities(
    attempts: Attempts, prompts: Prompts, rows: NDArray[np.intp], answers: TokenUnit = "output"
) -> dict[TokenUnit, Ints]:
    """Billable tokens by unit of attempts at one endpoint; the input is text that no cache held."""
    who, cached = attempts.request[rows], attempts.cached_tokens[rows]
    read = prompts.by_unit(who, attempts.input_tokens[rows], cached)
    found: dict[TokenUnit, Ints] = dict(read.items())
    found["thinking"] = attempts.thinking_tokens[rows].astype(np.int64)
    found[answers] = attempts.output_tokens[rows].astype(np.int64)
    return found


def billed_by_token(records: Records, scenario: Scenario) -> NDArray[np.bool_]:
    """Which attempts are billed by the token: worked on, and on a lane that has a token price."""
    attempts = records.attempts
    kinds = [scenario.endpoints[name] for name in records.endpoint_names]
    paid_before = (Provisioned, Instances)
    by_lane = np.array([[not isinstance(e, paid_before), isinstance(e, Provisioned)] for e in kinds])
    return np.asarray(worked_on(records) & by_lane[attempts.endpoint, attempts.lane])


def worked_on(records: Records) -> NDArray[np.bool_]:
    """Which attempts a service worked on, heard or not."""
    attempts = records.attempts
    paid = np.isin(attempts.outcome, _BILLED) | (attempts.reason == Reason.CUT_OFF_BILLED)
    return np.asarray(paid & ~np.isnan(attempts.begin_s))


def wasted(records: Records) -> NDArray[np.bool_]:
    """Attempts whose answer nobody used: not served, or of a request that was not served in the end."""
    attempts = records.attempts
    request_served = records.requests.outcome[attempts.request] == Outcome.SERVED
    return np.asarray((attempts.outcome != Outcome.SERVED) | ~request_served | set_aside(records))


@dataclass(frozen=True, slots=True)
class _Counter:
    """An endpoint where tokens are sold: who sells them, and how its model counts the prompts."""

    seller: Seller
    prompts: Prompts
    answers: TokenUnit = "output"  # what they are sold as


@dataclass(slots=True)
class _Ledger:
    """The columns a bill is written into, and its lines so far."""

    records: Records
    attempt_pusd: Ints
    unpriced: NDArray[np.bool_]
    lines: list[Line]

    def price_rows(self, where: _Counter, rows: NDArray[np.intp], on: date, prompt_tokens: int) -> None:
        """Price attempts of one day and prompt step: their column, and one line a class and unit."""
        sold_by = where.seller
        for unit, tokens in quantities(self.records.attempts, where.prompts, rows, where.answers).items():
            used = tokens > 0
            if not used.any():
                continue
            price = sold_by.unit_price(unit, on, prompt_tokens)
            if price.pusd is None:
                self.unpriced[rows[used]] = True
            else:
                self.attempt_pusd[rows] += tokens * price.pusd
            self._add_lines(sold_by, rows, unit, tokens, price)

    def charge(self, fee: Fee) -> None:
        """Put the fee of a tool on the bill: what is free as lines of nothing, the rest at its price."""
        if fee.price.pusd is None:
            self.unpriced[fee.rows[fee.billed > 0]] = True
        else:
            self.attempt_pusd[fee.rows] += fee.billed * fee.price.pusd
        self._add_lines(fee.seller, fee.rows, fee.unit, fee.free, free_price(fee))
        self._add_lines(fee.seller, fee.rows, fee.unit, fee.billed, fee.price)

    def _add_lines(
        self, sold_by: Seller, rows: NDArray[np.intp], unit: str, tokens: Ints, price: UnitPrice
    ) -> None:
        load = self.records.workload
        classes = load.class_id[self.records.attempts.request[rows]]
        sums = np.bincount(classes, weights=tokens, minlength=len(load.class_names))  # exact below 2**53
        for class_id in np.flatnonzero(sums):
            name = load.class_names[class_id]
            self.lines.append(sold_by.line(name, unit, int(sums[class_id]), price))


def _bill_tokens(ledger: _Ledger, scenario: Scenario, catalog: Catalog) -> None:
    records = ledger.records
    billed = billed_by_token(records, scenario)
    at_s = sold_s(records, scenario)
    days = price_day(scenario, at_s)
    for index, name in enumerate(records.endpoint_names):
        own = np.flatnonzero(billed & (records.attempts.endpoint == index))
        if len(own):
            over_time = sellers(name, scenario, catalog, records.workload.luck)
            step = np.searchsorted(over_time.at_s, at_s[own], side="right")
            for k in np.unique(step):
                where = _counter(over_time.values[k], records.workload, scenario)
                _bill_days(ledger, where, own[step == k], days, scenario)


def _counter(sold_by: Seller, load: Workload, scenario: Scenario) -> _Counter:
    endpoint = scenario.endpoints[sold_by.endpoint]
    spoken = isinstance(endpoint, Live)
    prompts = prompts_at(endpoint, load, scenario.classes, sold_by.reader, sold_by.endpoint)
    return _Counter(sold_by, prompts, "output_audio" if spoken else "output")


def _bill_days(
    ledger: _Ledger, where: _Counter, rows: NDArray[np.intp], days: Ints, scenario: Scenario
) -> None:
    for day in np.unique(days[rows]):
        on = scenario.prices_on + timedelta(days=int(day))
        _bill_day(ledger, where, rows[days[rows] == day], on)


def _bill_day(ledger: _Ledger, where: _Counter, rows: NDArray[np.intp], on: date) -> None:
    offer = where.seller.offer
    above = None if offer is None else offer.long_above(on)
    long = np.zeros(len(rows), dtype=bool)
    if above is not None:
        long = ledger.records.attempts.input_tokens[rows] > above
    for is_long in (False, True):
        if len(chosen := rows[long == is_long]):
            ledger.price_rows(where, chosen, on, 1 + (above or 0) if is_long else 0)


# --- the bill ---------------------------------------------------------------------------------


def bill(records: Records, scenario: Scenario, catalog: Catalog) -> Bill:
    """The exact bill of one run, warm-up included.

    Raises InputError when a price that is needed is not known, unless ``scenario.historical`` is set or
    the model was never priced; then the amounts concerned are None and ``notes`` says why. Where a price is
    an assumed range, so is the amount: None, with its ends in ``between`` and beside the line.
    """
    found = _bill(records, scenario, catalog)
    if not scenario.assume_prices:
        return found
    low, high = (_bill(records, at_end(scenario, end), catalog) for end in ENDS)
    return replace(found, between=(low, high), lines=spread(found.lines, low.lines, high.lines))


def at_end(scenario: Scenario, end: Literal["low", "high"]) -> Scenario:
    """The scenario with every assumed price at one end of its range."""
    return scenario.model_copy(update={"assume_prices": pinned(scenario.assume_prices, end)})


def _bill(records: Records, scenario: Scenario, catalog: Catalog) -> Bill:
    n = len(records.attempts)
    ledger = _Ledger(records, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), [])
    _bill_tokens(ledger, scenario, catalog)
    for fee in tool_fees(records, worked_on(records), scenario, catalog):
        ledger.charge(fee)
    used = list(usage_lines(records, scenario, catalog))
    own = (line for _, lines in used for line in lines)
    bound = (
        *gsu_lines(scenario, catalog, records.workload.luck),
        *commitment_lines(records, scenario, catalog),
    )
    lines = merged([*ledger.lines, *bound, *own])
    lost = wasted(records) & (billed_by_token(records, scenario) | (ledger.attempt_pusd > 0))
    waste = by_cause(records, lost, ledger.attempt_pusd, _all_tokens(records.attempts))
    return Bill(
        lines,
        waste_pusd=sum(part.pusd for part in waste),
        waste_tokens=sum(part.tokens for part in waste),
        notes=_notes(lines),
        attempt_pusd=ledger.attempt_pusd,
        unpriced=ledger.unpriced,
        usage_pusd=tuple(total(line.amount_pusd for line in lines) for _, lines in used),
        waste=waste,
        kinds=by_kind(records, ledger.attempt_pusd),
        unused=tuple(unused(records, scenario, catalog, lines)),
        charges=charges(records, scenario, catalog, lines),
    )


def _all_tokens(attempts: Attempts) -> Ints:
    answered = attempts.thinking_tokens.astype(np.int64) + attempts.output_tokens
    return answered + attempts.input_tokens


def _notes(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.note for line in lines if line.amount_pusd is None))


# --- rates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """What a replication costs, in USD; None while a price is unknown or there is nothing to divide by."""

    usd_per_hour: float | None
    usd_per_day: float | None
    usd_per_month: float | None
    usd_per_request: float | None
    usd_per_thousand_answers: float | None
    usd_per_thousand_adequate: float | None


def costs(
    one: Bill,
    records: Records,
    scenario: Scenario,
    *,
    requests: int,
    served: int,
    adequate: float | None,
) -> Costs:
    """Rates of one replication from the attempts of the requests that count.

    An hour is an hour of the run. A month is 730 hours of it, or ``runs_per_month`` runs; the fixed costs
    run for all 730 hours either way, but for instances that scale (`fixed_per_month`). A day is a month
    times 24 / 730.
    """
    counts = (records.requests.arrival_s >= scenario.study.warmup_s)[records.attempts.request]
    beside = _used_by_classes(records.usage, one.usage_pusd, scenario.study.warmup_s)
    if one.fixed_pusd is None or beside is None or one.unpriced[counts].any():
        return Costs(None, None, None, None, None, None)
    variable = exact_sum(one.attempt_pusd[counts]) / PUSD_PER_USD + beside
    fixed_per_hour = one.fixed_pusd / PUSD_PER_USD / (scenario.duration_s / 3600)
    hours = scenario.measured_s / 3600
    per_hour = variable / hours + fixed_per_hour
    month = HOURS_PER_MONTH * per_hour
    if scenario.runs_per_month is not None:
        a_run = variable / hours * scenario.duration_s / 3600
        month = scenario.runs_per_month * a_run + sum(fixed_per_month(one.lines, scenario).values())
    spent = per_hour * hours
    return Costs(
        usd_per_hour=per_hour,
        usd_per_day=month * 24 / HOURS_PER_MONTH,
        usd_per_month=month,
        usd_per_request=_per(spent, requests),
        usd_per_thousand_answers=_per(1000 * spent, served),
        usd_per_thousand_adequate=_per(1000 * spent, adequate),
    )


def _used_by_classes(usage: Sequence[Usage], pusd: Sequence[int | None], warmup_s: float) -> float | None:
    """USD of what classes used beside tokens after the warm-up; None where a price is unknown."""
    spent = 0.0
    for row, amount in zip(usage, pusd, strict=True):
        share = _share_after(warmup_s, row)
        if row.class_id < 0 or not share:
            continue
        if amount is None:
            return None
        spent += share * amount / PUSD_PER_USD
    return spent


def _share_after(warmup_s: float, row: Usage) -> float:
    if row.begin_s >= warmup_s:
        return 1.0
    return max(0.0, row.end_s - warmup_s) / (row.end_s - row.begin_s) if row.end_s > row.begin_s else 0.0


def _per(amount: float, count: float | None) -> float | None:
    return None if not count else amount / count
