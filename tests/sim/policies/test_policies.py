"""Static, split and spill-over in whole runs, and a policy of one's own."""

from dataclasses import dataclass

import numpy as np
import pytest
from small import constant, evenly, exponential, instances, payg, request_class, run, scenario

import sim.policies.base as register
from profiles.errors import InputError
from sim.policies import EndpointName, build_policy, policy, policy_names
from sim.policies.view import Request, System
from sim.records import Outcome

TWO = {"pro": instances(exponential(2.0), 2), "flash": payg(exponential(0.5))}


def share_to(records, index):
    return float((records.requests.endpoint == index).mean())


def test_static_sends_each_class_to_its_own_endpoint_and_the_rest_to_the_first():
    routing = {"policy": "static", "endpoint": "flash", "by_class": {"hard": "pro"}}
    classes = {"hard": request_class(0.5), "easy": request_class(2.0)}
    records = run(scenario(TWO, classes, routing=routing))
    hard = records.workload.class_id == 0
    assert (records.requests.endpoint[hard] == 0).all()
    assert (records.requests.endpoint[~hard] == 1).all()


def test_a_class_that_static_has_no_place_for_is_turned_away():
    routing = {"policy": "static", "by_class": {"hard": "pro"}}
    classes = {"hard": request_class(0.5), "easy": request_class(2.0)}
    records = run(scenario(TWO, classes, routing=routing))
    easy = records.workload.class_id == 1
    assert (records.requests.outcome[easy] == Outcome.REJECTED).all()
    assert (records.requests.attempts[easy] == 0).all()
    assert (records.requests.endpoint[easy] == -1).all()
    assert (records.requests.end_s[easy] == records.workload.arrival_s[easy]).all()


@pytest.mark.parametrize("weights", [(1.0, 3.0), (0.2, 0.2), (5.0, 0.0)])
def test_split_keeps_its_proportions(weights):
    routing = {"policy": "split", "weights": dict(zip(TWO, weights, strict=True))}
    endpoints = {name: payg(constant(0.1)) for name in TWO}
    records = run(scenario(endpoints, {"a": request_class(40.0)}, routing=routing, duration_s=250.0))
    n, share = len(records.workload), weights[0] / sum(weights)
    assert abs(share_to(records, 0) - share) <= 4 * np.sqrt(share * (1 - share) / n)


def test_a_split_is_the_same_for_every_try_of_a_request():
    routing = {"policy": "split", "weights": {"pro": 1.0, "flash": 1.0}}
    endpoints = {name: payg(constant(0.1), limits={"rpm": 3}) for name in TWO}
    a = run(scenario(endpoints, routing=routing, client={"max_attempts": 3})).attempts
    pairs = set(zip(a.request.tolist(), a.endpoint.tolist(), strict=True))
    assert (a.number > 1).any()
    assert len(pairs) == len(set(a.request.tolist()))


def test_spill_over_uses_the_overflow_only_while_the_queue_is_long():
    routing = {"policy": "spill_over", "primary": "pro", "overflow": "flash", "max_queue": 2}
    endpoints = {"pro": instances(constant(10.0)), "flash": payg(constant(0.1))}
    records = run(scenario(endpoints, {"a": evenly(1.0)}, routing=routing, duration_s=10.0))
    assert records.requests.endpoint.tolist() == [0, 0, 0] + [1] * 7
    assert records.stations[0].peak_queue == 2


def test_spill_over_counts_calls_under_way_where_nothing_queues():
    limit = {"primary": "pro", "overflow": "flash", "max_in_flight": 3}
    endpoints = {"pro": payg(constant(2.0)), "flash": payg(constant(0.1))}
    classes = {"a": evenly(4.0)}
    records = run(scenario(endpoints, classes, routing={"policy": "spill_over", **limit}, duration_s=8.0))
    assert records.stations[0].peak_in_system == 3
    assert 0 < share_to(records, 0) < 0.5


def test_spill_over_sends_retries_to_the_overflow():
    routing = {"policy": "spill_over", "primary": "pro", "overflow": "flash"}
    endpoints = {"pro": payg(limits={"rpm": 5}), "flash": payg()}
    a = run(scenario(endpoints, routing=routing, client={"max_attempts": 2})).attempts
    assert (a.endpoint[a.number == 1] == 0).all()
    assert (a.endpoint[a.number == 2] == 1).all()
    assert (a.number == 2).any()


@pytest.fixture
def registered():
    """Leaves the register as it was."""
    before = dict(register._registered)
    yield
    register._registered.clear()
    register._registered.update(before)


@pytest.mark.usefixtures("registered")
def test_a_policy_of_ones_own_is_eleven_lines():
    @policy("by_length")
    @dataclass(frozen=True)
    class ByLength:
        """Short prompts to Flash, long ones to Pro, unless Pro is busy."""

        pro: EndpointName = "pro"
        flash: EndpointName = "flash"
        long_above: int = 1_000

        def choose(self, request: Request, system: System) -> str:
            free = system[self.pro].in_flight < 2
            return self.pro if request.input_tokens > self.long_above and free else self.flash

    tokens = {"kind": "uniform", "low": 1.0, "high": 200.0}
    routing = {"policy": "by_length", "long_above": 100}
    classes = {"a": request_class(3.0, input_tokens=tokens)}
    records = run(scenario(TWO, classes, routing=routing))
    short = records.workload.input_tokens <= 100
    assert "by_length" in policy_names()
    assert (records.requests.endpoint[short] == 1).all()
    assert set(records.requests.endpoint[~short]) == {0, 1}
    assert records.stations[0].peak_in_system == 2
    with pytest.raises(InputError, match=r"nowhere.*no endpoint|no endpoint 'nowhere'"):
        build_policy({"policy": "by_length", "pro": "nowhere"}, TWO)


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        ({"policy": "statik"}, "static"),
        ({}, "routing.policy"),
        ({"policy": "static", "endpoint": "nowhere"}, "nowhere"),
        ({"policy": "static", "endpoints": "pro"}, "endpoint"),
        ({"policy": "static"}, "endpoint"),
        ({"policy": "split", "weights": {"pro": -1.0}}, "weight"),
        ({"policy": "split", "weights": {"pro": 0.0}}, "weight"),
        ({"policy": "split", "weights": {"elsewhere": 1.0}}, "elsewhere"),
        ({"policy": "spill_over", "max_queue": "ten"}, "max_queue"),
    ],
)
def test_a_wrong_routing_block_is_refused_in_words(routing, message):
    with pytest.raises(InputError, match=message):
        build_policy(routing, TWO)


def test_a_request_shows_a_policy_no_answer_length_time_or_quality():
    hidden = {"output_tokens", "thinking_tokens", "difficulty", "service_s", "total_s", "arrival_s"}
    assert not hidden & set(dir(Request))
