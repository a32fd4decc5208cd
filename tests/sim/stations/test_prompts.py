"""Media count as tokens by the generation of whoever reads them, everywhere in a run."""

import re
from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.pricing import Usage, quote
from profiles.tokenise import Rate
from sim.audit.checks import audit
from sim.engine.run import simulate_world
from sim.luck import Luck
from sim.money.costs import bill
from sim.money.reprice import reprice_run
from sim.outcome.summary import reduce_run, summarise
from sim.past_run import read_records
from sim.policies.rules import Rules
from sim.records import Outcome, Reason
from sim.stations.prompts import prompts_of
from sim.store import StoredRun, attempt_columns, load_run, request_columns, save_run
from sim.workload.sample import sample
from sim.world.places import resolve

PAIR = {
    "old": {"buy": "payg", "model": "gemini-2.5-flash", "channel": "gemini_api"},
    "new": {"buy": "payg", "model": "gemini-3.8-flash"},
}
MEDIA = {
    "images": {"kind": "constant", "value": 2.0},
    "image_px": [800, 1600],
    "video_s": {"kind": "constant", "value": 10.25},
    "audio_s": {"kind": "constant", "value": 60.001},
    "pdf_pages": {"kind": "constant", "value": 3.0},
}
KINDS = ["text", "image", "video", "audio", "pdf"]
ROUTING = {"policy": "split", "weights": {"old": 0.5, "new": 0.5}}


@pytest.fixture(scope="module")
def classes():
    def make(media, kinds=KINDS, **given):
        plain = {
            "arrivals": {"kind": "poisson", "rate_per_s": 0.2},
            "input_tokens": {"kind": "constant", "value": 1000.0},
            "output_tokens": {"kind": "constant", "value": 100.0},
            "needs": {"modalities": kinds},
        }
        return {"seen": plain | {"media": media} | given}

    return make


@pytest.fixture(scope="module")
def world(a_scenario, classes):
    def make(media=MEDIA, kinds=KINDS, endpoints=PAIR, routing=ROUTING, historical=False, **given):
        seen = classes(media, kinds, **given)
        spec = a_scenario(classes=seen, endpoints=endpoints, routing=routing, historical=historical)
        return resolve(spec)

    return make


def test_each_generation_counts_by_its_own_rules(world):
    """2.5 counts tiles and seconds: 2 x 3 tiles of 258 a picture. 3.8 counts levels and frames."""
    there = world()
    load = sample(there.scenario, Luck(1))
    found = {one.name: prompts_of(load, there.scenario.classes, one.model, one.name) for one in there.places}
    first = {name: {kind: column[0] for kind, column in one.media.items()} for name, one in found.items()}
    assert first == {
        "old": {"image": 2 * 6 * 258, "video": 2696, "audio": 1921, "pdf": 3 * 258},
        "new": {"image": 2 * 1120, "video": 11 * 70, "audio": 1501, "pdf": 3 * 560},
    }
    assert found["new"].total[0] == 1000 + 2240 + 770 + 1501 + 1680
    assert found["new"].cached[0] == 0


def test_a_run_bills_what_a_quote_says_line_by_line(world, catalog):
    there = world()
    records = simulate_world(there)
    found = bill(records, there.scenario, catalog)
    assert audit(records, there.scenario, catalog, found).passed
    for name, place in (("old", there.place("old")), ("new", there.place("new"))):
        rows = np.flatnonzero(records.attempts.endpoint == records.endpoint_names.index(name))
        asked = prompts_of(records.workload, there.scenario.classes, place.model, name).media
        for row in rows[:5]:
            media = {kind: int(column[0]) for kind, column in asked.items()}
            used = Usage(
                input=1000,
                thinking=int(records.attempts.thinking_tokens[row]),
                output=100,
                **media,
            )
            priced = quote(place.model, used, on=there.scenario.prices_on, channel=place.spec.channel)
            assert found.attempt_pusd[row] == priced.total_pusd
            assert records.attempts.input_tokens[row] == used.prompt_tokens
    units = {(line.endpoint, line.unit): line.unit_price_pusd for line in found.lines}
    assert units["old", "input_audio"] == 1_000_000  # sound costs more than text on 2.5 Flash
    assert units["old", "input_image"] == units["old", "input"] == 300_000
    assert units["new", "input_audio"] == units["new", "input"] == 750_000


def test_limits_and_windows_count_the_media(world):
    """A minute of film is 4,200 tokens to 3.8 Flash: the third of a minute is beyond 14,000."""
    film = {"video_s": {"kind": "constant", "value": 60.0}}
    limited = {"new": PAIR["new"] | {"limits": {"input_tpm": 14_000}}}
    there = world(film, ["text", "video"], limited, {"policy": "static", "endpoint": "new"})
    records = simulate_world(there)
    refused = records.attempts.reason == Reason.INPUT_TPM
    assert refused.any()
    long = {"video_s": {"kind": "constant", "value": 15_000.0}}  # 1,050,000 tokens
    there = world(long, ["text", "video"], {"new": PAIR["new"]}, {"policy": "static", "endpoint": "new"})
    records = simulate_world(there)
    assert (records.requests.outcome == Outcome.REJECTED).all()
    assert (records.attempts.reason == Reason.CONTEXT).all()


def test_a_reservation_burns_sound_at_its_own_rate(world, catalog):
    """2.5 Flash burns 4 for a token of sound: 32 a second."""
    reserved = {"old": {"buy": "provisioned", "model": "gemini-2.5-flash", "gsus": 50}}
    sound = {"audio_s": {"kind": "constant", "value": 100.0}}
    static = {"policy": "static", "endpoint": "old"}
    there = world(sound, ["text", "audio"], reserved, static, historical=True)
    records = simulate_world(there)
    found = bill(records, there.scenario, catalog)
    assert audit(records, there.scenario, catalog, found).passed
    own = records.attempts
    burnt = (1000 + 4 * 3200) * len(own) + 9 * (own.thinking_tokens.sum() + own.output_tokens.sum())
    idle = found.unused[0].gsu_hours - found.unused[0].unused_gsu_hours
    assert idle == pytest.approx(burnt / 2690 / 3600)


def test_an_unpublished_burndown_of_pictures_is_refused(world, catalog):
    model = catalog.models["gemini-3.8-flash"]
    bare = model.throughput.model_copy(update={"burndown": {"input": 1.0, "output": 5.0}})
    models = catalog.models | {model.name: model.model_copy(update={"throughput": bare})}
    reserved = {"new": {"buy": "provisioned", "model": model.name, "gsus": 5}}
    pictures = {"images": {"kind": "constant", "value": 1.0}}
    there = world(pictures, ["text", "image"], reserved, {"policy": "static", "endpoint": "new"})
    with pytest.raises(InputError, match="burndown rate of 'input_image' is unknown"):
        simulate_world(resolve(there.scenario, replace(catalog, models=models)))


def test_what_a_generation_counts_by_must_be_stated(world):
    pictures = {"images": {"kind": "constant", "value": 1.0}}
    with pytest.raises(InputError, match=r"endpoints\.old: media of class seen: .*give WIDTHxHEIGHT"):
        simulate_world(world(pictures, ["text", "image"]))


def test_media_that_nobody_said_are_read_are_refused(world):
    with pytest.raises(InputError, match=re.escape("needs.modalities: [text, image]")):
        world({"images": {"kind": "constant", "value": 1.0}}, ["text"])


def test_a_session_carries_no_pictures_on(world):
    session = {"turns": {"kind": "constant", "value": 2.0}, "think_s": {"kind": "constant", "value": 1.0}}
    pictures = {"images": {"kind": "constant", "value": 1.0}, "image_px": [100, 100]}
    with pytest.raises(InputError, match="carries_history: false"):
        world(pictures, ["text", "image"], session=session)
    once = world(pictures, ["text", "image"], session=session | {"carries_history": False})
    assert sample(once.scenario, Luck(1)).media["image"].all()


def test_rules_send_a_prompt_where_it_fits_as_that_model_counts(world, a_scenario):
    """3.8 Flash counts 70 tokens a second, 2.5 Pro 263: an hour and a half of film fits only one."""
    film = {"video_s": {"kind": "constant", "value": 5_400.0}}
    pair = {
        "pro": {"buy": "payg", "model": "gemini-2.5-pro", "channel": "gemini_api"},
        "flash": {"buy": "payg", "model": "gemini-3.8-flash"},
    }
    need = {"modalities": ["text", "video"], "reasoning": "high"}
    there = world(film, ["text", "video"], pair, {"policy": "rules"}, needs=need)
    records = simulate_world(there)
    assert set(records.attempts.endpoint.tolist()) == {1}
    assert Rules().pro == "pro"


def test_media_leave_every_other_draw_alone(a_scenario, classes):
    plain = classes(MEDIA)
    bare = {"seen": {name: part for name, part in plain["seen"].items() if name != "media"}}
    with_media, without = (sample(a_scenario(classes=some), Luck(1)) for some in (plain, bare))
    for name in without.column_names():
        assert np.array_equal(getattr(with_media, name), getattr(without, name))
    assert not without.media
    assert with_media.nbytes > without.nbytes


def test_records_keep_media_and_another_model_counts_them_anew(world, catalog, tmp_path):
    there = world(routing={"policy": "static", "endpoint": "new"})
    records = simulate_world(there)
    found = bill(records, there.scenario, catalog)
    checked = audit(records, there.scenario, catalog, found)
    result = reduce_run(records, found, checked, there.scenario, catalog)
    summary = summarise([result], there.scenario, catalog)
    save_run(tmp_path / "run", there.scenario, summary, records)
    run: StoredRun = load_run(tmp_path / "run")
    again = read_records(run)
    assert {kind: column.tolist() for kind, column in again.workload.media.items()} == {
        kind: column.tolist() for kind, column in records.workload.media.items()
    }
    assert reprice_run(run, catalog).total_pusd == found.total_pusd
    other = reprice_run(run, catalog, models={"gemini-3.8-flash": "gemini-2.0-flash"}, historical=True)
    sound = sum(line.quantity for line in other.lines if line.unit == "input_audio")
    assert sound == 1921 * len(records.attempts)
    assert {"images", "video_ms"} <= set(request_columns(records))
    assert "images" not in attempt_columns(records)


@given(
    st.fractions(min_value=Fraction(1, 100), max_value=500, max_denominator=1000),
    st.integers(1, 300),
    st.lists(st.integers(0, 10**7), max_size=5),
)
def test_columns_count_as_single_lengths_do(rate, each, lengths_ms):
    counted = Rate(rate, each)
    many = counted.tokens_of_ms(np.array(lengths_ms, dtype=np.int64)).tolist()
    assert many == [counted.tokens(Fraction(ms, 1000)) for ms in lengths_ms]
    assert many == [ceil(Fraction(ms, 1000) * rate) * each for ms in lengths_ms]
