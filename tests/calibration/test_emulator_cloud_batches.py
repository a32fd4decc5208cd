"""Batch jobs of Cloud mode over a folder that stands for Cloud Storage, through the real SDK."""

import asyncio
import json
import time

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from calibration.emulator import BatchLaw, Faults, ModelTruth, Truth
from calibration.emulator.server import running
from profiles.latency import LatencyLaw

LAW = LatencyLaw(0.05, 1e-4, 1e-6, 1e-4, first_chunk_tokens=24)
CLOUD = {"vertexai": True, "credentials": Credentials("t"), "project": "p", "location": "l"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage")
    (folder / "b").mkdir()
    asked = {"contents": [{"role": "user", "parts": [{"text": "z" * 40 + " about 50 tokens"}]}]}
    lines = [json.dumps({"id": k, "request": asked}) for k in range(3)]
    (folder / "b" / "in.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "b" / "torn.jsonl").write_text('{"request": \n')
    (folder.parent / "secret.jsonl").write_text(lines[0])
    return folder


@pytest.fixture(scope="module")
def url(storage):
    quick = BatchLaw(median_s=8.0, sigma=0.0)
    models = {
        "m": ModelTruth(LAW, batch=quick),
        "half": ModelTruth(LAW, batch=quick, faults=Faults(unavailable=1.0)),
        "slow": ModelTruth(LAW, batch=BatchLaw(median_s=1e6, sigma=0.0)),
    }
    with running(Truth(models, seed=3, time_scale=10), storage=storage) as base:
        yield base


@pytest.fixture
def api(url):
    with genai.Client(**CLOUD, http_options={"base_url": url}) as client:
        yield client


def ended(api, job):
    seen = [job.state]
    for _ in range(200):
        job = api.batches.get(name=job.name)
        seen += [job.state] if job.state != seen[-1] else []
        if job.done:
            return job, [state.name.removeprefix("JOB_STATE_") for state in seen]
        time.sleep(0.02)
    raise AssertionError(seen)


def test_a_job_goes_through_its_states_and_writes_an_answer_a_line(api, storage):
    config = {"display_name": "night", "dest": "gs://b/out/"}
    job, states = ended(api, api.batches.create(model="m", src="gs://b/in.jsonl", config=config))
    assert states == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert job.name.startswith("projects/p/locations/l/batchPredictionJobs/")
    assert job.display_name == "night"
    assert job.model == "publishers/google/models/m"
    assert (job.src.gcs_uri, job.dest.gcs_uri) == (["gs://b/in.jsonl"], "gs://b/out/")
    assert job.create_time < job.start_time < job.end_time
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (3, 0)
    written = storage / job.output_info.gcs_output_directory.removeprefix("gs://") / "predictions.jsonl"
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2]
    assert all(row["status"] == "" for row in rows)
    reply = types.GenerateContentResponse.model_validate(rows[0]["response"])
    assert reply.usage_metadata.prompt_token_count == 14
    assert reply.usage_metadata.traffic_type == types.TrafficType.ON_DEMAND
    assert job.name in [one.name for one in api.batches.list()]
    assert api.batches.delete(name=job.name).done
    with pytest.raises(errors.ClientError) as gone:
        api.batches.get(name=job.name)
    assert gone.value.code == 404


def test_requests_that_fail_are_counted_and_say_why(api, storage):
    job, _ = ended(api, api.batches.create(model="half", src="gs://b/in.jsonl"))
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (0, 3)
    assert job.output_info.gcs_output_directory.startswith("gs://b/in/dest/prediction-model-")
    written = storage / job.output_info.gcs_output_directory.removeprefix("gs://") / "predictions.jsonl"
    assert "overloaded" in json.loads(written.read_text().splitlines()[0])["status"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("gs://b/none.jsonl", "Not found: gs://b/none.jsonl"),
        ("gs://../secret.jsonl", "Not found"),
        ("gs://b/torn.jsonl", "Failed to import data"),
        ("bq://p.d.t", "Not found: bq://p.d.t"),
    ],
)
def test_a_source_that_cannot_be_read_fails_the_job(api, source, told):
    job, states = ended(api, api.batches.create(model="m", src=source, config={"dest": "gs://b/out"}))
    assert states[-1] == "FAILED"
    assert job.error.code == 3
    assert told in job.error.message
    assert job.completion_stats is None


def test_what_is_no_job_is_refused(api):
    with pytest.raises(errors.ClientError, match="not found") as caught:
        api.batches.create(model="nobody", src="gs://b/in.jsonl")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError, match="destination") as caught:
        api.batches.create(model="m", src="gs://b/folder")
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    with pytest.raises(ValueError, match="not"):
        api.batches.create(model="m", src=[{"contents": "hi"}])


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's own pool
def test_the_async_client_cancels_and_only_then_deletes(url):
    async def main():
        client = genai.Client(**CLOUD, http_options={"base_url": url}).aio
        job = await client.batches.create(model="slow", src="gs://b/in.jsonl")
        with pytest.raises(errors.ClientError) as caught:
            await client.batches.delete(name=job.name)
        assert (caught.value.code, caught.value.status) == (400, "FAILED_PRECONDITION")
        await client.batches.cancel(name=job.name)
        stopped = await client.batches.get(name=job.name.rsplit("/", 1)[1])
        assert stopped.state == types.JobState.JOB_STATE_CANCELLED
        assert stopped.completion_stats is None
        assert job.name in [one.name async for one in await client.batches.list()]
        assert (await client.batches.delete(name=job.name)).done
        await client.aclose()

    asyncio.run(main())
