"""Caches, batch jobs, embeddings and Live sessions of the emulator, against the real SDK."""

import asyncio
import base64
import ssl
import stat
import time
from datetime import date

import pytest
from google import genai
from google.genai import errors, types

from calibration.emulator import BatchLaw, Limits, LiveLaw, ModelTruth, Truth
from calibration.emulator.server import running
from calibration.emulator.stores import Caches, ttl_s
from calibration.emulator.tls import make_certificate, server_context
from calibration.emulator.truth import model_truth, side_truth
from profiles.catalog import load_catalog
from profiles.latency import LatencyLaw

LAW = LatencyLaw(0.05, 1e-4, 1e-6, 1e-4, first_chunk_tokens=24)
PROMPT = "x" * 4 * 5_000  # 5,000 tokens of the emulator's tokeniser


@pytest.fixture(scope="module")
def url():
    batch = BatchLaw(median_s=20.0, sigma=0.0)
    models = {
        "m": ModelTruth(LAW, batch=batch, limits=Limits(batch_tokens=12_000)),
        "bare": ModelTruth(LAW, cache_minimum_tokens=None),
        "vectors": ModelTruth(LAW, embedding_dimensions=16),
        "live": ModelTruth(LAW, limits=Limits(sessions=1)),
        "short": ModelTruth(LAW, live=LiveLaw(connection_s=6.0, warning_s=4.0)),
    }
    with running(Truth(models, seed=3, time_scale=10)) as base:
        yield base


@pytest.fixture
def api(url):
    with genai.Client(api_key="any", http_options={"base_url": url}) as client:
        yield client


# --- caches ---------------------------------------------------------------------------------------


def test_a_cache_is_made_read_used_extended_and_deleted(api):
    config = types.CreateCachedContentConfig(contents=PROMPT, ttl="300s", display_name="law")
    made = api.caches.create(model="m", config=config)
    assert made.usage_metadata.total_token_count == 5_000
    assert (made.expire_time - made.create_time).total_seconds() == pytest.approx(300)
    used = api.models.generate_content(model="m", contents="hi!!", config={"cached_content": made.name})
    assert used.usage_metadata.prompt_token_count == 5_001
    assert used.usage_metadata.cached_content_token_count == 5_000
    longer = api.caches.update(name=made.name, config={"ttl": "600s"})
    assert longer.expire_time > made.expire_time
    assert [cached.name for cached in api.caches.list()] == [made.name]
    assert api.caches.get(name=made.name).display_name == "law"
    api.caches.delete(name=made.name)
    assert list(api.caches.list()) == []
    with pytest.raises(errors.ClientError) as caught:
        api.models.generate_content(model="m", contents="hi", config={"cached_content": made.name})
    assert caught.value.code == 403


def test_cached_tokens_are_quicker_by_the_law(api):
    made = api.caches.create(model="m", config={"contents": "y" * 4 * 20_000, "ttl": "900s"})

    def seconds(**given):
        began = time.monotonic()
        api.models.generate_content(model="m", **given)
        return time.monotonic() - began

    api.models.generate_content(model="m", contents="warm up")
    cached_s = min(seconds(contents="hi", config={"cached_content": made.name}) for _ in range(3))
    whole_s = min(seconds(contents="y" * 4 * 20_000 + "hi") for _ in range(3))
    assert whole_s - cached_s > 0.1, "2 emulated seconds of prefill at ten times the speed, less the wire"


@pytest.mark.parametrize(
    ("model", "contents", "code"), [("m", "too short", 400), ("bare", PROMPT, 400), ("nobody", PROMPT, 404)]
)
def test_a_cache_that_cannot_be_is_refused(api, model, contents, code):
    with pytest.raises(errors.ClientError) as caught:
        api.caches.create(model=model, config={"contents": contents})
    assert caught.value.code == code


def test_caches_expire_to_the_second():
    caches = Caches()
    made = caches.create("m", 5_000, 60.0, now_s=100.0)
    assert caches.get(made.id, 159.999) is made
    assert caches.get(made.id, 160.0) is None
    assert caches.extend(made.id, 60.0, 160.0) is None
    assert caches.all(160.0) == []


@pytest.mark.parametrize("given", ["60", "-1s", "1m", 60])
def test_a_life_in_another_form_is_refused(given):
    with pytest.raises(ValueError, match="300s"):
        ttl_s({"ttl": given})


# --- batch jobs -----------------------------------------------------------------------------------


def requests(n, tokens=10):
    return [types.InlinedRequest(contents="z" * 4 * tokens, metadata={"n": str(k)}) for k in range(n)]


def until(read, state, seconds=10):
    end = time.monotonic() + seconds
    while (found := read()).state != state:
        assert time.monotonic() < end, found.state
        time.sleep(0.05)
    return found


def test_a_batch_is_pending_then_runs_then_has_every_answer(api):
    made = api.batches.create(model="m", src=requests(3), config={"display_name": "night"})
    assert made.state == types.JobState.JOB_STATE_PENDING
    until(lambda: api.batches.get(name=made.name), types.JobState.JOB_STATE_RUNNING)
    done = until(lambda: api.batches.get(name=made.name), types.JobState.JOB_STATE_SUCCEEDED)
    replies = done.dest.inlined_responses
    assert [reply.metadata["n"] for reply in replies] == ["0", "1", "2"]
    assert all(r.response.usage_metadata.prompt_token_count == 10 for r in replies)
    assert made.name in [job.name for job in api.batches.list()]
    api.batches.delete(name=made.name)
    with pytest.raises(errors.ClientError):
        api.batches.get(name=made.name)


def test_a_cancelled_batch_stays_so(api):
    made = api.batches.create(model="m", src=requests(1))
    api.batches.cancel(name=made.name)
    assert api.batches.get(name=made.name).state == types.JobState.JOB_STATE_CANCELLED


def test_enqueued_tokens_are_bounded(api):
    made = api.batches.create(model="m", src=requests(2, tokens=5_000))
    with pytest.raises(errors.ClientError) as caught:
        api.batches.create(model="m", src=requests(1, tokens=5_000))
    assert caught.value.code == 429
    api.batches.cancel(name=made.name)
    again = api.batches.create(model="m", src=requests(1, tokens=5_000))
    api.batches.cancel(name=again.name)


# --- embeddings -----------------------------------------------------------------------------------


def test_embeddings_are_unit_vectors_of_the_text(api):
    found = api.models.embed_content(model="vectors", contents=["a cat", "a dog", "a cat"]).embeddings
    first, second, third = (embedding.values for embedding in found)
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1)
    short = api.models.embed_content(model="vectors", contents="a cat", config={"output_dimensionality": 4})
    assert len(short.embeddings[0].values) == 4


def test_cloud_spells_embeddings_its_own_way(url):
    with genai.Client(vertexai=True, api_key="any", http_options={"base_url": url}) as cloud:
        reply = cloud.models.embed_content(model="vectors", contents="a cat")
    assert len(reply.embeddings[0].values) == 16


def test_a_model_embeds_or_answers(api):
    with pytest.raises(errors.ClientError):
        api.models.embed_content(model="m", contents="a cat")
    with pytest.raises(errors.ClientError):
        api.models.generate_content(model="vectors", contents="a cat")
    with pytest.raises(errors.ClientError) as caught:
        api.models.embed_content(model="vectors", contents="a", config={"output_dimensionality": 99})
    assert caught.value.code == 400


# --- Live -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """An emulator over TLS, and the client's side of it."""
    folder = tmp_path_factory.mktemp("tls")
    models = {
        "live": ModelTruth(LAW, limits=Limits(sessions=1)),
        "short": ModelTruth(LAW, live=LiveLaw(connection_s=6.0, warning_s=4.0)),
    }
    with running(Truth(models, seed=3, time_scale=10), tls=server_context(folder)) as base:
        yield base, ssl.create_default_context(cafile=str(folder / "emulator.pem"))


def spoken(url, trust, use, model="live", cloud=False, **config):
    """Run ``use(session)`` in a Live session of the real SDK."""
    options = types.HttpOptions(base_url=url, async_client_args={"ssl": trust})

    async def run():
        client = genai.Client(api_key="any", vertexai=cloud, http_options=options)
        async with client.aio.live.connect(model=model, config=config or {}) as session:
            return await use(session)

    return asyncio.run(run())


async def say(session, text):
    await session.send_client_content(turns={"role": "user", "parts": [{"text": text}]}, turn_complete=True)
    return [message async for message in session.receive()]


def test_all_that_was_said_is_the_prompt_of_the_next_turn(secure):
    async def use(session):
        return [(await say(session, "x" * 400))[-1].usage_metadata for _ in range(2)]

    first, second = spoken(*secure, use)
    assert first.prompt_token_count == 100
    assert second.prompt_token_count == 200 + first.response_token_count


def test_audio_counts_by_the_second_and_can_come_back(secure):
    async def use(session):
        second = types.Blob(data=bytes(32_000), mime_type="audio/pcm;rate=16000")
        for _ in range(4):
            await session.send_realtime_input(audio=second)
        await session.send_realtime_input(audio_stream_end=True)
        return [message async for message in session.receive()]

    heard = spoken(*secure, use, response_modalities=["AUDIO"])
    assert heard[-1].usage_metadata.prompt_token_count == 100, "4 s of 25 tokens"
    sound = b"".join(message.data for message in heard if message.data)
    tokens = heard[-1].usage_metadata.response_token_count
    assert len(sound) / 2 / 24_000 == pytest.approx(tokens / 25, rel=0.01)


def test_cloud_spells_the_answers_tokens_another_way(secure):
    async def use(session):
        return (await say(session, "hi"))[-1].usage_metadata

    assert spoken(*secure, use, cloud=True).response_token_count > 0, (
        "the SDK reads candidatesTokenCount there"
    )


def test_a_session_too_many_and_an_unknown_model_are_turned_away(secure):
    async def use(_):
        with pytest.raises(Exception, match="concurrent"):
            async with genai.Client(
                api_key="any",
                http_options=types.HttpOptions(base_url=secure[0], async_client_args={"ssl": secure[1]}),
            ).aio.live.connect(model="live"):
                pass

    spoken(*secure, use)
    with pytest.raises(Exception, match="not found"):
        spoken(*secure, use, model="nobody")


def test_a_connection_ends_after_a_warning_and_its_handle_goes_on(secure):
    seen = []

    async def use(session):
        before = await say(session, "x" * 400)
        update = await anext(session.receive())
        seen.append(update.session_resumption_update.new_handle)
        seen.append(before[-1].usage_metadata)
        warning = await anext(session.receive())
        assert 0 < float(warning.go_away.time_left.removesuffix("s")) <= 0.4
        with pytest.raises(Exception, match="duration limit"):
            await anext(session.receive())

    spoken(*secure, use, model="short", session_resumption={})

    async def resume(session):
        return (await say(session, "x" * 400))[-1].usage_metadata

    usage = spoken(*secure, resume, model="short", session_resumption={"handle": seen[0]})
    assert usage.prompt_token_count == 200 + seen[1].response_token_count


def test_the_private_key_is_the_owners_alone(tmp_path):
    public, private = make_certificate(tmp_path / "new")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    assert base64.b64decode(public.read_text().split("-----")[2].replace("\n", ""))


def test_the_catalogues_models_are_served_as_what_they_are():
    catalog = load_catalog()
    flash = catalog.model("gemini-3.8-flash", date(2026, 11, 22))
    argon = catalog.model("gemini-4-argon", date(2026, 11, 22))
    assert model_truth(flash).cache_minimum_tokens == 4_096
    assert model_truth(argon).cache_minimum_tokens is None, "it has no explicit caches"
    assert side_truth(catalog.side_models["gemini-embedding-001"]).embedding_dimensions
    assert side_truth(catalog.side_models["gemini-3.8-live"]).embedding_dimensions is None
