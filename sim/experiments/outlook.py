"""What changes soon: prices that step, models that end, within the month a plan speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from profiles.errors import InputError
from profiles.freshness import end_warning
from profiles.prices import Service
from sim.experiments.spend_caps import caps
from sim.money.commitments import commitments
from sim.scenario.batch import Batch
from sim.scenario.spec import PayAsYouGo
from sim.world.places import Place, World

_HORIZON = timedelta(days=31)


def outlook(world: World) -> tuple[str, ...]:
    """What is ahead, a sentence each: price steps and ends of models, orders to their last day, spend caps.

    Steps and ends are those in the month after ``prices_on``, or in the run if that is longer.
    """
    start, lasting = world.scenario.prices_on, timedelta(seconds=world.scenario.duration_s)
    horizon = start + max(_HORIZON, lasting)
    found = [line for place in world.places for line in _of_place(place, start, horizon)]
    found += [commitment.sentence for commitment in commitments(world)]
    return tuple(dict.fromkeys([*found, *caps(world)]))


def _of_place(place: Place, start: date, end: date) -> Iterator[str]:
    model, channel = place.model, place.spec.channel
    if model is None:
        return
    if (warning := end_warning(model, start, end, channel)) is not None:
        yield warning
    service: Service = place.spec.service if isinstance(place.spec, PayAsYouGo | Batch) else "standard"
    for step in model.price_steps(channel, service):
        if start < step <= end:
            yield from _price_step(place, step, service)


def _price_step(place: Place, step: date, service: Service) -> Iterator[str]:
    model, channel = place.model, place.spec.channel
    assert model is not None
    try:
        before = model.rate_card(channel=channel, service=service, on=step - timedelta(days=1))
        after = model.rate_card(channel=channel, service=service, on=step)
    except InputError:
        return  # a price begins or ends; a run on that day says so itself
    if (before.input, before.output) != (after.input, after.output):
        yield (
            f"{model.name} changes price on {step}: input ${before.input / 1e6:g} to ${after.input / 1e6:g}, "
            f"output ${before.output / 1e6:g} to ${after.output / 1e6:g} per 1M tokens; "
            f"plan again with --set prices_on={step}"
        )
