"""Closed forms of queueing theory, written for clarity; the engine is held against them.

Rates are per second, times in seconds, ``a`` is the offered load in servers (Erlang). Sources: Kleinrock,
Queueing Systems I (1975); Adan and Resing, Queueing Systems (2015); Gross et al., Fundamentals of
Queueing Theory (2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson


class Queue(NamedTuple):
    """What a stationary first-come queue is asked for."""

    p_wait: float
    mean_wait_s: float
    mean_response_s: float


def erlang_b(servers: int, a: float) -> float:
    """Probability of loss in M/G/c/c, by the stable recursion in 1/B."""
    inverse = 1.0
    for k in range(1, servers + 1):
        inverse = 1.0 + inverse * k / a
    return 1.0 / inverse


def erlang_c(servers: int, a: float) -> float:
    """Probability of waiting in M/M/c; ``a < servers``."""
    blocked = erlang_b(servers, a)
    return blocked / (1 - (a / servers) * (1 - blocked))


def mmc(rate: float, mean_s: float, servers: int) -> Queue:
    """M/M/c."""
    a = rate * mean_s
    p_wait = erlang_c(servers, a)
    wait_s = p_wait * mean_s / (servers - a)
    return Queue(p_wait, wait_s, wait_s + mean_s)


def mmc_wait_quantile(rate: float, mean_s: float, servers: int, share: float) -> float:
    """Smallest t with P(W <= t) >= share: the wait of those who wait is exponential."""
    a = rate * mean_s
    p_wait = erlang_c(servers, a)
    return max(math.log(p_wait / (1 - share)) * mean_s / (servers - a), 0.0)


def mg1(rate: float, mean_s: float, cv: float) -> Queue:
    """M/G/1 by Pollaczek and Khinchine."""
    rho = rate * mean_s
    wait_s = rho * mean_s * (1 + cv**2) / (2 * (1 - rho))
    return Queue(rho, wait_s, wait_s + mean_s)


def md1_wait_cdf(rate: float, service_s: float, t: float) -> float:
    """P(W <= t) in M/D/1, by Erlang's alternating series; sound for t up to about 15 services."""
    terms = (
        (-rate * (t - k * service_s)) ** k / math.factorial(k) * math.exp(rate * (t - k * service_s))
        for k in range(int(t // service_s) + 1)
    )
    return (1 - rate * service_s) * math.fsum(terms)


def mmck_law(rate: float, mean_s: float, servers: int, capacity: int) -> NDArray[np.float64]:
    """Stationary number in system of M/M/c/K: a birth and death chain."""
    weights = [1.0]
    for n in range(1, capacity + 1):
        weights.append(weights[-1] * rate * mean_s / min(n, servers))
    law = np.array(weights)
    return law / law.sum()


def finite_source_law(users: int, think_s: float, mean_s: float, servers: int) -> NDArray[np.float64]:
    """Stationary number in system of M/M/c//N, the machine-repair model: a birth and death chain."""
    logs = [0.0]
    for n in range(1, users + 1):
        logs.append(logs[-1] + math.log((users - n + 1) / think_s * mean_s / min(n, servers)))
    law = np.exp(np.array(logs) - max(logs))
    return np.asarray(law / law.sum())


def finite_source(users: int, think_s: float, mean_s: float, servers: int) -> tuple[float, float]:
    """Throughput (1/s) and mean response (s) of M/M/c//N; the response by Little's law over the loop."""
    law = finite_source_law(users, think_s, mean_s, servers)
    throughput = float(law @ np.minimum(np.arange(users + 1), servers)) / mean_s
    return throughput, users / throughput - think_s


def asymptotic_bounds(users: int, think_s: float, mean_s: float, servers: int) -> tuple[float, float]:
    """Most throughput (1/s), least mean response (s) of a closed loop, of any laws (Muntz, Wong 1974)."""
    return min(users / (think_s + mean_s), servers / mean_s), max(mean_s, users * mean_s / servers - think_s)


def bulk_response_s(rate: float, sizes: Sequence[float], mean_s: float) -> float:
    """Mean response of M^X/M/1 with equally likely batch ``sizes``; ``rate`` counts requests."""
    mean, square = np.mean(sizes), np.mean(np.square(sizes))
    return float(mean_s * (1 + square / mean) / (2 * (1 - rate * mean_s)))


def cobham_waits_s(rates: Sequence[float], mean_s: float, servers: int) -> list[float]:
    """Mean wait of each class, the first served first: M/M/c with equal means (Cobham 1954)."""
    delay_s = erlang_c(servers, sum(rates) * mean_s) * mean_s / servers
    loads = [0.0]
    for rate in rates:
        loads.append(loads[-1] + rate * mean_s / servers)
    return [delay_s / ((1 - before) * (1 - after)) for before, after in pairwise(loads)]


def preemptive_responses_s(rates: Sequence[float], mean_s: float, servers: int) -> list[float]:
    """Mean response of each class where the more urgent preempt: M/M/c with equal means, resume.

    The first k classes never see the others, so together they are an M/M/c of their own.
    """
    found, before = [], 0.0
    for k, rate in enumerate(rates, 1):
        total = sum(rates[:k])
        together = total * mmc(total, mean_s, servers).mean_response_s  # mean number in system, by Little
        found.append((together - before) / rate)
        before = together
    return found


def mm1_breakdowns_mean(rate: float, mean_s: float, mtbf_s: float, mttr_s: float) -> float:
    """Mean number in an M/M/1 whose server fails, busy or idle (White and Christie 1958)."""
    up, down, mu = 1 / mtbf_s, 1 / mttr_s, 1 / mean_s
    both = up + down
    return rate * (both**2 + up * mu) / (both * (down * mu - rate * both))


def mmc_breakdowns_mean(
    rate: float, mean_s: float, servers: int, mtbf_s: float, mttr_s: float, states: int = 400
) -> float:
    """Mean number in an M/M/c whose servers fail and are repaired each by itself.

    The chain of (number in system, servers that work), cut at ``states`` and solved.
    """
    width = servers + 1
    flow = np.zeros((states * width, states * width))
    for n in range(states):
        for up in range(width):
            here = n * width + up
            if n + 1 < states:
                flow[here, here + width] = rate
            if n:
                flow[here, here - width] = min(n, up) / mean_s
            if up:
                flow[here, here - 1] = up / mtbf_s
            if up < servers:
                flow[here, here + 1] = (servers - up) / mttr_s
    flow -= np.diag(flow.sum(axis=1))
    balance = np.vstack([flow.T[1:], np.ones(len(flow))])
    law = np.linalg.solve(balance, np.append(np.zeros(len(flow) - 1), 1.0))
    return float(law @ np.repeat(np.arange(states), width))


def batching_law(
    rate: float, tokens: float, step_s: tuple[float, float], most: int, states: int
) -> NDArray[np.float64]:
    """Number in system of a machine whose step takes ``a + b n`` for n sequences, at most ``most`` of them.

    Exponential answers of mean ``tokens``: a birth and death chain with death rate n / (a + b n) / tokens.
    """
    logs = [0.0]
    for n in range(1, states):
        running = min(n, most)
        death = running / (step_s[0] + step_s[1] * running) / tokens
        logs.append(logs[-1] + math.log(rate / death))
    law = np.exp(np.array(logs) - max(logs))
    return np.asarray(law / law.sum())


def tandem_response_s(rate: float, stages: Sequence[tuple[float, int]]) -> float:
    """Mean response of M/M/c queues in a row, ``(mean_s, servers)`` each: Burke's theorem."""
    return sum(mmc(rate, mean_s, servers).mean_response_s for mean_s, servers in stages)


def fixed_window_loss(rate: float, window_s: float, limit: int) -> float:
    """Share refused when Poisson calls meet ``limit`` a window: E[(N - L)+] / E[N]."""
    mean = rate * window_s
    admitted = sum(poisson.sf(k, mean) for k in range(limit))
    return 1 - admitted / mean


def retrial_mean_orbit(rate: float, mean_s: float, backoff_s: float) -> float:
    """Mean number that wait to try again in the M/M/1/1 retrial queue (Falin and Templeton 1997)."""
    rho = rate * mean_s
    return rho**2 / (1 - rho) + rho * rate * backoff_s / (1 - rho)


def transient_level(rates: Sequence[float], step_s: float, mean_s: float) -> list[float]:
    """Mean number in M_t/M/infinity at the end of each step of constant rate, from empty.

    ``m' = rate - m / mean_s``, solved step by step.
    """
    level, found = 0.0, []
    decay = math.exp(-step_s / mean_s)
    for rate in rates:
        level = level * decay + rate * mean_s * (1 - decay)
        found.append(level)
    return found
