"""Caches, batch jobs and embeddings of the emulator: bodies in, bodies out, over the stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from calibration.emulator import protocol
from calibration.emulator.cloud_batches import CloudJobs
from calibration.emulator.protocol import Head, Json, Resource, get
from calibration.emulator.stores import Beginnings, Cached, Caches, Item, Job, Jobs, ttl_s
from calibration.emulator.truth import BLOCK_TOKENS, Ask, Truth

NO_CACHE = "CachedContent not found (or permission denied)."
_MAX_DIMENSIONS = 10_000


class Refused(Exception):  # noqa: N818  # not a fault of the program: a reply
    """A request the service answers with an error body."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = protocol.error(code, message)


class Resources:
    """Answers calls on ``cachedContents``, ``batches`` and the verbs that make them.

    ``now_s`` reads emulated seconds; callers are told dates of the wall clock.
    """

    def __init__(
        self,
        truth: Truth,
        now_s: Callable[[], float],
        next_index: Callable[[], int],
        storage: Path | None = None,
    ) -> None:
        self._truth, self._now_s, self._next_index = truth, now_s, next_index
        self._began = datetime.now(UTC)
        self.caches, self.jobs = Caches(), Jobs()
        self._beginnings = {name: Beginnings() for name in truth.models}
        self.cloud_jobs = CloudJobs(truth, now_s, self._date, self._item, self._cloud_result, storage)

    # --- caches -----------------------------------------------------------------------------------

    def with_cache(self, ask: Ask, model: str) -> Ask:
        """The request with the tokens of the cache it names. Raises Refused when there is none."""
        if ask.cached_content is None:
            return ask
        found = self.caches.get(str(ask.cached_content).rsplit("/", 1)[-1], self._now_s())
        if found is None or found.model != model:
            raise Refused(403, NO_CACHE)
        total = ask.input_tokens + found.tokens
        return replace(ask, input_tokens=total, cached_tokens=found.tokens)

    def with_implicit(self, ask: Ask, model: str, index: int) -> Ask:
        """The request with the tokens that an implicit cache serves it."""
        law = self._truth.models[model].implicit
        if law is None or ask.cached_content is not None:
            return ask
        blocks = self._beginnings[model].known(ask.beginnings, law.life_s, self._now_s())
        tokens = blocks * BLOCK_TOKENS
        served = tokens >= law.min_tokens and self._truth.is_cached(index, law)
        return replace(ask, cached_tokens=tokens) if served else ask

    def create_cache(self, body: Json, cloud: bool) -> Json:
        """``caches.create``: refused below the model's minimum."""
        name = str(body.get("model", "")).rsplit("/", 1)[-1]
        model = self._truth.models.get(name)
        if model is None:
            raise Refused(404, f"models/{name} is not found.")
        if model.cache_minimum_tokens is None:
            raise Refused(400, f"Model {name} does not support explicit caching.")
        tokens = protocol.count_tokens(body)
        if tokens < model.cache_minimum_tokens:
            least = f"total_token_count={tokens}, min_total_token_count={model.cache_minimum_tokens}"
            raise Refused(400, f"Cached content is too small. {least}")
        made = self.caches.create(
            name, tokens, self._life_s(body), self._now_s(), str(get(body, "displayName") or "")
        )
        return self._cache_body(made, cloud)

    def on_cache(self, method: str, target: Resource, body: Json) -> Json:
        """``caches.get``, ``update``, ``delete`` and ``list``."""
        now_s = self._now_s()
        if target.id is None:
            return {"cachedContents": [self._cache_body(c, target.cloud) for c in self.caches.all(now_s)]}
        if method == "DELETE":
            if not self.caches.delete(target.id, now_s):
                raise Refused(403, NO_CACHE)
            return {}
        found = self.caches.get(target.id, now_s)
        if method == "PATCH":
            found = self.caches.extend(target.id, self._life_s(body), now_s)
        if found is None:
            raise Refused(403, NO_CACHE)
        return self._cache_body(found, target.cloud)

    def _cache_body(self, cached: Cached, cloud: bool) -> Json:
        prefix = "projects/p/locations/l/" if cloud else ""
        return {
            "name": f"{prefix}cachedContents/{cached.id}",
            "model": f"models/{cached.model}",
            "displayName": cached.display_name,
            "createTime": self._date(cached.created_s),
            "updateTime": self._date(cached.updated_s),
            "expireTime": self._date(cached.expires_s),
            "usageMetadata": {"totalTokenCount": cached.tokens},
        }

    # --- batch jobs -------------------------------------------------------------------------------

    def create_job(self, name: str, body: Json) -> Json:
        """``batches.create`` with inline requests; the prompts waiting are bounded by the model's limit."""
        batch, now_s = body["batch"], self._now_s()
        requests = get(get(batch, "inputConfig"), "requests")["requests"]
        items = [self._item(name, entry) for entry in requests]
        if not items:
            raise Refused(400, "A batch needs at least one request.")
        turnaround_s = self._truth.turnaround_s(items[0].index, name)
        starts_s = now_s + self._truth.models[name].batch.pending_share * turnaround_s
        label = str(get(batch, "displayName") or "")
        job = Job(f"b{self.jobs.made + 1}", name, items, now_s, starts_s, now_s + turnaround_s, label)
        most = self._truth.models[name].limits.batch_tokens
        if most is not None and self.jobs.enqueued_tokens(name, now_s) + job.tokens > most:
            raise Refused(429, f"The limit of {most} enqueued batch tokens of {name} is exceeded.")
        self.jobs.add(job)
        return self._job_body(job)

    def _item(self, name: str, entry: Json) -> Item:
        ask, _ = protocol.parse_ask(entry["request"])
        return Item(self._next_index(), self.with_cache(ask, name), entry.get("metadata"))

    def on_job(self, method: str, target: Resource) -> Json:
        """``batches.get``, ``list``, ``cancel`` and ``delete``."""
        if target.id is None:
            return {"operations": [self._job_body(job) for job in self.jobs.all()]}
        if target.verb == "cancel":
            there = self.jobs.cancel(target.id, self._now_s())
        elif method == "DELETE":
            there = self.jobs.delete(target.id)
        else:
            job = self.jobs.get(target.id)
            if job is not None:
                return self._job_body(job)
            there = False
        if not there:
            raise Refused(404, f"batches/{target.id} is not found.")
        return {}

    def _job_body(self, job: Job) -> Json:
        state = job.state(self._now_s())
        metadata: Json = {
            "state": f"BATCH_STATE_{state}",
            "model": f"models/{job.model}",
            "displayName": job.display_name,
            "createTime": self._date(job.created_s),
        }
        if state == "SUCCEEDED":
            job.results = job.results or [self._result(job.model, item) for item in job.items]
            metadata["endTime"] = self._date(job.ends_s)
            metadata["output"] = {"inlinedResponses": {"inlinedResponses": job.results}}
        return {
            "name": f"batches/{job.id}",
            "metadata": metadata,
            "done": state in ("SUCCEEDED", "CANCELLED"),
        }

    def _cloud_result(self, name: str, item: Item) -> Json:
        return self._result(name, item, created=self._date(self._now_s()))

    def _result(self, name: str, item: Item, created: str = "") -> Json:
        """One reply; of Cloud mode where it is told when it was ``created``."""
        draw = self._truth.draw(item.index, name, item.ask)
        told: Json = {} if item.metadata is None else {"metadata": item.metadata}
        if draw.fault is not None:
            return told | {"error": {"code": 14, "message": "The model is overloaded."}}
        id_, ask = f"emulated-{self._truth.seed}-{item.index}", item.ask
        head = Head(name, id_, ask.input_tokens, bool(created), draw.truncated, created, ask.cached_tokens)
        return told | {"response": protocol.whole(head, draw.thoughts, draw.answer)}

    # --- embeddings -------------------------------------------------------------------------------

    def embeddings(self, name: str, verb: str, body: Json) -> tuple[Json, int]:
        """The reply of an embedding verb, and the tokens it took."""
        if verb == "predict":
            texts = [str(instance["content"]) for instance in body["instances"]]
            asked = (body.get("parameters") or {}).get("outputDimensionality")
            vectors = [self._vector(name, text, asked) for text in texts]
            counts = [max(1, -(-len(text) // protocol.CHARS_PER_TOKEN)) for text in texts]
            pairs = zip(vectors, counts, strict=True)
            rows = [{"embeddings": {"values": v, "statistics": {"token_count": n}}} for v, n in pairs]
            return {"predictions": rows}, sum(counts)
        requests = body["requests"] if verb == "batchEmbedContents" else [body]
        contents = [{"contents": [request["content"]]} for request in requests]
        tokens = sum(protocol.count_tokens(content) for content in contents)
        made = [
            {"values": self._vector(name, protocol.text_of(content), get(request, "outputDimensionality"))}
            for content, request in zip(contents, requests, strict=True)
        ]
        return ({"embeddings": made} if verb == "batchEmbedContents" else {"embedding": made[0]}), tokens

    def _vector(self, name: str, text: str, asked: Any) -> list[float]:  # noqa: ANN401  # a JSON value
        most = self._truth.models[name].embedding_dimensions or 0
        size = most if asked is None else int(asked)
        if not 1 <= size <= min(most, _MAX_DIMENSIONS):
            raise Refused(400, f"outputDimensionality must be from 1 to {most}.")
        return self._truth.embedding(name, text, size)

    def _date(self, at_s: float) -> str:
        wall_s = at_s / self._truth.time_scale
        return (self._began + timedelta(seconds=wall_s)).isoformat().replace("+00:00", "Z")

    def _life_s(self, body: Json) -> float:
        """Emulated seconds that a cache shall live: what a client asks for are seconds of its own clock."""
        try:
            return ttl_s(body) * self._truth.time_scale
        except ValueError as error:
            raise Refused(400, str(error)) from None
