"""Every call of the emulator through the real SDK: sync and async, Developer and Cloud, every API version."""

import asyncio
from contextlib import contextmanager

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from calibration.emulator import ModelTruth, Truth
from calibration.emulator.server import running
from profiles.latency import LatencyLaw, ThinkingLaw

LAW = LatencyLaw(0.05, 1e-6, 1e-7, 1e-4, first_chunk_tokens=24)
KEY = "the right key"
PROMPT = "x" * 4 * 5_000
MODES = {
    "developer": {"api_key": KEY},
    "cloud key": {"vertexai": True, "api_key": KEY, "project": "p", "location": "l"},
    "cloud token": {"vertexai": True, "credentials": Credentials(KEY), "project": "p", "location": "l"},
}


@pytest.fixture(scope="module")
def url():
    models = {
        "m": ModelTruth(LAW, {"low": ThinkingLaw(50, 0.1)}, "low"),
        "text-embedding-005": ModelTruth(LAW, embedding_dimensions=8),
        "gemini-embedding-001": ModelTruth(LAW, embedding_dimensions=8),
    }
    with running(Truth(models, seed=2, time_scale=10), api_key=KEY) as base:
        yield base


@contextmanager
def sync(api):
    """Calls of the client as they are; streams and lists as lists."""

    def ask(call, **given):
        found = call(api)(**given)
        return found if hasattr(found, "model_dump") or found is None else list(found)

    with api:
        yield ask


@contextmanager
def through_async(api):
    """The same calls through ``client.aio``, in one loop."""

    async def whole(call, given):
        found = await call(api.aio)(**given)
        return [one async for one in found] if hasattr(found, "__aiter__") else found

    with api, asyncio.Runner() as runner:
        yield lambda call, **given: runner.run(whole(call, given))
        runner.run(api.aio.aclose())


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's own pool
@pytest.mark.parametrize("way", [sync, through_async])
@pytest.mark.parametrize("version", ["v1", "v1beta", "v1beta1"])
@pytest.mark.parametrize("mode", MODES)
def test_every_call_in_every_mode(url, mode, version, way):
    api = genai.Client(**MODES[mode], http_options={"base_url": url, "api_version": version})
    with way(api) as ask:
        every_call(ask, cloud=mode != "developer")


def every_call(ask, cloud):
    whole = ask(lambda c: c.models.generate_content, model="m", contents="hi about 60 tokens")
    usage = whole.usage_metadata
    assert usage.total_token_count == 5 + usage.thoughts_token_count + usage.candidates_token_count
    assert (usage.traffic_type is not None) == cloud
    chunks = ask(lambda c: c.models.generate_content_stream, model="m", contents="hi about 400 tokens")
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert len(chunks) > 2
    assert ask(lambda c: c.models.count_tokens, model="m", contents="hello there!").total_tokens == 3
    for name in ("text-embedding-005", "gemini-embedding-001"):
        found = ask(lambda c: c.models.embed_content, model=name, contents="hi")
        assert len(found.embeddings[0].values) == 8
    assert ask(lambda c: c.models.get, model="m").name.endswith("models/m")
    listed = {model.name.rsplit("/", 1)[1] for model in ask(lambda c: c.models.list)}
    assert listed >= {"m"}
    config = {"contents": PROMPT, "ttl": "300s"}
    made = ask(lambda c: c.caches.create, model="m", config=config)
    used = ask(
        lambda c: c.models.generate_content, model="m", contents="hi!!", config={"cached_content": made.name}
    )
    assert used.usage_metadata.cached_content_token_count == 5_000
    assert made.name in [one.name for one in ask(lambda c: c.caches.list)]
    ask(lambda c: c.caches.delete, name=made.name)
    with pytest.raises(errors.ClientError) as gone:
        ask(lambda c: c.caches.get, name=made.name)
    assert gone.value.code == 403
    if not cloud:
        job = ask(lambda c: c.batches.create, model="m", src=[{"contents": [{"parts": [{"text": "hi"}]}]}])
        assert ask(lambda c: c.batches.get, name=job.name).state.name == "JOB_STATE_PENDING"
        assert job.name in [one.name for one in ask(lambda c: c.batches.list)]
        ask(lambda c: c.batches.cancel, name=job.name)


@pytest.mark.parametrize(
    ("mode", "code", "status"),
    [
        ("developer", 400, "INVALID_ARGUMENT"),
        ("cloud key", 400, "INVALID_ARGUMENT"),
        ("cloud token", 401, "UNAUTHENTICATED"),
    ],
)
def test_wrong_credentials_have_the_bodies_of_their_kind(url, mode, code, status):
    wrong = {"credentials": Credentials("no")} if "credentials" in MODES[mode] else {"api_key": "no"}
    api = genai.Client(**MODES[mode] | wrong, http_options={"base_url": url})
    with api, pytest.raises(errors.ClientError) as caught:
        api.models.generate_content(model="m", contents="hi")
    assert (caught.value.code, caught.value.status) == (code, status)
    (info,) = caught.value.details["error"]["details"]
    assert info["reason"] == ("API_KEY_INVALID" if code == 400 else "ACCESS_TOKEN_TYPE_UNSUPPORTED")
