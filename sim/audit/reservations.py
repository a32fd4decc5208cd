"""Reservations replayed from the rows: what each window has used, whose calls it took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.schema import Throughput
from sim.audit.prompts import media_recounted
from sim.audit.result import Check, check_rows
from sim.audit.served import by_model, serving, switches_s
from sim.records import Lane, Reason, Records
from sim.scenario.events import QuotaCut
from sim.scenario.media import MediaKind
from sim.scenario.spec import Provisioned, Scenario
from sim.timeline import of_kind, timeline
from sim.world.places import Place

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

RELATIVE = 2e-9  # float sums in different order
_BURNT_AS = {
    "image": "input_image",
    "video": "input_video",
    "audio": "input_audio",
    "pdf": "input_image",
}


@dataclass(frozen=True, slots=True)
class Levels:
    """What a reservation's windows had used, one row an instant at which something was taken or settled."""

    at_s: Floats
    used: Floats  # weighted tokens, right after
    took: Mask  # somebody was let in
    steps: list[tuple[float, float, float]]  # see `reserved_steps`
    epoch_s: float

    def step(self, at_s: Floats) -> NDArray[np.intp]:
        """Which of the steps holds at each instant."""
        return np.searchsorted([since_s for since_s, _, _ in self.steps], at_s, side="right") - 1

    def used_at(self, at_s: Floats) -> Floats:
        """Weighted tokens of the window of each instant that are gone right after it."""
        row = np.searchsorted(self.at_s, at_s, side="right") - 1
        before = np.maximum(row, 0)
        if not len(self.at_s):
            return np.zeros(len(at_s))
        same = self._window(at_s) == self._window(self.at_s[before])
        return np.where((row >= 0) & same, self.used[before], 0.0)

    def _window(self, at_s: Floats) -> Floats:
        """A number of its own for every window of every step."""
        step = self.step(at_s)
        window_s = np.array([window_s for _, _, window_s in self.steps])[step]
        return np.asarray((at_s + self.epoch_s % window_s) // window_s + step / (len(self.steps) + 1))


def reservation_checks(
    records: Records, scenario: Scenario, catalog: Catalog, place: Place, index: int
) -> Iterator[Check]:
    """No window gave more than was bought, and every request used the lane it asked for."""
    levels = reserved_levels(records, scenario, catalog, place, index)
    budget = np.array([budget for _, budget, _ in levels.steps])[levels.step(levels.at_s)]
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.where(budget > 0, levels.used / budget, np.where(levels.used > 0, np.inf, 0.0))
    most = float(full[levels.took].max(initial=0.0))
    sizes = ", ".join(f"{budget:.0f} in {window_s:g} s" for _, budget, window_s in levels.steps)
    detail = f"the fullest window used {most:.0%} of its weighted tokens ({sizes})"
    yield Check(f"reservation, {place.name}", most <= 1 + RELATIVE, detail)
    yield _asked_types(records, scenario, place.name, index)


def reserved_levels(
    records: Records, scenario: Scenario, catalog: Catalog, place: Place, index: int
) -> Levels:
    """Replay a reservation.

    Used is the sum of the estimates set aside in the window, corrected by what answers that ended in it
    really burnt, and never below zero.
    """
    spec, attempts = place.spec, records.attempts
    assert isinstance(spec, Provisioned)  # audit_limits asks
    moved_s = switches_s(records, scenario, catalog, place.name)
    own = (attempts.endpoint == index) & (attempts.lane == Lane.OWN) & ~np.isnan(attempts.begin_s)
    rows = np.flatnonzero(own)
    begun, ended = (
        np.searchsorted(moved_s, t[rows], side="right") for t in (attempts.begin_s, attempts.free_s)
    )
    settled = rows[
        (attempts.free_s[rows] <= records.ended_s) & (begun == ended)
    ]  # else with another's budget
    media = media_recounted(records, scenario, catalog)
    burn = np.zeros(len(attempts))
    for model, mine in by_model(records, scenario, catalog, place.name, settled, attempts.begin_s):
        assert model is not None  # a reservation names its model
        burn[mine] = burnt(records, media, model.require_throughput(), mine)
    correction = burn[settled] - attempts.reserved_tokens[settled]
    return _replay(
        np.concatenate([attempts.free_s[settled], attempts.begin_s[rows]]),
        np.concatenate([correction, attempts.reserved_tokens[rows]]),
        np.repeat([False, True], [len(settled), len(rows)]),
        reserved_steps(records, place.name, spec, scenario, catalog),
        scenario.start_utc.timestamp(),
    )


def reserved_steps(
    records: Records, name: str, spec: Provisioned, scenario: Scenario, catalog: Catalog
) -> list[tuple[float, float, float]]:
    """Each time GSUs or model change: when, the weighted tokens of a window from then on, its seconds."""
    zone, zero = ZoneInfo(scenario.timezone), scenario.start_utc.timestamp()
    changes = [(0.0, spec.gsus)] if spec.gsus is not None else []
    for order in spec.orders:
        for moment, sign in ((order.starts, 1), (order.ends, -1)):
            if moment is not None or sign > 0:
                at_s = -math.inf if moment is None else moment.replace(tzinfo=zone).timestamp() - zero
                changes.append((max(at_s, 0.0), sign * order.gsus))
    found = []
    cuts = [s for s in of_kind(timeline(scenario, records.workload.luck), QuotaCut) if _cuts(s.event, name)]
    edges = {at_s for spell in cuts for at_s in (spell.begin_s, spell.end_s) if at_s < math.inf}
    edges |= set(switches_s(records, scenario, catalog, name))
    spells = timeline(scenario, records.workload.luck)
    for at_s in sorted({0.0, *edges, *(at_s for at_s, _ in changes if at_s < scenario.duration_s)}):
        served = serving(spells, name, np.array([at_s]))[0] or spec.model
        throughput = catalog.model(served, scenario.prices_on).require_throughput()
        gsus = sum(step for since_s, step in changes if since_s <= at_s)
        window_s = (spec.window_s or throughput.window(gsus).window_s) if gsus else 60.0  # of nothing
        left = math.prod(spell.event.factor for spell in cuts if spell.begin_s <= at_s < spell.end_s)
        found.append((at_s, left * gsus * throughput.tokens_per_s_per_gsu * window_s, window_s))
    return found


def _cuts(event: QuotaCut, name: str) -> bool:
    """Whether an event cuts the reserved tokens of an endpoint."""
    everywhere = event.endpoints is None and event.scopes is None
    return event.reservations and (everywhere or name in (event.endpoints or ()))


def _asked_types(records: Records, scenario: Scenario, name: str, index: int) -> Check:
    """Dedicated requests do not spill, shared ones leave the reservation alone."""
    a, load = records.attempts, records.workload
    types = np.array([scenario.classes[one].request_type for one in load.class_names])[
        load.class_id[a.request]
    ]
    reserved = (a.lane == Lane.OWN) & (~np.isnan(a.begin_s) | (a.reason == Reason.RESERVATION))
    wrong = (types == "dedicated") & (a.lane == Lane.SPILL) | (types == "shared") & reserved
    return check_rows(
        f"request types, {name}", wrong & (a.endpoint == index), "on the lane it did not ask for"
    )


def burnt(
    records: Records, media: dict[MediaKind, Ints], throughput: Throughput, rows: NDArray[np.intp]
) -> Floats:
    """Weighted tokens of whole services, at the rates of the model."""
    attempts = records.attempts
    prompt = attempts.input_tokens[rows]
    cached, thinking = attempts.cached_tokens[rows], attempts.thinking_tokens[rows]
    beside = {kind: tokens[rows] for kind, tokens in media.items()}
    parts = [
        ("input", prompt - cached - sum(beside.values())),
        ("cached_input", cached),
        ("thinking", thinking),
        ("output", attempts.output_tokens[rows]),
        *((_BURNT_AS[kind], tokens) for kind, tokens in beside.items()),
    ]
    above = throughput.long_above
    long = prompt > (math.inf if above is None else above)
    burnt = np.zeros(len(rows))
    for unit, tokens in parts:
        for is_long in (False, True):
            chosen = (long == is_long) & (tokens > 0)
            if chosen.any():
                rate = throughput.rate(unit, int(prompt[chosen].max()))  # type: ignore[arg-type]
                burnt[chosen] += tokens[chosen] * rate
    return burnt


def _replay(
    at_s: Floats,
    amounts: Floats,
    admissions: Mask,
    steps: list[tuple[float, float, float]],
    epoch_s: float,
) -> Levels:
    """In use right after each instant.

    The rows do not tell the order of events at one instant, so what is returned then counts before the
    admissions, and what is charged then after them, where it is not seen: the kindest order, exact where
    nothing coincides.
    """
    times, group = np.unique(at_s, return_inverse=True)
    kinds = (admissions, ~admissions & (amounts < 0), ~admissions & (amounts >= 0))
    added, returned, charged = (
        np.bincount(group[kind], weights=amounts[kind], minlength=len(times)).tolist() for kind in kinds
    )
    took = np.bincount(group[admissions], minlength=len(times)) > 0
    levels = Levels(times, np.zeros(len(times)), took, steps, epoch_s)
    used, current = 0.0, math.nan
    for k, window in enumerate(levels._window(times).tolist()):
        if window != current:
            current, used = window, 0.0
        used += added[k] + returned[k]
        levels.used[k] = used if took[k] else max(used + charged[k], 0.0)
        used = max(used + charged[k], 0.0)
    return levels
