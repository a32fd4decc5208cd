"""The emulator against the real SDK, sync and async, both spellings of the API."""

import asyncio
import itertools
import json
import urllib.error
import urllib.request

import pytest
from google import genai
from google.genai import errors, types

from calibration.emulator import Limits, ModelTruth, Truth
from calibration.emulator.server import running
from profiles.latency import LatencyLaw

SHOWN = {"thinking_config": {"include_thoughts": True}}


def client(url, **options):
    return genai.Client(api_key="any", http_options={"base_url": url, **options})


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1beta1"])
def test_all_api_versions_answer_with_adding_usage(base_url, version):
    with client(base_url, api_version=version) as api:
        usage = api.models.generate_content(model="thinker", contents="hi about 60 tokens").usage_metadata
    assert usage.prompt_token_count == 5
    assert usage.candidates_token_count > 0 < usage.thoughts_token_count
    parts = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts


def check_stream(chunks):
    usages = [chunk.usage_metadata for chunk in chunks]
    totals = [(u.thoughts_token_count or 0) + (u.candidates_token_count or 0) for u in usages]
    assert totals == sorted(totals), "totals run up"
    assert len({chunk.response_id for chunk in chunks}) == 1
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks]
    assert reasons[:-1] == [None] * (len(chunks) - 1)
    assert reasons[-1] == types.FinishReason.STOP
    assert "gfet4t7; dur=" in str(chunks[0].sdk_http_response.headers)
    answers = [u.candidates_token_count for u in usages if u.candidates_token_count]
    assert {b - a for a, b in itertools.pairwise(answers[:-1])} == {24}
    return chunks


def test_sync_stream_has_running_totals_and_big_chunks(base_url):
    with client(base_url) as api:
        chunks = list(api.models.generate_content_stream(model="thinker", contents="hi about 200 tokens"))
    check_stream(chunks)
    first = chunks[0].usage_metadata
    assert first.thoughts_token_count == chunks[-1].usage_metadata.thoughts_token_count, (
        "hidden thoughts come first"
    )


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's own pool
def test_async_stream_shows_thoughts_before_the_answer(base_url):
    async def collect():
        async with client(base_url).aio as api:
            stream = await api.models.generate_content_stream(
                model="thinker", contents="hi about 200 tokens", config=SHOWN
            )
            return [chunk async for chunk in stream]

    chunks = check_stream(asyncio.run(collect()))
    kinds = [bool(chunk.candidates[0].content.parts[0].thought) for chunk in chunks]
    assert kinds == sorted(kinds, reverse=True)
    assert kinds[0]
    assert chunks[0].usage_metadata.candidates_token_count is None


def test_cloud_spelling_has_traffic_type_and_no_timing(base_url):
    with genai.Client(vertexai=True, api_key="any", http_options={"base_url": base_url}) as api:
        reply = api.models.generate_content(model="plain", contents="hi")
        counted = api.models.count_tokens(model="plain", contents="hello there you")
    assert reply.usage_metadata.traffic_type == types.TrafficType.ON_DEMAND
    assert reply.create_time is not None
    assert "server-timing" not in reply.sdk_http_response.headers
    assert counted.total_tokens == 4


def test_thinking_can_be_off_and_output_is_capped(base_url):
    config = {"thinking_config": {"thinking_budget": 0}, "max_output_tokens": 10}
    with client(base_url) as api:
        reply = api.models.generate_content(model="thinker", contents="hi about 500 tokens", config=config)
    assert reply.usage_metadata.thoughts_token_count is None
    assert reply.usage_metadata.candidates_token_count == 10
    assert reply.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS


def test_thoughts_use_up_the_cap(base_url):
    with client(base_url) as api:
        reply = api.models.generate_content(model="thinker", contents="hi", config={"max_output_tokens": 5})
    assert reply.usage_metadata.thoughts_token_count == 5
    assert reply.text is None


def test_models_are_listed_and_described(base_url, truth):
    with client(base_url) as api:
        assert {model.name for model in api.models.list()} == {f"models/{name}" for name in truth.models}
        assert api.models.get(model="plain").output_token_limit == 65_536


@pytest.mark.parametrize(
    ("model", "kind", "code", "status"),
    [
        ("nobody", errors.ClientError, 404, "NOT_FOUND"),
        ("unavailable", errors.ServerError, 503, "UNAVAILABLE"),
        ("deadline", errors.ServerError, 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_have_the_services_bodies(base_url, model, kind, code, status):
    with client(base_url) as api, pytest.raises(kind) as caught:
        api.models.generate_content(model=model, contents="hi")
    assert (caught.value.code, caught.value.status) == (code, status)


def test_an_error_in_the_middle_comes_after_good_chunks(base_url):
    got = []
    with client(base_url) as api, pytest.raises(errors.ServerError) as caught:
        got += api.models.generate_content_stream(model="stream_error", contents="hi about 400 tokens")
    assert caught.value.code == 503


def test_a_wrong_key_is_a_400_with_its_reason():
    with running(Truth({"m": ModelTruth(LatencyLaw(0.01, 0, 0, 1e-4))}), api_key="right") as url:
        with client(url) as api, pytest.raises(errors.ClientError) as caught:
            api.models.generate_content(model="m", contents="hi")
        with genai.Client(api_key="right", http_options={"base_url": url}) as api:
            assert api.models.generate_content(model="m", contents="hi").text
    assert caught.value.code == 400
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize("kind", ["window", "bucket"])
def test_a_429_names_the_quota_and_the_delay(kind):
    law = ModelTruth(LatencyLaw(0.01, 0, 0, 1e-4), limits=Limits(rpm=2, kind=kind))
    with running(Truth({"m": law}, time_scale=10)) as url, client(url) as api:
        for _ in range(2):
            api.models.generate_content(model="m", contents="hi")
        with pytest.raises(errors.ClientError) as caught:
            api.models.generate_content(model="m", contents="hi")
    details = {d["@type"].rsplit(".", 1)[1]: d for d in caught.value.details["error"]["details"]}
    delay = float(details["RetryInfo"]["retryDelay"].removesuffix("s"))
    assert 0 < delay <= 6.0, "at most an emulated minute, in real seconds"
    assert int(caught.value.response.headers["Retry-After"]) >= delay
    assert details["QuotaFailure"]["violations"][0]["quotaValue"] == "2"


def test_a_client_deadline_is_a_504():
    slow = ModelTruth(LatencyLaw(9.0, 0, 0, 1e-4))
    headers = {"X-Server-Timeout": "1"}
    with (
        running(Truth({"m": slow})) as url,
        client(url, headers=headers) as api,
        pytest.raises(errors.ServerError) as caught,
    ):
        api.models.generate_content(model="m", contents="hi")
    assert caught.value.code == 504


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"contents": 3}', b'{"contents": [3]}', b'{"contents": [{"parts": [{"text": 1}]}]}'],
)
@pytest.mark.parametrize("verb", ["generateContent", "countTokens"])
def test_malformed_bodies_never_break_the_server(base_url, body, verb):
    request = urllib.request.Request(
        f"{base_url}/v1/models/plain:{verb}",
        body,
        {"x-goog-api-key": "k", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            status = reply.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    assert status in (200, 400)


def test_the_truth_is_exported(base_url, truth):
    with urllib.request.urlopen(f"{base_url}/_truth", timeout=10) as reply:
        assert json.load(reply)["models"]["plain"]["law"]["base_s"] == truth.models["plain"].law.base_s
