"""Logs that the fitter has not seen, of processes that are not its own, and measures that are not ours.

Every entry makes times from a numpy generator; `lengths` puts tokens to them. `errors` compares a
sample with a log as a stranger would: with numpy alone.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

H, DAY = 3600.0, 86_400.0


def gamma(rng, cv, rate, span):
    k = cv**-2
    return within(np.cumsum(rng.gamma(k, 1 / (k * rate), int(rate * span * 1.5) + 2_000)), span)


def pareto(rng, shape, rate, span):
    gaps = (shape - 1) / shape / rate * (1 + rng.pareto(shape, int(rate * span * 2) + 1_000))
    return within(np.cumsum(gaps), span)


def poisson(rng, rate, span, step=1.0):
    """Of a rate that is a function of time."""
    at = np.arange(0, span, step)
    n = rng.poisson(rate(at) * step)
    return within(np.sort(np.repeat(at, n) + step * rng.random(n.sum())), span)


def mmpp(rng, levels, stays, span):
    t, state, parts = 0.0, 0, []
    while t < span:
        stay = rng.exponential(stays[state])
        parts.append(t + stay * rng.random(rng.poisson(levels[state] * stay)))
        t, state = t + stay, int(rng.choice([k for k in range(len(levels)) if k != state]))
    return within(np.sort(np.concatenate(parts)), span)


def cox(rng, rate, log_sd, correlation_s, span):
    """The logarithm of the rate is an AR(1) series of seconds."""
    from scipy.signal import lfilter

    phi = np.exp(-1 / correlation_s)
    z = lfilter([1], [1, -phi], np.sqrt(1 - phi * phi) * rng.standard_normal(int(span) + 200))[200:]
    n = rng.poisson(rate * np.exp(log_sd * z - log_sd**2 / 2))
    return within(np.sort(np.repeat(np.arange(len(n)), n) + rng.random(n.sum())), span)


def diurnal(rng, rate, span, crowd=0.0):
    def at(t):
        day = 1 + 0.8 * np.sin(2 * np.pi * (t / DAY - 0.3))
        return rate * day * (1 + crowd * np.exp(-(((t - 0.6 * span) / 900) ** 2)))

    return poisson(rng, at, span, 10.0)


def weekly(rng, rate, span):
    def at(t):
        day = 1 + 0.9 * np.sin(2 * np.pi * (t / DAY - 0.3))
        return rate * day * np.where(t // DAY % 7 >= 5, 0.3, 1.2)

    return poisson(rng, at, span, 30.0)


def batches(rng, rate, size, span):
    starts = gamma(rng, 1.0, rate, span)
    return np.repeat(starts, rng.geometric(1 / size, len(starts)))


def on_off(rng, clients, span):
    """Clients with lognormal runs and Pareto silences."""
    parts = []
    for _ in range(clients):
        t = rng.exponential(30.0)
        while t < span:
            run, rate = rng.lognormal(1.5, 1.0), rng.lognormal(1.0, 0.7)
            parts.append(t + run * rng.random(rng.poisson(rate * run)))
            t += run + rng.pareto(1.5) * 20
    return within(np.sort(np.concatenate(parts)), span)


def hawkes(rng, immigrants, branching, decay, span):
    """Self-exciting, by its branching."""
    born = np.sort(rng.random(rng.poisson(immigrants * span))) * span
    every = [born]
    while len(born):
        n = rng.poisson(branching, len(born))
        born = np.repeat(born, n) + rng.exponential(1 / decay, n.sum())
        born = born[born < span]
        every.append(born)
    return np.sort(np.concatenate(every))


def jittered(rng, period, jitter, span):
    k = np.arange(int(span / period))
    return np.sort(k * period + rng.normal(0, jitter * period, len(k)))


def cron(rng, span):
    """Steady traffic, and 200 requests in four seconds every five minutes."""
    parts = [gamma(rng, 1.0, 1.0, span)] + [at + 4 * rng.random(200) for at in np.arange(0, span, 300)]
    return within(np.sort(np.concatenate(parts)), span)


def within(times, span):
    return times[times < span]


ZOO = {
    "Poisson, 5/s": lambda rng: gamma(rng, 1.0, 5, H),
    "Poisson, 300 requests": lambda rng: gamma(rng, 1.0, 0.1, 3_000),
    "Gamma gaps, cv 0.3": lambda rng: gamma(rng, 0.3, 5, H),
    "Gamma gaps, cv 3": lambda rng: gamma(rng, 3.0, 5, H),
    "Gamma gaps, cv 3, 300 requests": lambda rng: gamma(rng, 3.0, 0.5, 600),
    "Gamma gaps, cv 5, sparse": lambda rng: gamma(rng, 5.0, 0.02, 3 * DAY),
    "Gamma gaps, cv 8": lambda rng: gamma(rng, 8.0, 5, 2 * H),
    "Gamma gaps, cv 15": lambda rng: gamma(rng, 15.0, 10, 2 * H),
    "Pareto gaps, tail 1.5": lambda rng: pareto(rng, 1.5, 5, H),
    "Pareto gaps, tail 2.2": lambda rng: pareto(rng, 2.2, 2, H),
    "MMPP, 3 states": lambda rng: mmpp(rng, (0.5, 4, 25), (60, 20, 5), H),
    "MMPP, slow": lambda rng: mmpp(rng, (1, 5, 20), (600, 300, 60), 2 * H),
    "MMPP, fast": lambda rng: mmpp(rng, (0.2, 10, 100), (5, 2, 0.3), H),
    "Cox, AR(1) log rate, 60 s": lambda rng: cox(rng, 5, 0.8, 60, H),
    "Cox, AR(1) log rate, 10 s": lambda rng: cox(rng, 5, 1.2, 10, H),
    "Cox, AR(1) log rate, 600 s": lambda rng: cox(rng, 8, 0.3, 600, 2 * H),
    "two days and a flash crowd": lambda rng: diurnal(rng, 0.5, 2 * DAY, crowd=6.0),
    "three weeks": lambda rng: weekly(rng, 0.1, 21 * DAY),
    "batches of 12": lambda rng: batches(rng, 0.2, 12, H),
    "20 on-off clients": lambda rng: on_off(rng, 20, H),
    "Hawkes, branching 0.8": lambda rng: hawkes(rng, 0.8, 0.8, 0.5, H),
    "Hawkes, branching 0.95": lambda rng: hawkes(rng, 0.3, 0.95, 1.0, 2 * H),
    "grid with jitter, 0.5 s": lambda rng: jittered(rng, 0.5, 0.1, H),
    "grid with jitter, 10 s": lambda rng: jittered(rng, 10.0, 0.1, 4 * H),
    "exact grid": lambda rng: np.arange(3_600.0),
    "cron jobs": lambda rng: cron(rng, 2 * H),
    "ticks of 1 s": lambda rng: np.floor(gamma(rng, 1.0, 5, H)),
    "ticks of 3 s": lambda rng: 3 * np.floor(mmpp(rng, (0.5, 4, 25), (60, 20, 5), H) / 3),
    "ticks of 1 s, sparse": lambda rng: np.floor(gamma(rng, 1.0, 0.02, 2 * DAY)),
}


def ticking_months(rng):
    """A campus: weeks, agents that ask forty times within minutes, times in whole seconds."""
    base = weekly(rng, 0.02, 120 * DAY)
    starts = base[rng.random(len(base)) < 0.01]
    n = rng.geometric(1 / 40, len(starts))
    return np.floor(np.concatenate([base, np.repeat(starts, n) + rng.exponential(60, n.sum())]))


LARGE = {
    "four months in ticks of 1 s": ticking_months,
    "a million, Gamma gaps, cv 4": lambda rng: gamma(rng, 4.0, 50, 20_000),
    "a million, Cox": lambda rng: cox(rng, 10, 0.6, 30, 100_000),
    "sixty days": lambda rng: diurnal(rng, 0.15, 60 * DAY),
}


def lengths(rng, n):
    """Input and output tokens: a spike at a cap, a fixed prompt, heavy tails, answers that follow prompts."""
    inputs = np.maximum(1, rng.lognormal(7, 1.1, n)).astype(np.int64)
    which = rng.random(n)
    inputs[which < 0.1] = 4_096
    inputs[which > 0.95] = 374
    outputs = np.maximum(1, rng.lognormal(5, 0.9, n) * (inputs / 1_100) ** 0.3).astype(np.int64)
    return inputs, outputs


def measured(times, inputs, outputs):
    """The figures that are compared."""
    since = np.round(times - times[0], 6)  # 59.9999999 is a minute
    gaps = np.diff(since)
    found = {"rate": len(times) / since[-1], "cv": gaps.std() / gaps.mean()}
    for window in (1, 10, 60):
        whole = int(since[-1] // window)
        if whole > 2:
            counts = np.bincount((since // window).astype(int), minlength=whole)[:whole]
            found[f"iod {window}"] = counts.var() / counts.mean()
    for name, tokens in (("in", inputs), ("out", outputs)):
        for level in (50, 95, 99):
            found[f"{name} p{level}"] = np.percentile(tokens, level)
    found["rho"] = spearmanr(inputs, outputs).statistic if np.ptp(inputs) and np.ptp(outputs) else 0.0
    return found


def hours(times, span):
    return np.histogram(times - times[0], np.arange(0, span + 1, H))[0]


ROOM = {"rate": 0.05, "hour": 0.05, "cv": 0.15, "iod 1": 0.15, "iod 10": 0.15, "iod 60": 0.15}
ROOM |= {
    f"{side} p{level}": room for side in ("in", "out") for level, room in ((50, 0.05), (95, 0.05), (99, 0.1))
}
ROOM["rho"] = 0.05


def errors(log, sample):
    """Error of every figure of one sample: relative, of the rank correlation absolute.

    Dispersions and variations below 0.01 (a grid's) are compared as if they were 0.01.
    """
    asked, got = measured(*log), measured(*sample)
    found = {
        key: abs(got[key] - value) / (1.0 if key == "rho" else max(abs(value), 0.01))
        for key, value in asked.items()
    }
    span = log[0][-1] - log[0][0]
    counts = hours(log[0], span)
    if len(counts):
        full = counts > 0
        found["hour"] = float(np.abs(hours(sample[0], span)[full] / counts[full] - 1).max())
    return found


def parts(log, n):
    """A log cut into equal stretches of time."""
    times = log[0] - log[0][0]
    which = np.minimum((times / times[-1] * n).astype(int), n - 1)
    for k in range(n):
        here = which == k
        yield times[here] - times[here][0], log[1][here], log[2][here]
