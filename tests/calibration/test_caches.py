"""The cached arm: caches are made, read, renewed, paid for and deleted; what a kill leaves is cleared up."""

import asyncio
import dataclasses
import json
import math
import stat

import pytest
from google import genai

from calibration import caches, samples
from calibration.caches import LIFE_S, expected_pusd, keeping, making_pusd
from calibration.client import ServiceError
from calibration.emulator import ModelTruth, OutputLaw, Truth
from calibration.emulator.server import running
from calibration.fit import fit_model
from calibration.plan import Options, make_plan
from calibration.probe import Limits
from calibration.session import Settings, measure
from calibration.spend import Ledger
from profiles.errors import InputError
from profiles.latency import LatencyLaw, Noise

LAW = LatencyLaw(0.3, 2e-5, 4e-6, 0.004, Noise(0.1), Noise(0.05), first_chunk_tokens=24)
MODEL = "gemini-3.8-flash"


@pytest.fixture
def planned(target):
    """A plan that reads caches, of so many requests."""

    def make(requests=40, cached=(20_000, 80_000), **options):
        chosen = dataclasses.replace(target(MODEL), least_cached=4_096)
        chosen_options = {
            "rate_per_s": 40.0,
            "input_tokens": (200, 30_000),
            "answer_tokens": (120,),
        } | options
        return make_plan(Options((MODEL,), requests, cached_tokens=cached, **chosen_options), {MODEL: chosen})

    return make


def test_cells_have_both_arms_and_models_without_caches_one(planned, target):
    plan = planned()
    assert {(r.input_tokens, r.cached_tokens) for r in plan.requests} == {
        (n, c) for n in (200, 30_000) for c in (0, 20_000, 80_000)
    }
    assert plan.caches == ((MODEL, 20_000), (MODEL, 80_000))
    without = make_plan(Options(("m",), 10, cached_tokens=(8_192,)), {"m": target("m")})
    assert without.caches == ()
    with pytest.raises(InputError, match="4096"):
        planned(cached=(1_000,))
    with pytest.raises(InputError, match="cached tokens"):
        planned(cached=(0,))


def test_the_price_by_hand(planned, flash_card):
    plan = planned(cached=(20_000,))
    made = 20_000 * flash_card.input + math.ceil(20_000 * flash_card.cache_storage_hour / 6)
    assert making_pusd(plan, MODEL, 20_000) == made
    assert expected_pusd(plan) == made, "a run of seconds ends within the first life"
    (reading,) = {plan.expected_pusd(r) for r in plan.requests if r.cached_tokens and r.input_tokens == 200}
    own, cached, answer = 200 * flash_card.input, 20_000 * flash_card.cached_input, 120 * flash_card.output
    assert reading == own + cached + answer


def test_texts_are_stored_where_they_are_asked_for_and_nowhere_else(planned, tmp_path):
    plan, texts = planned(requests=4, cached=()), tmp_path / "texts.jsonl"
    truth = Truth({MODEL: ModelTruth(LAW)}, time_scale=20.0)
    with running(truth) as url:
        quiet = Settings(url, 10**13, tmp_path / "a.jsonl", limits=Limits(max_lag_s=5.0))
        asyncio.run(measure(plan, quiet))
        assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
        asyncio.run(measure(plan, dataclasses.replace(quiet, samples=tmp_path / "b.jsonl", texts=texts)))
    rows = {row["index"]: row for row in map(json.loads, texts.read_text().splitlines())}
    stored = {sample.index: sample for sample in samples.read(tmp_path / "b.jsonl").samples}
    assert rows.keys() == stored.keys() == {0, 1, 2, 3}
    for index, row in rows.items():
        assert "Now tell a plain story of about" in row["prompt"]
        assert len(row["answer"]) == 4 * stored[index].measured.total.answer
    assert stat.S_IMODE(texts.stat().st_mode) == 0o600
    assert "story" not in (tmp_path / "b.jsonl").read_text()


def test_a_run_reads_its_caches_pays_for_them_and_leaves_none(planned, tmp_path):
    """Through the SDK: the fit sees what a cached token takes, the books hold making and keeping."""
    plan, file = planned(requests=72), tmp_path / "s.jsonl"
    truth = Truth({MODEL: ModelTruth(LAW, output=OutputLaw(sigma=0.1))}, time_scale=5.0)
    with running(truth) as url:
        settings = Settings(url, 10**13, file, limits=Limits(64, max_lag_s=5.0))
        result = asyncio.run(measure(plan, settings))
        with genai.Client(api_key="k", http_options={"base_url": url}) as api:
            assert list(api.caches.list()) == []
    stored = samples.read(file)
    assert result.stopped is None
    hits = {s.cached_target: s.measured.cached_tokens for s in stored.samples}
    assert hits == {0: 0, 20_000: 20_000, 80_000: 80_000}
    assert {s.measured.outcome for s in stored.samples} == {"ok"}
    assert [note.event for note in stored.caches] == ["asked", "made"] * 2 + ["gone"] * 2
    assert stored.left_caches == ()
    least = sum(making_pusd(plan, *key) for key in plan.caches)
    booked = sum(note.cost_pusd for note in stored.caches)
    assert least <= booked <= 1.1 * least
    assert result.spent_pusd == stored.spent_pusd == booked + sum(s.cost_pusd for s in stored.samples)
    fit = fit_model(MODEL, stored.samples, dataclasses.replace(LAW, per_cached_token_s=9.0))
    assert "per_cached_token_s" in fit.fitted
    low, high = fit.intervals["per_cached_token_s"]
    assert low < LAW.per_cached_token_s / 5 < high < LAW.per_uncached_token_s / 5 / 2


class Shop:
    """Stands in for the service; remembers when each cache expires."""

    def __init__(self, fails=()):
        self.expires, self.names, self.deleted, self.fails = {}, 0, [], list(fails)

    async def count_tokens(self, model, text):
        return len(text) // 4

    async def make_cache(self, model, text, life_s):
        self.names += 1
        self.expires[f"c{self.names}"] = asyncio.get_running_loop().time() + life_s
        return f"c{self.names}", len(text) // 4

    async def extend_cache(self, name, life_s):
        if self.fails and self.fails.pop(0):
            raise ServiceError("503")
        self.expires[name] = asyncio.get_running_loop().time() + life_s

    async def delete_cache(self, name):
        self.deleted.append(name)


def kept(virtual, plan, shop, cap_pusd, for_s):
    """Keeps the plan's caches for so long; notes, ledger, why they were given up, whether all lived on."""
    notes, ledger = [], Ledger(cap_pusd)

    async def note(one):
        notes.append(one)

    async def main():
        async with keeping(shop, plan, plan.caches, ledger, note, "n") as held:
            alive = True
            for _ in range(int(for_s // 10)):
                await asyncio.sleep(10)
                now = asyncio.get_running_loop().time()
                alive &= all(at > now for at in shop.expires.values())
            return held.stopped, alive

    return *virtual(main()), notes, ledger


def test_caches_live_as_long_as_the_run_and_every_renewal_is_paid(virtual, planned):
    plan, shop = planned(), Shop(fails=(True, True, False))
    stopped, alive, notes, ledger = kept(virtual, plan, shop, 10**13, 3_600.0)
    assert (stopped, alive) == (None, True)
    assert shop.deleted == ["c1", "c2"]
    assert ledger.spent_pusd == sum(note.cost_pusd for note in notes)
    rate = plan.targets[MODEL].tariff.card.cache_storage_hour
    stored = ledger.spent_pusd - 100_000 * plan.targets[MODEL].tariff.card.input
    assert stored == pytest.approx(100_000 * rate * (3_600 + LIFE_S / 2) / 3_600, rel=0.12)


def test_a_cap_that_has_no_room_ends_the_keeping(virtual, planned):
    plan = planned()
    with pytest.raises(InputError, match="no room"):
        kept(virtual, plan, Shop(), 1_000, 60.0)
    enough = sum(round(1.1 * making_pusd(plan, *key)) for key in plan.caches)
    stopped, _, _, ledger = kept(virtual, plan, Shop(), enough, 3_600.0)
    assert stopped == "spending cap"
    assert ledger.spent_pusd <= enough


def test_what_a_killed_run_left_is_deleted_by_the_next(planned, tmp_path):
    plan, file = planned(requests=6, cached=(20_000,)), tmp_path / "s.jsonl"
    with running(Truth({MODEL: ModelTruth(LAW)}, time_scale=20.0)) as url:
        settings = Settings(url, 10**13, file, limits=Limits(max_requests=1, max_lag_s=5.0))
        with genai.Client(api_key="k", http_options={"base_url": url}) as api:
            left = api.caches.create(model=MODEL, config={"contents": "x" * 80_000, "ttl": "600s"})
            asyncio.run(measure(plan, settings))
            with open(file, "ab") as out:
                out.write(samples._line("cache", samples.CacheNote("made", "t", MODEL, 20_000, left.name)))
            assert samples.read(file).left_caches == (left.name,)
            asyncio.run(measure(plan, dataclasses.replace(settings, resume=True)))
            assert list(api.caches.list()) == []
    assert samples.read(file).left_caches == ()
    assert caches.LIFE_S == 600.0, "what is left expires within ten minutes, as the docs say"
