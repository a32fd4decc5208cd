"""Find the limits of services of another making in a run above them; predict refusals at any load.

    python benchmarks/refusals.py [limit ...] [--seeds 2] [--calls 2000]

Everything runs in virtual time, as `benchmarks/backtest.py`, whose service it uses; the limits are
`tests/calibration/other_service.py`'s. Asked: the share refused within one point, at 30, 60 and 90 % of
what the limits let through in the long run, and at 130 and 200 % of it.
"""

import argparse
import sys
import time

import numpy as np
from backtest import CATALOG, DAY, MODEL, Variant, offered
from other_service import Leak, Log, Service, Window

from calibration.arrivals import arrivals
from calibration.measured_endpoint import of_limits
from proflash_backtest import Setting, predict

SHARES = (0.3, 0.6, 0.9, 1.3, 2.0)
TOLERANCE = 0.01
FINDING = 1.6, 3_000  # share of the capacity, and calls, of the run in which the limits are found
PER_S = 4.0  # what each of them lets through


def variant(make_limits):
    return Variant(lambda seed: Service(seed=seed, limits=make_limits()), PER_S, limited=True)


LIMITS = {
    "window of requests": variant(lambda: (Window(240),)),
    "window of 10 s": variant(lambda: (Window(40, 10.0),)),
    "window of tokens": variant(lambda: (Window(1_450_000, by_tokens=True),)),
    "log of requests": variant(lambda: (Log(240),)),
    "bucket of 6": variant(lambda: (Leak(6, 4.0),)),
    "bucket of 60": variant(lambda: (Leak(60, 4.0),)),
    "bucket of 400": variant(lambda: (Leak(400, 4.0),)),
    "bucket of tokens": variant(lambda: (Leak(300_000, 24_000, by_tokens=True),)),
    "two windows": variant(lambda: (Window(240), Window(1_450_000, by_tokens=True))),
    "two buckets": variant(lambda: (Leak(60, 4.0), Leak(300_000, 24_000, by_tokens=True))),
    "window and bucket": variant(lambda: (Window(240), Leak(20, 4.5))),
}


def found(name, seed, calls=FINDING[1]):
    """What a run above the limits says of them."""
    return of_limits(MODEL, offered(LIMITS[name], FINDING[0], seed, calls), "benchmark", str(DAY))


def refused(name, seed, share, calls, place):
    """Shares refused: measured in a run that nothing was fitted to, and predicted for its arrivals."""
    run = offered(LIMITS[name], share, seed, calls)
    setting = Setting(place.endpoint, place.window_phase_s, replications=1, limits_scopes=place.limits_scopes)
    measured = np.mean([sample.measured.outcome == "throttled" for sample in run])
    return float(measured), float(predict(arrivals(run, MODEL), CATALOG, setting)[0].throttled.mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("limits", nargs="*", default=list(LIMITS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--calls", type=int, default=2_000, help="of a predicted run")
    asked = parser.parse_args()
    missed = 0
    for name in asked.limits:
        for seed in range(1, asked.seeds + 1):
            began = time.perf_counter()
            place = found(name, seed)
            pairs = [refused(name, seed, share, asked.calls, place) for share in SHARES]
            errors = [predicted - measured for measured, predicted in pairs]
            missed += sum(abs(error) > TOLERANCE for error in errors)
            told = ", ".join(
                f"{share:.0%}: {measured:.1%} {error:+.2%}"
                for share, (measured, _), error in zip(SHARES, pairs, errors, strict=True)
            )
            print(
                f"{name}, seed {seed}: {told}; {time.perf_counter() - began:.0f} s\n    {place.note}",
                flush=True,
            )
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
