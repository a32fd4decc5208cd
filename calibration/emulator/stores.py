"""What the emulator remembers between calls: explicit caches and batch jobs. No network; emulated seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from calibration.emulator.protocol import Json
from calibration.emulator.truth import Ask

DEFAULT_TTL_S = 3_600.0  # an explicit cache lives an hour unless told otherwise
_TTL = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")

State = Literal["PENDING", "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"]


def ttl_s(body: Mapping[str, object]) -> float:
    """The life a request asks for, such as ``"ttl": "300s"``. Raises ValueError for another form."""
    given = body.get("ttl")
    if given is None:
        return DEFAULT_TTL_S
    match = _TTL.fullmatch(str(given))
    if match is None:
        raise ValueError(f"ttl {given!r} is not a number of seconds such as 300s")
    return float(match[1])


@dataclass(frozen=True)
class Cached:
    """One explicit cache."""

    id: str
    model: str
    tokens: int
    created_s: float
    updated_s: float
    expires_s: float
    display_name: str = ""


class Caches:
    """Explicit caches by id; one that has expired is not there."""

    def __init__(self) -> None:
        self._held: dict[str, Cached] = {}
        self._made = 0

    def create(self, model: str, tokens: int, life_s: float, now_s: float, display_name: str = "") -> Cached:
        """Keep ``tokens`` of a prompt for ``life_s``."""
        self._made += 1
        made = Cached(f"c{self._made}", model, tokens, now_s, now_s, now_s + life_s, display_name)
        self._held[made.id] = made
        return made

    def get(self, id_: str, now_s: float) -> Cached | None:
        """The cache, if it has not expired."""
        found = self._held.get(id_)
        return found if found is not None and now_s < found.expires_s else None

    def extend(self, id_: str, life_s: float, now_s: float) -> Cached | None:
        """Let it live ``life_s`` from now."""
        found = self.get(id_, now_s)
        if found is None:
            return None
        self._held[id_] = replace(found, updated_s=now_s, expires_s=now_s + life_s)
        return self._held[id_]

    def delete(self, id_: str, now_s: float) -> bool:
        """Whether there was one to delete."""
        return self.get(id_, now_s) is not None and self._held.pop(id_, None) is not None

    def all(self, now_s: float) -> list[Cached]:
        """Those that have not expired, oldest first."""
        return [cached for cached in self._held.values() if now_s < cached.expires_s]


class Beginnings:
    """When prompts began how, of one model: what an implicit cache may hold."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def known(self, blocks: Sequence[str], life_s: float, now_s: float) -> int:
        """How many of a prompt's first blocks came within ``life_s``; from now on all of them have."""
        count = 0
        for digest in blocks:
            if now_s - self._seen.get(digest, -float("inf")) > life_s:
                break
            count += 1
        self._seen.update(dict.fromkeys(blocks, now_s))
        return count


@dataclass(frozen=True)
class Item:
    """One request of a job: its number among all requests, what it asks, the caller's own metadata."""

    index: int
    ask: Ask
    metadata: Json | None


@dataclass
class Job:
    """One batch job: its requests and when it gets on."""

    id: str
    model: str
    items: Sequence[Item]
    created_s: float
    starts_s: float
    ends_s: float
    display_name: str = ""
    cancelled_s: float | None = None
    results: list[Json] = field(default_factory=list)  # made when first read

    def state(self, now_s: float) -> State:
        """How far it is."""
        if self.cancelled_s is not None:
            return "CANCELLED"
        if now_s >= self.ends_s:
            return "SUCCEEDED"
        return "RUNNING" if now_s >= self.starts_s else "PENDING"

    @property
    def tokens(self) -> int:
        """Tokens of its prompts."""
        return sum(item.ask.input_tokens for item in self.items)


class Jobs:
    """Batch jobs by id."""

    def __init__(self) -> None:
        self._held: dict[str, Job] = {}
        self.made = 0

    def add(self, job: Job) -> None:
        """Take a job in."""
        self.made += 1
        self._held[job.id] = job

    def get(self, id_: str) -> Job | None:
        """The job of that id."""
        return self._held.get(id_)

    def cancel(self, id_: str, now_s: float) -> bool:
        """Stop a job that is not done; whether there is one of that id."""
        job = self._held.get(id_)
        if job is not None and job.state(now_s) in ("PENDING", "RUNNING"):
            job.cancelled_s = now_s
        return job is not None

    def delete(self, id_: str) -> bool:
        """Whether there was one to delete."""
        return self._held.pop(id_, None) is not None

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        return list(self._held.values())

    def enqueued_tokens(self, model: str, now_s: float) -> int:
        """Prompts of a model's jobs that are not done."""
        open_jobs = (j for j in self._held.values() if j.state(now_s) in ("PENDING", "RUNNING"))
        return sum(job.tokens for job in open_jobs if job.model == model)
