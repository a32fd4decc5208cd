"""Batch prediction jobs of Google Cloud: a folder of this machine stands for Cloud Storage.

``gs://bucket/path`` is ``FOLDER/bucket/path``: requests are read from there when a job is made, answers are
written there when it is first looked at after its end. Sources that are not in the folder (all of them where
there is none, BigQuery tables and datasets anyway) are not found, so such jobs fail, as they do in the Cloud.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.emulator import protocol
from calibration.emulator.protocol import Json, Resource, get
from calibration.emulator.stores import Item, Job, Jobs, State
from calibration.emulator.truth import Truth

_NAME = "projects/p/locations/l/batchPredictionJobs/{}"
_INVALID = 3  # google.rpc.Code.INVALID_ARGUMENT, of an import that failed


class JobRefusedError(Exception):
    """A call that is answered with an error body."""

    def __init__(self, body: Json) -> None:
        super().__init__(str(body))
        self.body = body


@dataclass
class CloudJob(Job):
    """A job as it was asked for; one whose requests cannot be read fails when it starts."""

    given: Json = field(default_factory=dict)
    rows: Sequence[Json] = ()  # the lines of its sources
    error: Json | None = None
    directory: str | None = None  # where its answers lie, once they are written

    def state(self, now_s: float) -> State:
        """How far it is."""
        found = super().state(now_s)
        return "FAILED" if self.error is not None and found in ("RUNNING", "SUCCEEDED") else found


@dataclass
class CloudJobs:
    """Answers calls on ``batchPredictionJobs``. ``item`` parses a request, ``answered`` makes its reply."""

    truth: Truth
    now_s: Callable[[], float]
    date: Callable[[float], str]
    item: Callable[[str, Json], Item]
    answered: Callable[[str, Item], Json]
    storage: Path | None = None
    jobs: Jobs = field(default_factory=Jobs)

    def answer(self, method: str, target: Resource, body: Json) -> Json:
        """``batches.create``, ``get``, ``list``, ``cancel`` and ``delete`` of Cloud mode."""
        if target.id is None:
            if method == "POST":
                return self._body(self._create(body))
            return {"batchPredictionJobs": [self._body(self._job(job.id)) for job in self.jobs.all()]}
        job = self._job(target.id)
        if target.verb == "cancel":
            self.jobs.cancel(job.id, self.now_s())
            return {}
        if method == "DELETE":
            return self._delete(job)
        return self._body(job)

    def _create(self, body: Json) -> CloudJob:
        model = str(get(body, "model")).rsplit("/", 1)[-1]
        if model not in self.truth.models:
            name = f"projects/p/locations/l/publishers/google/models/{model}"
            raise JobRefusedError(protocol.error(404, f"Publisher Model `{name}` not found."))
        sources, output = self._sources(body), get(body, "outputConfig") or {}
        if not (get(output, "gcsDestination") or get(output, "bigqueryDestination")):
            raise JobRefusedError(protocol.error(400, "A destination of the output is required."))
        now_s, number = self.now_s(), self.jobs.made + 1
        job = CloudJob(str(number), model, [], now_s, now_s, now_s, given=body)
        job.display_name = str(get(body, "displayName") or "")
        try:
            job.rows = [row for uri in sources for row in self._read(uri)]
            job.items = [self.item(model, row) for row in job.rows]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            job.error = {"code": _INVALID, "message": f"Failed to import data. {error}"}
        turnaround_s = self.truth.turnaround_s(job.items[0].index if job.items else number, model)
        job.starts_s = now_s + self.truth.models[model].batch.pending_share * turnaround_s
        job.ends_s = now_s + turnaround_s
        self.jobs.add(job)
        return job

    def _sources(self, body: Json) -> list[str]:
        given = get(body, "inputConfig") or {}
        uris = (get(given, "gcsSource") or {}).get("uris") or []
        table = get(get(given, "bigquerySource") or {}, "inputUri")
        dataset = get(get(given, "vertexMultimodalDatasetSource") or {}, "datasetName")
        found = [str(uri) for uri in (*uris, table, dataset) if uri]
        if not found:
            raise JobRefusedError(protocol.error(400, "A source of the input is required."))
        return found

    def _path(self, uri: str) -> Path | None:
        """The file that stands for an object; None where nothing can, or outside the folder."""
        if self.storage is None or not uri.startswith("gs://"):
            return None
        folder = self.storage.resolve()
        path = (folder / uri.removeprefix("gs://")).resolve()
        return path if path.is_relative_to(folder) else None

    def _read(self, uri: str) -> list[Json]:
        path = self._path(uri)
        if path is None or not path.is_file():
            raise OSError(f"Not found: {uri}")
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        if not rows or not all(isinstance(row, dict) and "request" in row for row in rows):
            raise ValueError(f"A line without a request in {uri}")
        return rows

    def _job(self, id_: str) -> CloudJob:
        job = self.jobs.get(id_)
        if not isinstance(job, CloudJob):
            raise JobRefusedError(protocol.error(404, f"{_NAME.format(id_)} is not found."))
        return job

    def _delete(self, job: CloudJob) -> Json:
        """A finished operation; only a job that has ended can be deleted."""
        if job.state(self.now_s()) in ("PENDING", "RUNNING"):
            body = protocol.error(400, f"{_NAME.format(job.id)} has not ended: cancel it first.")
            body["error"]["status"] = "FAILED_PRECONDITION"
            raise JobRefusedError(body)
        self.jobs.delete(job.id)
        return {"name": f"projects/p/locations/l/operations/{job.id}", "done": True, "response": {}}

    def _body(self, job: CloudJob) -> Json:
        state, given = job.state(self.now_s()), job.given
        body: Json = {
            "name": _NAME.format(job.id),
            "displayName": job.display_name,
            "model": get(given, "model"),
            "inputConfig": get(given, "inputConfig"),
            "outputConfig": get(given, "outputConfig"),
            "state": f"JOB_STATE_{state}",
            "createTime": self.date(job.created_s),
            "updateTime": self.date(min(self.now_s(), job.ends_s)),
        }
        if state in ("RUNNING", "SUCCEEDED", "FAILED"):
            body["startTime"] = self.date(job.starts_s)
        if state == "CANCELLED" and job.cancelled_s is not None:
            body["endTime"] = self.date(job.cancelled_s)
        if state == "FAILED":
            body |= {"endTime": self.date(job.starts_s), "error": job.error}
        if state == "SUCCEEDED":
            body |= {"endTime": self.date(job.ends_s)} | self._outcome(job)
        return body

    def _outcome(self, job: CloudJob) -> Json:
        """Counts (as the service writes 64-bit ones: as text) and where the answers are."""
        if not job.results:
            job.results = [self.answered(job.model, item) for item in job.items]
            self._write(job)
        failed = sum("error" in result for result in job.results)
        stats = {"successfulCount": str(len(job.results) - failed), "failedCount": str(failed)}
        info = {"gcsOutputDirectory": job.directory} if job.directory else {}
        return {"completionStats": stats | {"incompleteCount": "0"}, "outputInfo": info}

    def _write(self, job: CloudJob) -> None:
        """One line a request: what was asked, and its answer or why there is none."""
        output = get(get(job.given, "outputConfig"), "gcsDestination") or {}
        ended = self.date(job.ends_s)
        prefix = str(get(output, "outputUriPrefix") or "").rstrip("/")
        uri = f"{prefix}/prediction-model-{ended.replace(':', '')}"
        path = self._path(f"{uri}/predictions.jsonl")
        if path is None:  # BigQuery
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (self._line(row, result, ended) for row, result in zip(job.rows, job.results, strict=True))
        path.write_text("".join(lines), "utf-8")
        job.directory = uri

    def _line(self, row: Json, result: Json, ended: str) -> str:
        error: dict[str, Any] = result.get("error") or {}
        told = {"status": error.get("message", ""), "processed_time": ended}
        return json.dumps(row | told | {"response": result.get("response", {})}) + "\n"
