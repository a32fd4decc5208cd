"""The shipped catalogue: names, aliases by date, founding figures, grades, and what stays unknown."""

import pickle
import re
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from profiles import InputError, load_catalog
from profiles.base import CHANNELS
from profiles.quality import ability_from_score, mean_success

CATALOG = load_catalog()
TODAY = date(2026, 11, 22)
PRO, FLASH = CATALOG.models["gemini-2.0-pro"], CATALOG.models["gemini-2.0-flash"]


def founding(profile, metric):
    found = [row for row in profile.observations if row.metric == metric and row.source == "FOUND"]
    assert [row.grade for row in found] == ["assumed"]
    return found[0].value


def test_sixteen_models():
    assert len(CATALOG.names) == 16
    assert CATALOG.names[-1] == "gemini-4-argon"


@pytest.mark.parametrize(
    ("on", "pro", "flash"),
    [
        (date(2025, 2, 5), "gemini-2.0-pro", "gemini-2.0-flash"),
        (date(2025, 6, 16), "gemini-2.0-pro", "gemini-2.0-flash"),
        (date(2025, 6, 17), "gemini-2.5-pro", "gemini-2.5-flash"),
        (date(2025, 12, 24), "gemini-3-pro-preview", "gemini-3-flash-preview"),
        (date(2026, 5, 20), "gemini-3.1-pro-preview", "gemini-3.5-flash"),
        (date(2026, 9, 30), "gemini-3.1-pro-preview", "gemini-3.8-flash"),
        (TODAY, "gemini-4-argon", "gemini-3.8-flash"),
        (date(2030, 1, 1), "gemini-4-argon", "gemini-3.8-flash"),
    ],
)
def test_the_pair_of_a_day(on, pro, flash):
    assert CATALOG.model("pro", on).name == pro
    assert CATALOG.model("flash", on).name == flash


@pytest.mark.parametrize("alias", ["pro", "flash", "flash-lite"])
def test_aliases_cover_every_day_once_and_name_their_family(alias):
    rows = [row for row in CATALOG.aliases if row.alias == alias]
    for earlier, later in pairwise(rows):
        assert earlier.valid_to == later.valid_from
    assert rows[-1].valid_to is None
    for row in rows:
        model = CATALOG.models[row.model]
        assert model.family == alias
        assert row.valid_from == model.released
        if model.status_on(row.valid_from) in {"preview", "experimental"}:
            assert row.note


def test_a_preview_behind_an_alias_is_said():
    assert "preview" in CATALOG.alias_note("pro", date(2026, 5, 1))
    assert "never priced" in CATALOG.alias_note("pro", date(2025, 3, 1))
    assert CATALOG.alias_note("flash", date(2025, 7, 1)) is None


def test_api_ids_are_aliases():
    assert CATALOG.model("gemini-2.0-flash-001", TODAY).name == "gemini-2.0-flash"
    assert CATALOG.model("gemini-flash-latest", TODAY).name == "gemini-3.8-flash"


@pytest.mark.parametrize(
    ("name", "on", "problem"),
    [
        ("gemini-3.8-flesh", TODAY, "did you mean 'gemini-3.8-flash'"),
        ("flush", TODAY, "did you mean 'flash'"),
        ("zebra", TODAY, "unknown model 'zebra'; `profiles list`"),
        ("pro", date(2024, 12, 1), "stands for no model on 2024-12-01: known from 2025-02-05"),
    ],
)
def test_unknown_names(name, on, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        CATALOG.model(name, on)


def test_founding_figures_are_kept_beside_the_vendor_s():
    assert founding(PRO, "context_tokens") == 2_097_152 == PRO.context_tokens
    assert founding(FLASH, "context_tokens") == 1_048_576 == FLASH.context_tokens
    assert founding(PRO, "max_output_tokens") == founding(FLASH, "max_output_tokens") == 8_192
    assert founding(PRO, "knowledge_cutoff") == founding(FLASH, "knowledge_cutoff") == "2024-06"
    assert PRO.status_on(date(2025, 3, 1)) == "experimental"
    assert FLASH.status_on(date(2025, 3, 1)) == "ga"
    assert (PRO.relative_latency.value, FLASH.relative_latency.value) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("profile", "scores"),
    [
        (PRO, {"MMLU": 90.0, "HumanEval": 85.7, "MATH": 52.9}),
        (FLASH, {"MMLU": 87.2, "HumanEval": 78.3, "MATH": 44.6}),
    ],
)
def test_founding_scores_are_their_own_graded_observations(profile, scores):
    rows = [row for row in profile.quality.observations if row.source == "FOUND"]
    assert {row.benchmark: row.score for row in rows} == scores
    assert {row.grade for row in rows} == {"assumed"}
    vendor = [
        r.score for r in profile.quality.observations if r.benchmark == "MATH" and r.source == "BENCH20"
    ]
    assert vendor == [91.8 if profile is PRO else 90.9]


def test_the_assumed_2_0_pair_keeps_the_founding_latency_ratio():
    pro, flash = PRO.latency, FLASH.latency
    assert pro.base_s / flash.base_s == pytest.approx(2.0)
    assert pro.decode_s_per_token / flash.decode_s_per_token == pytest.approx(2.0)


@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_flash_answers_about_twice_as_fast_as_pro_today(level):
    def median_s(alias):
        model = CATALOG.model(alias, TODAY)
        law, thinking = model.latency.law, model.thinking.law(level)
        prefill = law.base_s + 2_000 * law.per_uncached_token_s
        return prefill + (thinking.median_tokens + 500) * law.decode_s_per_token

    assert 1.8 < median_s("pro") / median_s("flash") < 3.0


def test_unknown_stays_unknown():
    argon = CATALOG.models["gemini-4-argon"]
    assert argon.lifecycle.sla_percent.value is None
    with pytest.raises(InputError, match="no throughput per GSU has been published"):
        argon.require_throughput()
    with pytest.raises(
        InputError, match="the quota of tier1 on gemini_api is unknown; shown only in the console"
    ):
        argon.quota("gemini_api", "tier1")
    lite = CATALOG.models["gemini-3.1-flash-lite"].quota("gemini_api", "tier1")
    assert lite.limit("batch_enqueued_tokens") == 10_000_000
    with pytest.raises(InputError, match="rpm is unknown"):
        lite.limit("rpm")
    no_limit = CATALOG.models["gemini-2.5-pro"].quota("gemini_api", "tier3")
    assert no_limit.limit("rpd") is None
    for profile in CATALOG.models.values():
        assert profile.memory_per_instance_gb.value is None


def test_quotas_of_the_last_published_table():
    row = CATALOG.models["gemini-2.5-flash"].quota("gemini_api", "tier1", TODAY)
    assert (row.rpm, row.input_tpm, row.rpd, row.batch_enqueued_tokens) == (
        1_000,
        1_000_000,
        10_000,
        3_000_000,
    )


def test_throughput_of_the_official_examples():
    flash = CATALOG.models["gemini-2.5-flash"].require_throughput()
    for gsu, window_s, budget in ((1, 120, 322_800), (25, 30, 2_017_500), (250, 5, 3_362_500)):
        window = flash.window(gsu)
        assert (window.window_s, window.grade) == (window_s, "published")
        assert gsu * window.window_s * flash.tokens_per_s_per_gsu == budget
    assert flash.window(2).grade == "assumed"
    used = CATALOG.models["gemini-3.6-flash"].require_throughput()
    tokens_per_s = 10 * (1_500 * used.rate("input") + 300 * used.rate("output"))
    assert tokens_per_s / used.tokens_per_s_per_gsu == pytest.approx(44.4, abs=0.1)


def test_long_prompts_burn_faster_and_missing_rates_are_said():
    pro = CATALOG.models["gemini-2.5-pro"].require_throughput()
    assert (pro.rate("thinking", 200_000), pro.rate("thinking", 200_001)) == (8, 12)
    with pytest.raises(InputError, match="'cached_input' for long prompts is unknown"):
        pro.rate("cached_input", 300_000)
    with pytest.raises(InputError, match="0 GSU cannot be ordered"):
        pro.window(0)


def test_the_reservation_credit_ends_with_the_year():
    flash = CATALOG.models["gemini-3.8-flash"].require_throughput()
    assert (flash.credit(date(2026, 12, 31)), flash.credit(date(2027, 1, 1))) == (0.5, 0.0)


def test_life_by_channel():
    pro = CATALOG.models["gemini-2.5-pro"]
    assert pro.ends_on("vertex") == date(2026, 10, 20)
    assert not pro.available(TODAY, "vertex")
    assert pro.available(TODAY, "gemini_api")
    assert pro.status_on(date(2026, 12, 1)) == "retired"
    assert pro.status_on(date(2025, 6, 16)) is None
    assert CATALOG.models["gemini-2.0-pro"].status_on(date(2025, 3, 25)) == "retired"
    with pytest.raises(InputError, match="not offered on vertex"):
        PRO.ends_on("vertex")


def test_no_figure_is_graded_above_its_source():
    def check(data):
        if isinstance(data, dict):
            if "grade" in data and data.get("source") in CATALOG.sources:
                assert data["grade"] in {CATALOG.sources[data["source"]].grade, "assumed"}, data
            for value in data.values():
                check(value)
        elif isinstance(data, list):
            for value in data:
                check(value)

    for profile in CATALOG.models.values():
        check(profile.model_dump(mode="json"))
    check(CATALOG.platform.model_dump(mode="json"))


def test_abilities_follow_their_rule():
    for profile in CATALOG.models.values():
        for found in (profile.quality.ability, *profile.quality.by_task.values()):
            assert found.value == found.rule.derive(lambda name: CATALOG.models[name].ability), profile.name


def test_abilities_at_a_type_of_task_rest_on_scores_that_both_models_have():
    """Every score on pictures or code that a reference model has, too, is used, and as stated."""
    anchors = {
        "MMMU-Pro": ("vision", "gemini-3.1-pro-preview"),
        "SWE-bench Verified": ("coding", "gemini-3.1-pro-preview"),
        "SWE-Bench Pro": ("coding", "gemini-3.8-flash"),
    }
    for name, profile in CATALOG.models.items():
        scores = {row.benchmark: row.score for row in profile.quality.observations}
        shared = {one for one, (_, anchor) in anchors.items() if one in scores and name != anchor}
        assert {found.rule.benchmark for found in profile.quality.by_task.values()} == shared, name
        for task, found in profile.quality.by_task.items():
            where, anchor = anchors[found.rule.benchmark]
            theirs = {row.benchmark: row.score for row in CATALOG.models[anchor].quality.observations}
            assert (task, found.rule.anchor) == (where, anchor)
            assert 100 * found.rule.score == pytest.approx(scores[found.rule.benchmark])
            assert 100 * found.rule.anchor_score == pytest.approx(theirs[found.rule.benchmark])
            assert found.grade == "assumed"


def test_abilities_of_the_reference_models_return_their_score():
    for name, score in (
        ("gemini-4-argon", 0.53),
        ("gemini-3.8-flash", 0.409),
        ("gemini-3.1-pro-preview", 0.297),
    ):
        assert mean_success(CATALOG.models[name].ability) == pytest.approx(score, abs=2e-5)


def test_ability_is_monotone_symmetric_and_bounded():
    assert ability_from_score(0.5) == pytest.approx(0.0, abs=1e-9)
    assert ability_from_score(0.8) == pytest.approx(-ability_from_score(0.2))
    values = [ability_from_score(score / 100) for score in range(1, 100)]
    assert values == sorted(values)
    for bad in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError):
            ability_from_score(bad)


def test_each_family_grows_abler():
    for family in ("pro", "flash", "flash-lite"):
        names = [name for name in CATALOG.names if CATALOG.models[name].family == family]
        abilities = [CATALOG.models[name].ability for name in names]
        assert abilities == sorted(abilities)


def test_thinking_levels():
    flash = CATALOG.models["gemini-3.8-flash"].thinking
    assert flash.law().median_tokens == flash.levels["medium"].median_tokens
    with pytest.raises(InputError, match="no thinking level 'hgih', did you mean 'high'"):
        flash.law("hgih")
    with pytest.raises(InputError, match="no thinking level 'off'"):
        flash.law("off")
    assert CATALOG.models["gemini-2.5-flash"].thinking.law("off") is None
    assert CATALOG.models["gemini-2.0-flash"].thinking.law() is None


def test_the_thinking_law_has_the_observed_mean():
    level = CATALOG.models["gemini-3.8-flash"].thinking.levels["medium"]
    mean = (1 - level.p_none) * level.median_tokens * 2.718281828 ** (level.sigma**2 / 2)
    assert mean == pytest.approx(2_955, rel=0.01)


def test_the_latency_block_becomes_the_law_draw_for_draw():
    block = CATALOG.models["gemini-2.5-flash"].latency
    zeros, one = np.zeros(3), np.full(3, 1.0)
    tokens, cached = np.array([0, 1_000, 100_000]), np.array([0, 1_000, 0])
    calm = block.law.prefill_s(tokens, cached, zeros, one)
    assert calm == pytest.approx([0.69, 0.69 + 0.005 + 0.0005, 0.69 + 0.5])
    slow = block.law.prefill_s(tokens, cached, zeros, zeros)
    assert slow == pytest.approx(calm * 3.5)
    noisy = block.law.prefill_s(tokens, cached, one, one)
    assert noisy == pytest.approx(calm * np.exp(0.41))
    assert block.law.pace_s(zeros, one, one, one) == pytest.approx([0.00445 * np.exp(0.41 * 0.6)] * 3)
    assert (block.grade_label, block.grade_of("base_s"), block.grade_of("correlation")) == (
        "mixed",
        "measured",
        "assumed",
    )


def test_each_noise_takes_its_own_spread():
    block = CATALOG.models["gemini-3.8-flash"].latency
    assert (block.law.ttft_noise.sigma, block.law.pace_noise.sigma) == (0.30, 0.25)
    assert block.law.pace_noise.tail_weight == 0.0


def test_the_catalogue_travels_to_worker_processes():
    again = pickle.loads(pickle.dumps(CATALOG))
    assert again.models == CATALOG.models
    assert again.model("pro", TODAY).digest == CATALOG.model("pro", TODAY).digest


def test_platform():
    platform = CATALOG.platform
    assert str(platform.gsu_price("1_month", TODAY).usd_per_hour) == "3.6986"
    assert platform.paygo_threshold("flash-lite", "tier4").tokens_per_minute == 50_000_000
    assert platform.paygo_threshold("pro", "tier1").tokens_per_minute == 500_000
    assert platform.api_tier("tier1").billing_cap_usd == 250
    assert platform.sla.uptime_percent_short_availability == 95
    with pytest.raises(InputError, match="known terms"):
        platform.gsu_price("2_years", TODAY)
    with pytest.raises(InputError, match="tiers: tier1"):
        platform.paygo_threshold("pro", "free")


@pytest.mark.parametrize("profile", CATALOG.models.values(), ids=CATALOG.models)
def test_profiles_survive_the_file_form(profile, tmp_path):
    from profiles.yaml_io import to_yaml

    file = tmp_path / "copy.yaml"
    file.write_text(to_yaml(profile.to_dict()), encoding="utf-8")
    again = load_catalog(file)
    copy = again.models[profile.name]
    assert copy == profile
    assert copy.digest == profile.digest
    assert again.origin(profile.name) == file


def test_digests_differ_and_follow_the_content():
    digests = {profile.digest for profile in CATALOG.models.values()}
    assert len(digests) == len(CATALOG.models)
    argon = CATALOG.models["gemini-4-argon"]
    slower = argon.model_copy(update={"latency": argon.latency.model_copy(update={"base_s": 2.0})})
    assert slower.digest != argon.digest
    assert load_catalog().models["gemini-4-argon"].digest == argon.digest


def test_status_is_known_on_every_day_of_service():
    for profile in CATALOG.models.values():
        for offset in range(0, 700, 7):
            day = profile.released + timedelta(days=offset)
            served = any(profile.available(day, channel) for channel in CHANNELS)
            assert (profile.status_on(day) == "retired") == (not served)
