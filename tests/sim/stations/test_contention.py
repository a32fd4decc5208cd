"""A priority threshold on capacity that others press upon."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from small import catalog, constant, fingerprint, payg, request_class, run, scenario

from profiles.errors import InputError
from sim.audit.checks import audit
from sim.audit.limits import limit_checks
from sim.money.costs import bill
from sim.records import Outcome, Reason

PRESSED = {"threshold_tpm": 3_000, "refused_share": 0.7, "pressed_s": 200.0, "relaxed_s": 600.0}


def contended(duration_s=3_600.0, client=None, **more):
    endpoint = payg(constant(1.0), contention=PRESSED | more)
    tokens = {"input_tokens": {"kind": "uniform", "low": 50.0, "high": 150.0}}
    classes = {"a": request_class(1.0, **tokens)}
    more = {"client": client} if client else {}
    return scenario({"p": endpoint}, classes, duration_s=duration_s, start="2026-11-22T00:00:17", **more)


def refused(records):
    return records.attempts.reason == Reason.CONTENTION


def test_nobody_below_the_threshold_is_refused_and_some_above_it_are():
    records = run(contended())
    a, tokens, used, minute = records.attempts, records.workload.input_tokens, 0, None
    excess = []
    for row in np.argsort(a.send_s, kind="stable"):
        now = (a.send_s[row] + 17) // 60
        used, minute = (used if now == minute else 0), now
        above = used + tokens[a.request[row]] > 3_000
        excess.append(above)
        assert above or a.outcome[row] == Outcome.SERVED
        used += int(tokens[a.request[row]]) if a.outcome[row] == Outcome.SERVED else 0
    assert 0.3 < np.mean(excess) < 0.7
    assert 0 < refused(records).sum() < sum(excess)


def test_the_share_refused_is_that_of_the_process():
    """All calls in excess: refused_share times the share of time under pressure, 0.7 * 200 / 800."""
    records = run(contended(200_000.0, threshold_tpm=1))
    assert refused(records).mean() == pytest.approx(0.7 * 0.25, rel=0.12)
    # refusals come in stretches about as long as the pool is pressed, not evenly
    minutes = np.bincount((records.attempts.send_s[refused(records)] // 60).astype(int), minlength=3_333)
    assert (minutes == 0).mean() > 0.5
    assert minutes.max() > 30


def test_pressure_does_not_depend_on_who_calls():
    calm, eager = (run(contended(client={"max_attempts": n}, threshold_tpm=1)) for n in (1, 6))
    first = eager.attempts.number == 1
    one, other = refused(calm), refused(eager)[first][np.argsort(eager.attempts.send_s[first], kind="stable")]
    assert one[np.argsort(calm.attempts.send_s, kind="stable")].tolist() == other.tolist()


def test_no_share_refused_is_no_contention():
    plain = contended()
    plain = plain.model_copy(
        update={"endpoints": {"p": plain.endpoints["p"].model_copy(update={"contention": None})}}
    )
    assert fingerprint(run(contended(refused_share=0.0))) == fingerprint(run(plain))


def test_the_audit_sees_a_refusal_below_the_threshold():
    spec = contended()
    records = run(spec)

    def verdict(rows):
        found = {check.name: check.passed for check in limit_checks(rows, spec, catalog())}
        return found["contention, p"]

    assert verdict(records)
    reason = records.attempts.reason.copy()
    reason[0] = Reason.CONTENTION  # the first call of the run
    assert not verdict(replace(records, attempts=replace(records.attempts, reason=reason)))


# --- hours of a day, and classes of service ---------------------------------------------------


def by_hours(shares, duration_s=3 * 3_600.0, start="2026-11-22T08:30:00", timezone="UTC", **more):
    spec = payg(constant(0.1), contention={"threshold_tpm": 1, "refused_by_hour": shares}, **more)
    return scenario(
        {"p": spec}, {"a": request_class(2.0)}, duration_s=duration_s, start=start, timezone=timezone
    )


def audited(spec):
    records = run(spec)
    found = audit(records, spec, catalog(), bill(records, spec, catalog()))
    assert found.passed, found.failures
    return records


def pressed_at(*hours, share=1.0):
    return [share if hour in hours else 0.0 for hour in range(24)]


def test_the_hours_of_the_clock_on_the_wall_decide():
    records = audited(by_hours(pressed_at(9, 11), start="2026-11-22T08:30:00"))
    sent_s, tokens = records.attempts.send_s, records.workload.input_tokens[records.attempts.request]
    inside = ((sent_s >= 1_800) & (sent_s < 5_400)) | (sent_s >= 9_000)
    assert (tokens == 1).all()
    # one token a minute is below the threshold, so the first call of each minute passes
    assert np.array_equal(refused(records)[~inside], np.zeros((~inside).sum(), dtype=bool))
    assert refused(records)[inside].mean() == pytest.approx(1 - 1 / 120, abs=0.005)


def test_a_share_is_a_share():
    spec = by_hours(pressed_at(*range(24), share=0.3))
    excess = audited(spec)
    assert refused(excess).mean() == pytest.approx(0.3, abs=0.012)


def test_an_hour_that_comes_twice_is_pressed_twice():
    """Clocks go back in Berlin on 2026-10-25 at 03:00: hour 2 lasts two hours."""
    spec = by_hours(pressed_at(2), 5 * 3_600.0, "2026-10-25T00:00:00", "Europe/Berlin")
    sent_s = (lambda r: r.attempts.send_s[refused(r)])(audited(spec))
    assert sent_s.min() == pytest.approx(7_200, abs=5)
    assert sent_s.max() == pytest.approx(14_400, abs=5)


def test_priority_is_never_refused_and_flex_has_no_threshold():
    def share(service):
        contention = {"threshold_tpm": 60, "refused_by_hour": pressed_at(*range(24), share=0.5)}
        spec = scenario(
            {"p": payg(constant(0.1), contention=contention, service=service)}, {"a": request_class(2.0)},
            duration_s=3_600.0,
        )  # fmt: skip
        return refused(audited(spec)).mean()

    assert share("priority") == 0.0
    assert share("flex") == pytest.approx(0.5, abs=0.03)
    assert 0.1 < share("standard") < share("flex")


def test_one_pressure_is_given():
    for wrong in ({}, {"refused_share": 0.1, "refused_by_hour": [0.1] * 24}, {"refused_by_hour": [0.1] * 23}):
        with pytest.raises(InputError, match=r"endpoints\.p\.contention"):
            scenario({"p": payg(contention={"threshold_tpm": 1} | wrong)})
