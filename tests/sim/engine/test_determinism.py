"""Same seed, same bytes: in this process, in another, in two at once, whatever the hash seed."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from small import print_of

from sim.luck import Luck, counted_uniform

HERE = Path(__file__).parent


def test_a_run_repeats_and_another_seed_or_replication_does_not():
    assert print_of(7, 0) == print_of(7, 0)
    assert len({print_of(7, 0), print_of(7, 1), print_of(8, 0)}) == 3


def test_one_and_two_worker_processes_give_the_same_bytes():
    here = [print_of(7, k) for k in range(4)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(partial(print_of, 7), range(4))) == here


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_hash_seed_of_the_process_leaves_no_trace(hash_seed):
    root = HERE.parents[2]
    code = "from small import print_of; print(print_of(7, 0))"
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(root), str(HERE)])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == print_of(7, 0)


def test_streams_are_those_of_philox_and_the_seed_sequence():
    """Pinned raw words: numpy promises these bit generators, not its distributions."""
    words = np.random.Philox(np.random.SeedSequence(20260101, spawn_key=(1,))).random_raw()
    assert int(words) == 0x10D733AA46C5C997
    assert Luck(1, 0).key("jitter") != Luck(1, 1).key("jitter")
    assert Luck(1, 0).key("jitter") != Luck(1, 0).key("route")


def test_counted_uniforms_are_even_and_hang_on_every_argument():
    key = Luck(1, 0).key("jitter")
    drawn = np.array([[counted_uniform(key, r, n) for n in range(1, 6)] for r in range(2_000)])
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert len(np.unique(drawn)) == drawn.size
    assert np.bincount((drawn.ravel() * 10).astype(int)).std() < 100
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.07
