"""What a provider keeps of prompts: prefixes found again, with real hits and expiry.

The rule, which the audit re-plays from the rows:

1. A prompt may begin with a text that its class shares (``prefix``), and with what the turn before it sent
   (``history``). Each counts where it has the model's minimum; the longer one that is found counts.
2. A prefix is there from the first answer token of a call that began with it, so calls under way at the same
   time do not help each other, and for ``life_s`` after the last such token. Then it is found with
   ``hit_chance``, decided by a uniform drawn before the run.
3. An explicit cache holds shared texts only. A text that is not stored when a call that begins with it is
   served is stored then; that call takes as long as one that finds nothing, since somebody has to read it.
4. A cache belongs to the model that served. While an event has the endpoint serve another, nothing of it is
   found; what the caller stored is deleted when the switch comes, and not paid for any longer.
5. What is found is not read again: it takes ``per_cached_token_s`` instead of ``per_uncached_token_s`` under
   the same noise, is billed and burnt at the cached rate, and counts against limits like any other token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from profiles.schema import ModelProfile
from sim.luck import Luck
from sim.records import Usage
from sim.scenario.caches import ExplicitCache, ImplicitCache
from sim.stations.base import Call, Station
from sim.timeline import Steps
from sim.workload.columns import Workload

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Kept:
    """One prefix: how much of it is there and since when; and calls that will leave more of it."""

    ready_s: float = -np.inf
    tokens: int = 0
    coming: list[tuple[float, int]] = field(default_factory=list)

    def at(self, now: float, life_s: float) -> int:
        """Tokens there at ``now``; times must not decrease."""
        while self.coming and self.coming[0][0] < now:
            self.ready_s, self.tokens = heappop(self.coming)
        return self.tokens if now - self.ready_s <= life_s else 0


class PrefixCache(Protocol):
    """What keeps prefixes at an endpoint."""

    def find(self, request: int, service: int, now: float) -> tuple[int, int]:
        """Tokens of the prompt billed as cached, and how many of them need not be read."""

    def leave(self, request: int, begin_s: float, ready_s: float, free_s: float) -> None:
        """A service begins; its first token comes at ``ready_s``, unless it stops before, at ``free_s``."""

    def take_back(self, request: int, begin_s: float, ready_s: float) -> None:
        """A service begun at ``begin_s``, to have its first token at ``ready_s``, is cancelled before."""

    def usage(self, endpoint: str, ended_s: float) -> list[Usage]:
        """What is billed for the keeping."""


class Beginnings:
    """What the prompts of a load begin with, as plain lists; of too short a beginning nothing is kept.

    A conversation is known by the request that opened it, or that went on after its context was cut down.
    """

    def __init__(self, load: Workload, minimum: int) -> None:
        if load.prefix is None or load.prefix_tokens is None or load.history_tokens is None:
            self.shared = [-1] * len(load)
            self.shared_tokens = self.history = [0] * len(load)
        else:
            long_enough = load.prefix_tokens >= minimum
            self.shared = np.where(long_enough, load.prefix, -1).tolist()
            self.shared_tokens = load.prefix_tokens.tolist()
            self.history = np.where(load.history_tokens >= minimum, load.history_tokens, 0).tolist()
        self.prompts: list[int] = np.where(load.input_tokens >= minimum, load.input_tokens, 0).tolist()
        self.opener = openers(load)


def openers(load: Workload) -> list[int]:
    """The request that opened each request's conversation: itself where nothing is carried over."""
    opener = list(range(len(load)))
    if load.history_tokens is None:
        return opener
    for request in np.flatnonzero((load.follows >= 0) & (load.history_tokens > 0)).tolist():
        opener[request] = opener[int(load.follows[request])]
    return opener


class ImplicitPrefixes:
    """The provider's own cache at one endpoint."""

    def __init__(self, spec: ImplicitCache, name: str, load: Workload, minimum: int) -> None:
        self._life_s, self._chance = spec.life_s, spec.hit_chance
        self._begin = Beginnings(load, minimum)
        self._kept: dict[int, Kept] = {}  # shared texts by number, conversations by -1 - opener
        self._draw: Callable[[int], list[float]] = lambda k: luck_of(load, name, k).tolist()
        self._luck: list[list[float]] = []

    def find(self, request: int, service: int, now: float) -> tuple[int, int]:
        """See `PrefixCache`."""
        begin = self._begin
        found = 0
        if begin.shared[request] >= 0 and self._there(begin.shared[request], now):
            found = begin.shared_tokens[request]
        if begin.history[request]:
            conversation = self._there(-1 - begin.opener[request], now)
            found = max(found, min(conversation, begin.history[request]))
        found = found if found and self._lucky(request, service) else 0
        return found, found

    def leave(self, request: int, begin_s: float, ready_s: float, free_s: float) -> None:
        """What a call began with is there from its first token on."""
        if ready_s > free_s:  # cut short before it
            return
        begin = self._begin
        if begin.shared[request] >= 0:
            self._add(begin.shared[request], ready_s, begin.shared_tokens[request])
        if begin.prompts[request]:
            self._add(-1 - begin.opener[request], ready_s, begin.prompts[request])

    def take_back(self, request: int, begin_s: float, ready_s: float) -> None:
        """See `PrefixCache`."""
        begin = self._begin
        if begin.shared[request] >= 0:
            self._remove(begin.shared[request], ready_s, begin.shared_tokens[request])
        if begin.prompts[request]:
            self._remove(-1 - begin.opener[request], ready_s, begin.prompts[request])

    def usage(self, endpoint: str, ended_s: float) -> list[Usage]:
        """The provider's own cache is free."""
        return []

    def _there(self, key: int, now: float) -> int:
        kept = self._kept.get(key)
        return 0 if kept is None else kept.at(now, self._life_s)

    def _add(self, key: int, ready_s: float, tokens: int) -> None:
        heappush(self._kept.setdefault(key, Kept()).coming, (ready_s, tokens))

    def _remove(self, key: int, ready_s: float, tokens: int) -> None:
        coming = self._kept[key].coming
        coming.remove((ready_s, tokens))
        heapify(coming)

    def _lucky(self, request: int, service: int) -> bool:
        while service >= len(self._luck):
            self._luck.append(self._draw(len(self._luck)))
        return self._luck[service][request] < self._chance


class StoredPrefixes:
    """What the caller stores at one endpoint and pays for."""

    def __init__(
        self, spec: ExplicitCache, load: Workload, minimum: int, deleted_s: tuple[float, ...] = ()
    ) -> None:
        """``deleted_s``: when the caller deletes all of it."""
        self._ttl_s, self._extend, self._deleted_s = spec.ttl_s, spec.extend, deleted_s
        self._begin = Beginnings(load, minimum)
        self._classes: list[int] = load.class_id.tolist()
        self._stored: dict[int, list[Stored]] = {}  # by prefix, the latest last

    def find(self, request: int, service: int, now: float) -> tuple[int, int]:
        """See `PrefixCache`."""
        key = self._begin.shared[request]
        if key < 0:
            return 0, 0
        tokens = self._begin.shared_tokens[request]
        return tokens, tokens if self._holds(key, now) else 0

    def leave(self, request: int, begin_s: float, ready_s: float, free_s: float) -> None:
        """A call begins: its text is stored, or stored for longer."""
        key = self._begin.shared[request]
        if key < 0:
            return
        if not self._holds(key, begin_s):
            row = Stored(self._classes[request], self._begin.shared_tokens[request], begin_s)
            self._stored.setdefault(key, []).append(row)
        elif not self._extend:
            return
        deleted_s = next((at_s for at_s in self._deleted_s if at_s > begin_s), np.inf)
        self._stored[key][-1].until_s = min(begin_s + self._ttl_s, deleted_s)

    def take_back(self, request: int, begin_s: float, ready_s: float) -> None:
        """A text is stored before it is asked about: the storing stands."""

    def usage(self, endpoint: str, ended_s: float) -> list[Usage]:
        """Each writing at the input price, and each storing up to its end or the run's."""
        rows = [row for stored in self._stored.values() for row in stored]
        written = [Usage(endpoint, "input", r.class_id, r.since_s, r.since_s, r.tokens) for r in rows]
        kept = [(r, min(r.until_s, ended_s)) for r in rows]
        return written + [
            Usage(endpoint, "cache_storage_hour", r.class_id, r.since_s, until_s, r.tokens)
            for r, until_s in kept
        ]

    def _holds(self, key: int, now: float) -> bool:
        return key in self._stored and now < self._stored[key][-1].until_s


class CacheByModel:
    """A cache for each model that events have an endpoint serve."""

    def __init__(self, caches: Steps[PrefixCache]) -> None:
        self._caches = caches

    def find(self, request: int, service: int, now: float) -> tuple[int, int]:
        """See `PrefixCache`."""
        return self._caches.at(now).find(request, service, now)

    def leave(self, request: int, begin_s: float, ready_s: float, free_s: float) -> None:
        """See `PrefixCache`."""
        self._caches.at(begin_s).leave(request, begin_s, ready_s, free_s)

    def take_back(self, request: int, begin_s: float, ready_s: float) -> None:
        """See `PrefixCache`."""
        self._caches.at(begin_s).take_back(request, begin_s, ready_s)

    def usage(self, endpoint: str, ended_s: float) -> list[Usage]:
        """What is billed for the keeping, model by model."""
        return [row for one in dict.fromkeys(self._caches.values) for row in one.usage(endpoint, ended_s)]


@dataclass(slots=True)
class Stored:
    """One text stored for a time."""

    class_id: int
    tokens: int
    since_s: float
    until_s: float = np.inf


def luck_of(load: Workload, name: str, k: int) -> Floats:
    """The uniforms that decide whether the k-th services at an endpoint find what is there."""
    return load.luck.uniforms(f"context-cache/{name}", len(load), k)


def saved_s_per_token(
    model: ModelProfile | None, own_law: bool, name: str, luck: Luck, n: int, k: int
) -> Floats:
    """Seconds that one token found saves the k-th service of each request, under that service's own noise.

    Nothing where the scenario states the service time itself (``own_law``).
    """
    if own_law or model is None:
        return np.zeros(n)
    law = model.latency.law
    noise = law.prefill_factor(luck.normals(f"ttft/{name}", n, k), luck.uniforms(f"ttft-tail/{name}", n, k))
    return np.asarray((law.per_uncached_token_s - law.per_cached_token_s) * noise)


class Savings:
    """Seconds saved a token, by column of services, as plain lists made when needed."""

    def __init__(self, draw: Callable[[int], Floats]) -> None:
        self._draw = draw
        self._columns: list[list[float]] = []

    def of(self, call: Call) -> float:
        """Seconds a token found saves this call."""
        while call.service >= len(self._columns):
            self._columns.append(self._draw(len(self._columns)).tolist())
        return self._columns[call.service][call.request]


class Remembering(Station):
    """Mixed into a station: each call looks into the cache when it comes, and leaves its prompt there."""

    draws_cached = False

    def remember(self, cache: PrefixCache, savings: Savings) -> None:
        """Learn the cache, once, before the first call."""
        self._cache, self._savings = cache, savings
        self._first_s: list[list[float]] = []
        self._timed = True  # so that `_watched` is asked for every call

    def submit(self, call: Call, now: float) -> None:
        """Find what is kept of the call's prompt; the call then carries what that saves."""
        k = self._services_begun.get(call.request, 0)
        call.cached, call.unread = self._cache.find(call.request, k, now)
        call.odd = call.odd or call.cached > 0
        super().submit(call, now)

    def _watched(self, call: Call, now: float) -> float:
        """When the service stops, shortened by what was found, and from when on its prompt is there."""
        if call.request in self._services_begun:
            self._serve_again(call)
        if call.unread:
            call.saved_s = call.unread * self._savings.of(call)
        free_s = now + (self.services.total_s[call.service][call.request] - call.saved_s)
        if free_s > call.send_s + self._timeout_s:
            free_s = self._cut_short(call, free_s)
        ready_s = now + (self._first_of(call) - call.saved_s)
        self._cache.leave(call.request, now, ready_s, free_s)
        return free_s

    def cancel(self, call: Call, now: float) -> None:
        """See `Station.cancel`; a prompt whose first token had not come is not kept."""
        ready_s = self.first_token_s(call)
        if now < ready_s <= call.free_s:  # else nothing was to be left
            self._cache.take_back(call.request, call.begin_s, ready_s)
        super().cancel(call, now)

    def usage(self, ended_s: float) -> list[Usage]:
        """What is billed for keeping prefixes."""
        return [*super().usage(ended_s), *self._cache.usage(self.name, ended_s)]

    def _first_of(self, call: Call) -> float:
        while call.service >= len(self._first_s):
            self._first_s.append(self.services.columns[len(self._first_s)].first_s.tolist())
        return self._first_s[call.service][call.request]
