"""Conversations of a log, described, fitted and drawn again; and the page that shows a load."""

import json
import re

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from profiles.errors import InputError
from profiles.yaml_io import to_yaml
from sim.commands.workload_cli import app
from sim.luck import Luck
from sim.report.load_page import render_load
from sim.scenario.file import load_scenario, parse_scenario
from sim.workload.fit import scenario_of
from sim.workload.importers import import_log
from sim.workload.loads import Load, dispersion_curve, figures, of_workload, write_load
from sim.workload.sample import sample
from sim.workload.session_fit import fit_session_class, session_figures

SERVICE_S = 3.0


def conversations(n=2_000, seed=1, carries=True):
    """Chats as a stranger would make them: geometric turns, lognormal pauses, prompts that grow."""
    rng = np.random.default_rng(seed)
    columns = [[], [], [], [], []]
    start, before = 0.0, 0
    for session in range(n):
        start += rng.exponential(20.0)
        now, prompt = start, 800 + int(rng.integers(0, 50))
        for turn in range(int(rng.geometric(0.35))):
            prompt += int(rng.lognormal(4.0, 0.7))
            answer = int(rng.lognormal(5.0, 0.5))
            shown = prompt if carries else int(rng.lognormal(6, 1)) + 1
            cached = 0 if turn == 0 else int(0.9 * before)
            for column, value in zip(columns, (now, shown, answer, cached, session), strict=True):
                column.append(value)
            before, prompt = shown, prompt + answer
            now += SERVICE_S + rng.lognormal(3.5, 1.0)
    time, inputs, outputs, cached, session = map(np.array, columns)
    load = Load(time, inputs, outputs, cached, session, np.full(len(time), SERVICE_S))
    return load.at(time)


def drawn_from(plain, duration_s):
    scenario = parse_scenario(yaml.safe_load(to_yaml(scenario_of(plain, duration_s, "chats", "A test."))))
    return of_workload(sample(scenario, Luck(1)))


def test_sessions_are_described_by_turns_pauses_and_growth():
    load = conversations()
    found = session_figures(load)
    assert found.sessions == 2_000
    assert found.single_share == pytest.approx(0.35, abs=0.03)
    assert found.turns[0] == 2
    assert found.pause_excludes_service
    assert found.pause_s[0] == pytest.approx(np.exp(3.5), rel=0.05)  # the service's own three seconds are out
    assert found.grown_tokens[0] == pytest.approx(np.exp(4.0), rel=0.05)
    assert found.carries_history
    assert not session_figures(conversations(carries=False)).carries_history
    assert session_figures(load.take(np.arange(0))) is None
    assert session_figures(Load(np.arange(5.0), *np.ones((2, 5), dtype=np.int64))) is None


def test_fitted_conversations_come_back():
    load = conversations()
    fitted = fit_session_class(load)
    assert fitted["session"]["carries_history"]
    assert "max_context_tokens" not in fitted["session"]  # nothing was ever cut
    got = drawn_from(fitted, fitted["arrivals"]["span_s"])
    a, b = session_figures(load), session_figures(got)
    assert b.sessions == pytest.approx(a.sessions, abs=1)
    assert b.turns == pytest.approx(a.turns, rel=0.15)
    assert b.pause_s == pytest.approx(a.pause_s, rel=0.15)
    assert b.grown_tokens[:2] == pytest.approx(a.grown_tokens[:2], rel=0.1)
    asked, found = figures(load), figures(got)
    assert found.mean_input_tokens == pytest.approx(asked.mean_input_tokens, rel=0.05)
    assert found.input_tokens[:2] == pytest.approx(asked.input_tokens[:2], rel=0.1)
    assert found.cached_share == pytest.approx(asked.cached_share, rel=0.05)


@pytest.mark.parametrize("carries", [True, False])
def test_answers_that_go_with_their_messages_do_so_again(carries):
    fitted = fit_session_class(conversations(700, carries=carries), 0.01)
    assert abs(fitted["rank_correlation"]) < 0.1  # drawn apart
    together = drawn_from(fitted | {"rank_correlation": 0.6}, 70_000.0)
    assert fit_session_class(together, 0.01)["rank_correlation"] == pytest.approx(0.6, abs=0.05)


def test_prompts_that_do_not_grow_keep_their_own_law():
    load = conversations(carries=False)
    fitted = fit_session_class(load)
    got = drawn_from(fitted, fitted["arrivals"]["span_s"])
    assert figures(got).input_tokens == pytest.approx(figures(load).input_tokens, rel=0.1)


def test_public_coding_sessions_keep_context_turns_and_cache(trace_folder):
    columns = {"time": "t_s", "cached": "shared_prefix_tokens", "elapsed": "api_time_s"}
    path = trace_folder / "coding_agent_sessions_a.csv.gz"
    load = import_log(path, "csv", columns, lenient=True).load
    with pytest.raises(InputError, match="--starts-per-hour"):
        fit_session_class(load)
    got = drawn_from(fit_session_class(load, 10 / 3_600), 20 * 86_400.0)
    a, b = session_figures(load), session_figures(got)
    assert b.turns == pytest.approx(a.turns, rel=0.2)
    assert b.pause_s[:2] == pytest.approx(a.pause_s[:2], rel=0.2)
    asked, found = figures(load), figures(got)
    assert found.mean_input_tokens == pytest.approx(asked.mean_input_tokens, rel=0.1)
    assert found.cached_share == pytest.approx(asked.cached_share, abs=0.02)


def test_too_few_sessions_are_refused():
    with pytest.raises(InputError, match="0 sessions in the log; right: at least 30"):
        fit_session_class(Load(np.arange(5.0), *np.ones((2, 5), dtype=np.int64)))


# --- commands and the page ---------------------------------------------------------------------------


def test_the_command_writes_a_closed_load_that_runs(tmp_path):
    write_load(conversations(300), tmp_path / "chats.csv")
    words = ["fit", tmp_path / "chats.csv", "--sessions", "--out", tmp_path / "chats.yaml", "--json"]
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["log"]["sessions"] == 300
    assert told["sample"]["mean_input_tokens"] == pytest.approx(told["log"]["mean_input_tokens"], rel=0.1)
    assert load_scenario(tmp_path / "chats.yaml").classes["fitted"].session is not None


def test_the_page_shows_every_plot_and_reads_no_name_as_markup(tmp_path):
    text = render_load(conversations(300), "<script>alert(1)</script>.csv")
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.csv" in text
    assert len(re.findall(r'<div class="chart" id="chart-', text)) == 5
    assert "https://" not in text.split('<script type="application/json"')[0]
    plain = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)[1])
    assert set(plain) == {f"chart-{n}" for n in ("rate", "dispersion", "lengths", "together", "sessions")}
    rate = plain["chart-rate"]["light"]["data"][0]["y"]
    assert min(rate) >= 0
    assert text == render_load(conversations(300), "<script>alert(1)</script>.csv")
    without = Load(np.arange(9.0), *np.arange(1, 19).reshape(2, 9))
    assert 'id="chart-sessions"' not in render_load(without, "few")
    with pytest.raises(InputError, match="3 or more at different times"):
        render_load(Load(np.zeros(9), *np.ones((2, 9), dtype=np.int64)), "tied")


def test_the_dispersion_curve_of_a_poisson_process_is_flat():
    times = np.cumsum(np.random.default_rng(1).exponential(0.1, 200_000))
    curve = dispersion_curve(times)
    assert len(curve) == 25
    assert all(value == pytest.approx(1, abs=0.2) for window, value in curve if window < 100)
    assert dispersion_curve(np.zeros(3)) == []
