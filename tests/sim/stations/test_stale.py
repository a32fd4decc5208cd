"""A router whose counters are old: what it sees, and the herd that makes of it."""

import numpy as np
from small import constant, exponential, fingerprint, instances, request_class, run, scenario

from sim.policies.stale import StaleLevel
from sim.policies.view import Idle

SHORTEST = {"policy": "spill_over", "primary": "a", "overflow": "b", "max_queue": 1}


def two(stale_s=0.0, **more):
    shops = {name: instances(exponential(1.0), 4) for name in "ab"}
    classes = {"x": request_class(6.4, input_tokens=constant(10))}
    return scenario(shops, classes, routing=SHORTEST, duration_s=600.0, router_stale_s=stale_s, **more)


def test_a_look_holds_for_its_period():
    now, seen = [0.0], []
    level = Idle(queue_length=1, in_system=2, busy=1, servers=3.0)
    stale = StaleLevel(level, lambda: now[0], 10.0)
    for at, queue in ((0.0, 1), (4.0, 7), (9.99, 8), (10.0, 8), (12.0, 9), (25.0, 3)):
        now[0] = at
        object.__setattr__(level, "queue_length", queue)
        seen.append(stale.queue_length)
    assert seen == [1, 1, 1, 8, 8, 3]
    assert (stale.in_system, stale.busy, stale.servers) == (2, 1, 3.0)


def test_fresh_counters_leave_every_byte():
    assert fingerprint(run(two())) == fingerprint(run(two(0.0)))


def test_counters_as_fresh_as_the_calls_change_nothing():
    """Where no two calls fall into one period, what is seen is what is there."""
    assert fingerprint(run(two())) == fingerprint(run(two(1e-9)))


def test_old_counters_send_everybody_the_same_way():
    fresh, old = run(two()), run(two(20.0))

    def mean_wait_s(records):
        a = records.attempts
        return float((a.begin_s - a.send_s).mean())

    assert mean_wait_s(old) > 1.5 * mean_wait_s(fresh)
    endpoint = old.attempts.endpoint[np.argsort(old.attempts.send_s, kind="stable")]
    turns = np.count_nonzero(np.diff(endpoint))
    assert turns <= 600 / 20 + 1  # a change of mind a period
