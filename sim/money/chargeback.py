"""Who pays: every class with its tokens and its part of what is paid by the hour, exact to the picodollar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from profiles.catalog import Catalog
from profiles.errors import InputError
from sim.money.bill import FIXED, Charge, Line, total
from sim.money.waste import at_endpoint, reserved_burn
from sim.records import Records
from sim.scenario.spec import Provisioned, Scenario

UNUSED = "nobody"  # the team of fixed costs that no request used


def charges(
    records: Records, scenario: Scenario, catalog: Catalog, lines: tuple[Line, ...]
) -> tuple[Charge, ...]:
    """One charge a class, and one for fixed costs that nobody used. They add up to the bill exactly.

    A reservation is shared by the reserved tokens that each class burnt, own instances by the seconds of
    service; idle time is carried in the same proportion.
    """
    names = records.workload.class_names
    tokens = {name: _amount(lines, name) for name in names}
    fixed: dict[str, int | None] = dict.fromkeys((*names, ""), 0)
    for endpoint in dict.fromkeys(line.endpoint for line in lines if line.class_name == FIXED):
        amount = _amount([line for line in lines if line.endpoint == endpoint], FIXED)
        weights = _use_by_class(records, scenario, catalog, endpoint)
        _add_parts(fixed, apportion(amount, weights) if amount is not None else dict.fromkeys(weights, None))
    teams = {name: scenario.classes[name].team or name for name in names}
    own = [Charge(teams[name], name, tokens[name], fixed[name]) for name in names]
    rest = fixed[""]
    return (*own, Charge(UNUSED, "", 0, rest)) if rest != 0 else tuple(own)


def by_team(found: tuple[Charge, ...]) -> dict[str, int | None]:
    """Charges added up by team, in order of first appearance."""
    teams: dict[str, int | None] = {}
    for charge in found:
        before = teams.get(charge.team, 0)
        teams[charge.team] = None if before is None or charge.pusd is None else before + charge.pusd
    return teams


def apportion(amount: int, weights: Mapping[str, int]) -> dict[str, int | None]:
    """``amount`` in whole parts proportional to ``weights``, adding up to it; all under "" without weight.

    Largest remainder: whole parts first, then one picodollar each to those who lost most, in order.
    """
    whole = sum(weights.values())
    if not whole:
        return {"": amount}
    exact = {name: Fraction(amount * weight, whole) for name, weight in weights.items()}
    parts: dict[str, int | None] = {
        name: share.numerator // share.denominator for name, share in exact.items()
    }
    left = amount - sum(part or 0 for part in parts.values())
    by_loss = sorted(exact, key=lambda name: exact[name] - (parts[name] or 0), reverse=True)
    for name in by_loss[:left]:
        parts[name] = (parts[name] or 0) + 1
    return parts


def _add_parts(fixed: dict[str, int | None], parts: Mapping[str, int | None]) -> None:
    for name, part in parts.items():
        before = fixed[name]
        fixed[name] = None if before is None or part is None else before + part


def _amount(lines: Iterable[Line], class_name: str) -> int | None:
    return total(line.amount_pusd for line in lines if line.class_name == class_name)


def _use_by_class(records: Records, scenario: Scenario, catalog: Catalog, endpoint: str) -> dict[str, int]:
    """How much of an endpoint each class used, as whole numbers: reserved tokens, or microseconds."""
    load, use = records.workload, _use(records, scenario, catalog, endpoint)
    classes = load.class_id[records.attempts.request]
    sums = np.bincount(classes, weights=use, minlength=len(load.class_names))
    return {name: round(float(part)) for name, part in zip(load.class_names, sums, strict=True)}


def _use(records: Records, scenario: Scenario, catalog: Catalog, endpoint: str) -> NDArray[np.float64]:
    """Thousandths of reserved tokens by attempt, or microseconds of service."""
    spec = scenario.endpoints[endpoint]
    if isinstance(spec, Provisioned):
        try:
            return reserved_burn(records, endpoint, scenario, catalog) * 1000
        except InputError:  # a burndown rate is not published: by time of service
            return _seconds(records, endpoint) * 1e6
    return _seconds(records, endpoint) * 1e6


def _seconds(records: Records, endpoint: str) -> NDArray[np.float64]:
    """Seconds of service of each attempt at an endpoint, 0 elsewhere."""
    attempts = records.attempts
    busy = np.nan_to_num(attempts.free_s - attempts.begin_s)
    return np.where(at_endpoint(records, endpoint), busy, 0.0)
