"""The formulas against the reference cases, and against each other."""

import formulas
import pytest
from cases import read_cases

CASES = read_cases()


def case(id_):
    return CASES[id_].parameters, CASES[id_].metrics


@pytest.mark.parametrize("id_", [name for name in CASES if name.startswith(("mm1-0", "mmc-"))])
def test_erlang_c_gives_the_reference(id_):
    p, exact = case(id_)
    given = p["arrival_rate_per_s"], 1 / p["service_rate_per_s"], p["servers"]
    found = formulas.mmc(*given)
    assert found.p_wait == pytest.approx(exact["p_wait"], rel=1e-10)
    assert found.mean_wait_s == pytest.approx(exact["mean_wait_s"], rel=1e-10)
    assert found.mean_response_s == pytest.approx(exact["mean_response_s"], rel=1e-10)
    assert formulas.mmc_wait_quantile(*given, 0.95) == pytest.approx(exact["p95_wait_s"], rel=1e-10)


@pytest.mark.parametrize("id_", ["erlang-b-01", "erlang-b-02"])
def test_erlang_b_gives_the_reference(id_):
    p, exact = case(id_)
    offered = p["arrival_rate_per_s"] / p["service_rate_per_s"]
    assert formulas.erlang_b(p["servers"], offered) == pytest.approx(exact["p_loss"], rel=1e-10)


def test_the_bounded_queue_gives_the_reference():
    p, exact = case("mmck-01")
    given = p["arrival_rate_per_s"], 1 / p["service_rate_per_s"], p["servers"], p["system_capacity"]
    law = formulas.mmck_law(*given)
    assert law[-1] == pytest.approx(exact["p_loss"], rel=1e-10)
    assert law @ range(16) == pytest.approx(exact["mean_in_system"], rel=1e-10)


@pytest.mark.parametrize("id_", ["md1-01", "mg1-lognormal-01", "mg1-lognormal-02"])
def test_pollaczek_khinchine_gives_the_reference(id_):
    p, exact = case(id_)
    mean_s, cv = p.get("service_mean_s", p.get("service_time_s")), p.get("service_cv", 0.0)
    assert formulas.mg1(p["arrival_rate_per_s"], mean_s, cv).mean_wait_s == pytest.approx(
        exact["mean_wait_s"], rel=1e-10
    )


@pytest.mark.parametrize("share", ["p95", "p99"])
def test_the_law_of_the_wait_in_md1_gives_the_reference(share):
    p, exact = case("md1-01")
    found = formulas.md1_wait_cdf(p["arrival_rate_per_s"], p["service_time_s"], exact[f"{share}_wait_s"])
    assert found == pytest.approx(int(share[1:]) / 100, rel=1e-7)


@pytest.mark.parametrize("id_", ["tandem-01", "tandem-02"])
def test_burke_gives_the_reference(id_):
    p, exact = case(id_)
    stages = [(1 / p[f"node{k}_service_rate_per_s"], p[f"node{k}_servers"]) for k in (1, 2)]
    found = formulas.tandem_response_s(p["arrival_rate_per_s"], stages)
    assert found == pytest.approx(exact["mean_response_s"], rel=1e-10)


@pytest.mark.parametrize("id_", ["fixed-window-01", "fixed-window-02"])
def test_the_fixed_window_gives_the_reference(id_):
    p, exact = case(id_)
    found = formulas.fixed_window_loss(p["arrival_rate_per_s"], p["window_s"], p["limit_requests"])
    assert found == pytest.approx(exact["p_reject"], rel=1e-9)


def test_the_retrial_queue_gives_the_reference():
    p, exact = case("retrial-01")
    given = p["arrival_rate_per_s"], 1 / p["service_rate_per_s"], p["mean_backoff_s"]
    assert formulas.retrial_mean_orbit(*given) == pytest.approx(exact["mean_orbit"], rel=1e-10)


def test_the_bulk_queue_gives_the_reference():
    p, exact = case("batch-arrivals-01")
    rate = p["batch_arrival_rate_per_s"] * p["batch_size_mean"]
    found = formulas.bulk_response_s(rate, [p["batch_size_mean"]], 1 / p["service_rate_per_s"])
    assert found == pytest.approx(exact["mean_response_s"], rel=1e-10)


def test_a_closed_loop_of_many_is_an_open_queue_and_keeps_to_its_bounds():
    throughput, response_s = formulas.finite_source(40_000, 10_000.0, 1.0, 5)  # all but 4 calls a second
    assert throughput == pytest.approx(4.0, rel=1e-3)
    assert response_s == pytest.approx(formulas.mmc(4.0, 1.0, 5).mean_response_s, rel=5e-3)
    for users in (1, 3, 10, 50):
        most, least_s = formulas.asymptotic_bounds(users, 7.0, 1.0, 2)
        throughput, response_s = formulas.finite_source(users, 7.0, 1.0, 2)
        assert throughput <= most * (1 + 1e-12)
        assert response_s >= least_s * (1 - 1e-12)
    assert formulas.finite_source(1, 7.0, 1.0, 2) == pytest.approx((1 / 8, 1.0))


def test_one_server_is_the_same_by_every_road():
    assert formulas.mmc(0.7, 1.0, 1) == pytest.approx(formulas.mg1(0.7, 1.0, 1.0))
    assert formulas.mmck_law(0.7, 1.0, 1, 1)[-1] == pytest.approx(formulas.erlang_b(1, 0.7))
    law = formulas.mmck_law(0.7, 1.0, 1, 400)
    assert law @ range(401) == pytest.approx(0.7 / 0.3)


def test_a_constant_rate_fills_an_infinite_station_exponentially():
    assert formulas.transient_level([2.0] * 200, 1.0, 5.0)[-1] == pytest.approx(10.0)


@pytest.mark.parametrize("times_s", [(20.0, 4.0), (5.0, 1.0), (300.0, 20.0)])
def test_breakdowns_in_closed_form_and_as_a_chain_are_the_same(times_s):
    closed = formulas.mm1_breakdowns_mean(0.4, 1.0, *times_s)
    assert formulas.mmc_breakdowns_mean(0.4, 1.0, 1, *times_s) == pytest.approx(closed, rel=1e-6)


def test_servers_that_never_fail_are_an_mmc():
    found = formulas.mmc_breakdowns_mean(2.0, 1.0, 3, 1e12, 1.0)
    assert found == pytest.approx(2.0 * formulas.mmc(2.0, 1.0, 3).mean_response_s, rel=1e-6)


def test_preemptive_classes_give_the_reference_and_add_up():
    """Two classes of equal means: the closed form of the reference case, with its second mean made equal."""
    rho1, rho = 0.3, 0.7
    exact = [1 / (1 - rho1), 1 / ((1 - rho1) * (1 - rho))]
    assert formulas.preemptive_responses_s([0.3, 0.4], 1.0, 1) == pytest.approx(exact)
