"""The probe in virtual time: caps, pauses, lateness, and a sink that fails."""

import asyncio
import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.plan import Options, make_plan, prompt
from calibration.probe import Limits, Probe
from calibration.samples import Measurement, Totals
from calibration.spend import Ledger, Tariff, cost_pusd, thinking_room
from profiles.errors import InputError

KINDS = ("ok", "throttled", "failed", "timed_out", "cut", "blocked")


def make(target, **options):
    models = options.pop("models", ("pro", "flash"))
    targets = {name: target(name) for name in models}
    chosen = {
        "requests_per_model": 20,
        "rate_per_s": 2.0,
        "input_tokens": (100,),
        "answer_tokens": (50,),
    } | options
    return make_plan(Options(models=models, **chosen), targets)


class Service:
    """A fake service: bills in its own books, more or less than the client learns."""

    def __init__(self, plan, kinds=("ok",), seed=1, takes_s=(0.1, 5.0)):
        self.plan, self.kinds, self.takes_s = plan, kinds, takes_s
        self.random = random.Random(seed)
        self.billed = self.tokens = self.in_flight = self.peak = self.calls = 0
        self.sent_at = []

    async def __call__(self, request):
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.sent_at.append(asyncio.get_running_loop().time())
        kind, took = self.random.choice(self.kinds), self.random.uniform(*self.takes_s)
        tokens = self.random.randint(1, len(prompt(request, "0" * 16).encode()))
        output = self.random.randint(0, request.output_bound)
        await asyncio.sleep(took)
        self.in_flight -= 1
        refused = kind in ("throttled", "failed")
        if not refused:
            self.tokens += tokens + output
            self.billed += cost_pusd(self.plan.targets[request.model].tariff.card, tokens, 0, output)
        known = kind in ("ok", "blocked")
        return Measurement(
            kind,
            first_chunk_s=took,
            last_chunk_s=took,
            end_s=took,
            total=Totals(0, output) if known else None,
            input_tokens=tokens if known else None,
            code=503 if kind == "failed" else None,
            retry_s=3.0 if kind == "throttled" else None,
            billed=not refused,
        )


def run(virtual, plan, service, ledger, **options):
    stored = []

    async def sink(sample):
        await asyncio.sleep(0.001)
        stored.append(sample)

    async def main():
        return await Probe(plan, service, sink, ledger, **options).run()

    return virtual(main()), stored


@settings(max_examples=60, deadline=None)
@given(
    cap=st.integers(0, 2 * 10**11),
    in_flight=st.integers(1, 64),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_the_cap_holds_under_any_mix_of_faults(virtual, target, cap, in_flight, kinds, seed):
    plan = make(target, rate_per_s=20.0, seed=seed)
    service, ledger = Service(plan, kinds, seed), Ledger(cap)
    result, stored = run(virtual, plan, service, ledger, limits=Limits(max_in_flight=in_flight))
    assert service.billed <= ledger.spent_pusd <= cap
    assert ledger.reserved_pusd == 0
    assert service.peak <= in_flight
    assert len(stored) == service.calls == result.sent
    assert sum(sample.cost_pusd for sample in stored) == ledger.spent_pusd
    if result.stopped is None:
        assert service.calls == len(plan.requests)


def test_requests_leave_when_planned_however_slow_the_service(virtual, target):
    plan = make(target)
    service = Service(plan, takes_s=(30.0, 30.0))
    result, stored = run(virtual, plan, service, Ledger(10**12), limits=Limits(max_in_flight=64))
    due = [request.at_s - plan.requests[0].at_s for request in plan.requests]
    assert service.sent_at == pytest.approx(due)
    assert result.late == 0
    assert {sample.void for sample in stored} == {None, "warm_up"}


def test_waiting_for_a_slot_is_lateness_not_a_new_intention(virtual, target):
    plan = make(target)
    result, stored = run(
        virtual, plan, Service(plan, takes_s=(5.0, 5.0)), Ledger(10**12), limits=Limits(max_in_flight=2)
    )
    assert result.late > 30
    assert max(sample.sent_s - sample.intended_s for sample in stored) > 50


def test_a_429_pauses_all_and_moves_the_schedule(virtual, target):
    plan = make(target, requests_per_model=10)

    class Once(Service):
        async def __call__(self, request):
            self.kinds = ("throttled",) if self.calls == 3 else ("ok",)
            return await super().__call__(request)

    service = Once(plan, takes_s=(0.01, 0.01))
    result, _ = run(virtual, plan, service, Ledger(10**12))
    gaps = [b - a for a, b in zip(service.sent_at, service.sent_at[1:], strict=False)]
    assert gaps[3] >= 3.0
    assert result.late == 0
    due = [request.at_s for request in plan.requests]
    assert gaps[4:] == pytest.approx([b - a for a, b in itertools.pairwise(due[4:])], abs=1e-6)


@pytest.mark.parametrize(
    ("limits", "reason"), [(Limits(max_requests=7), "request cap"), (Limits(max_minutes=0.05), "time cap")]
)
def test_hard_limits_stop_the_run(virtual, target, limits, reason):
    plan = make(target)
    service = Service(plan)
    result, _ = run(virtual, plan, service, Ledger(10**12), limits=limits)
    assert result.stopped == reason
    assert (
        service.calls
        == (limits.max_requests or sum(at <= 3.0 for at in service.sent_at))
        < len(plan.requests)
    )


@pytest.mark.parametrize("heeds", [True, False])
def test_a_run_ends_within_its_minutes(virtual, target, heeds):
    """Nothing is sent that would hardly end in time; what is cut off is booked at its worst."""
    plan = make(target, requests_per_model=100)
    service = Service(plan, takes_s=(8.0, 10.0))
    service.random.seed(3)
    took, timeouts_s, ledger = [], [], Ledger(10**13)

    async def send(request):
        timeouts_s.append(request.timeout_s)
        stuck = len(timeouts_s) == 60
        try:
            async with asyncio.timeout(request.timeout_s if heeds else None):
                return await (asyncio.sleep(10_000) if stuck else service(request))
        except TimeoutError:
            return Measurement("timed_out", end_s=request.timeout_s)

    async def timed(*given, **more):
        start = asyncio.get_running_loop().time()
        result = await Probe(*given, **more).run()
        took.append(asyncio.get_running_loop().time() - start)
        return result

    stored = []

    async def sink(sample):
        stored.append(sample)

    limits = Limits(max_in_flight=64, max_minutes=1.0)
    result = virtual(timed(plan, send, sink, ledger, limits=limits))
    assert result.stopped == "time cap"
    assert 58.0 < took[0] <= (60.0 if heeds else 61.0) + 1e-6
    assert 60 < len(timeouts_s) < 200
    outcomes = [sample.measured.outcome for sample in stored]
    assert outcomes.count("timed_out") == heeds
    assert len(outcomes) == result.sent - (not heeds)
    assert (ledger.reserved_pusd > 0) == (not heeds), "what nobody heard of again stays reserved"
    if heeds:
        (cut,) = [sample for sample in stored if sample.measured.outcome == "timed_out"]
        assert cut.timeout_s == pytest.approx(60.0 - cut.sent_s)
        assert cut.cost_pusd == plan.worst_pusd(plan.requests[cut.index])


def test_failures_in_a_row_and_refusals_stop_the_run(virtual, target):
    plan = make(target)
    result, _ = run(virtual, plan, Service(plan, ("failed",)), Ledger(10**12), limits=Limits(max_in_flight=1))
    assert result.sent == 10
    assert "failures in a row" in result.stopped

    async def refuse(_):
        return Measurement("failed", code=403, status="PERMISSION_DENIED", billed=False)

    result, _ = run(virtual, plan, refuse, Ledger(10**12), limits=Limits(max_in_flight=1))
    assert result.sent == 1
    assert result.stopped.startswith("refused: 403")


def test_a_service_that_bills_above_the_bound_ends_the_run(virtual, target):
    plan = make(target)

    async def greedy(request):
        return Measurement("ok", total=Totals(0, request.output_bound + 1), input_tokens=10**5)

    result, _ = run(virtual, plan, greedy, Ledger(10**13), limits=Limits(max_in_flight=1))
    assert result.sent == 1
    assert result.stopped == "billed above the worst case"


@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_sample_that_cannot_be_stored_ends_the_spending(virtual, target, in_flight):
    plan, service = make(target), None
    service = Service(plan, takes_s=(0.1, 0.1))

    async def full(_):
        raise OSError(28, "No space left on device")

    async def main():
        await Probe(plan, service, full, Ledger(10**12), limits=Limits(max_in_flight=in_flight)).run()

    with pytest.raises(OSError, match="No space"):
        virtual(main())
    assert service.calls <= in_flight


def test_the_probers_own_lag_voids_samples(target):
    """In real time: one call that blocks the event loop spoils the clocks of those beside it."""
    plan = make(target, rate_per_s=200.0)

    async def send(request):
        await asyncio.sleep(0.02)
        if request.index == 10:
            time.sleep(0.3)
        return Measurement("failed" if request.index == 39 else "ok", total=Totals(0, 5), input_tokens=5)

    stored = []

    async def sink(sample):
        stored.append(sample)

    result = asyncio.run(Probe(plan, send, sink, Ledger(10**12)).run())
    spoilt = [sample for sample in stored if sample.void == "prober_lag"]
    assert result.max_lag_s > 0.2
    assert spoilt
    assert all(sample.lag_s > 0.1 for sample in spoilt)


def test_cancelling_leaves_what_was_in_flight_reserved(virtual, target):
    plan, ledger = make(target), Ledger(10**12)
    service = Service(plan, takes_s=(1000.0, 1000.0))

    async def main():
        async def sink(_):
            pass

        task = asyncio.create_task(Probe(plan, service, sink, ledger).run())
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual(main())
    assert service.calls > 0
    in_flight = plan.requests[: service.calls]
    assert ledger.reserved_pusd >= sum(plan.worst_pusd(request) for request in in_flight)


def test_resuming_sends_only_what_is_missing(virtual, target):
    plan = make(target)
    done = set(range(0, 40, 2))
    service = Service(plan)
    result, stored = run(virtual, plan, service, Ledger(10**12), done=done)
    assert {sample.index for sample in stored} == set(range(40)) - done
    assert result.sent == 20


def test_plans_interleave_models_and_are_reproducible(target):
    plan = make(target, requests_per_model=30, blocks=3, block_gap_s=100.0)
    assert plan.digest == make(target, requests_per_model=30, blocks=3, block_gap_s=100.0).digest
    assert plan.digest != make(target, requests_per_model=30, blocks=3, block_gap_s=100.0, seed=2).digest
    pairs = [{plan.requests[i].model, plan.requests[i + 1].model} for i in range(0, 60, 2)]
    assert pairs == [{"pro", "flash"}] * 30
    assert [request.block for request in plan.requests] == sorted([0, 1, 2] * 20)
    gaps = [b.at_s - a.at_s for a, b in zip(plan.requests, plan.requests[1:], strict=False)]
    assert sum(gap > 100 for gap in gaps) == 2


def test_prompts_have_their_length_and_no_common_start(target):
    plan = make(target, input_tokens=(128, 4096), answer_tokens=(50, 100))
    texts = [prompt(request, "0123456789abcdef") for request in plan.requests]
    assert len({text[:24] for text in texts}) == len(texts)
    for request, text in zip(plan.requests, texts, strict=True):
        assert len(text) / 4 == pytest.approx(request.input_tokens, abs=3)
        assert f"about {request.answer_tokens} tokens" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_per_s": 0.0},
        {"rate_per_s": float("nan")},
        {"requests_per_model": 0},
        {"input_tokens": (0,)},
        {"models": ("a", "a")},
        {"levels": ("low",)},
        {"input_tokens": (2 * 10**6,)},
    ],
)
def test_impossible_plans_are_refused(target, wrong):
    with pytest.raises(InputError):
        make(target, **wrong)


def test_room_for_thoughts_is_inside_the_cap(target):
    targets = {"m": target("m", {"low": thinking_room(200, 0.8, 65_536)})}
    plan = make_plan(Options(("m",), input_tokens=(100,), answer_tokens=(50,)), targets)
    assert plan.requests[0].level == "low"
    assert plan.requests[0].max_output_tokens == 2000 + 100


def test_costs_by_hand(flash_card):
    card = flash_card
    assert cost_pusd(card, 1000, 200, 50) == 800 * card.input + 200 * card.cached_input + 50 * card.output
    lost = Measurement("timed_out")
    assert Tariff(card).billed_pusd(lost, 123) == 123
    assert Tariff(card).billed_pusd(Measurement("throttled", billed=False), 123) == 0


@settings(max_examples=30, deadline=None)
@given(
    cap=st.integers(0, 20_000),
    in_flight=st.integers(1, 64),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_the_cap_on_tokens_holds_as_that_on_money_does(virtual, target, cap, in_flight, kinds, seed):
    plan = make(target, rate_per_s=20.0, seed=seed)
    service, ledger = Service(plan, kinds, seed), Ledger(10**13)
    result, _ = run(virtual, plan, service, ledger, limits=Limits(in_flight, max_tokens=cap))
    assert service.tokens <= cap
    assert result.stopped in (None, "token cap") or "in a row" in result.stopped
    assert ledger.reserved_pusd == 0


def test_a_busy_prober_voids_its_samples(target):
    """In real time: the CPU clock that is watched runs at nine tenths of a core, then stands still."""
    plan = make(target, requests_per_model=60, rate_per_s=60.0)
    busy = [True]

    async def send(request):
        await asyncio.sleep(0.02)
        busy[0] = request.index < 80
        return Measurement("ok", total=Totals(0, 5), input_tokens=5)

    stored, last, used = [], [time.monotonic()], [0.0]

    def cpu_s():
        now = time.monotonic()
        used[0] += (now - last[0]) * (0.9 if busy[0] else 0.0)
        last[0] = now
        return used[0]

    async def sink(sample):
        stored.append(sample)

    asyncio.run(Probe(plan, send, sink, Ledger(10**12), limits=Limits(max_lag_s=5.0), cpu_s=cpu_s).run())
    void = {sample.index: sample.void for sample in stored}
    known = [sample for sample in stored if sample.cpu_share is not None]
    assert len(known) < len(stored), "in the first second a share says nothing"
    assert {"prober_busy"} == {void[s.index] for s in known if s.index < 80 and s.cpu_share > 0.6}
    assert void[119] != "prober_busy" or stored[-1].cpu_share > 0.5
    assert all((s.cpu_share > 0.5) == (s.void == "prober_busy") for s in known if s.void != "warm_up")
