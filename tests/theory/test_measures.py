"""The measures the judging rests on, against samples that are known whole."""

import pickle

import numpy as np
import pytest
from measures import BIN, Quantile, Tally


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.99])
def test_samples_of_many_runs_are_pooled(share):
    rng = np.random.default_rng(3)
    samples = [np.maximum(rng.exponential(3.0, 1000 * k) - 0.5, 0.0) for k in (1, 2, 5)]
    values = [pickle.loads(pickle.dumps(Quantile.of(sample, share))) for sample in samples]
    whole = np.quantile(np.concatenate(samples), share, method="inverted_cdf")
    assert Tally.quantile([value.tally for value in values], share) == pytest.approx(whole, rel=BIN)
    assert [float(value) for value in values] == [
        np.quantile(sample, share, method="inverted_cdf") for sample in samples
    ]


def test_most_customers_of_an_idle_queue_do_not_wait():
    nobody, few = Tally(np.zeros(90)), Tally(np.linspace(1.0, 2.0, 10))
    assert Tally.quantile([nobody], 0.95) == 0.0
    assert Tally.quantile([nobody, few], 0.9) == 0.0
    assert Tally.quantile([nobody, few], 0.95) == pytest.approx(1.0 + 4 / 9, rel=BIN)
