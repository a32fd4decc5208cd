"""The cached arm of a plan: explicit caches made before the first request, kept alive, deleted at the end.

A cache is given a short life and renewed while the run goes on, so that a killed run leaves little behind:
what it leaves expires within ten minutes, and a later run into the same file deletes it. Every cache and
every renewal is booked at the most it can cost, in ledger and sample file, before the service is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from calibration.client import Api, ServiceError
from calibration.plan import Plan, cached_text
from calibration.samples import CacheNote
from calibration.spend import Ledger
from profiles.errors import InputError

LIFE_S = 600.0
_RENEW_S = LIFE_S / 2
_AGAIN_S = 15.0  # after a renewal that failed
Key = tuple[str, int]  # model and tokens of a cache


@dataclass
class Caches:
    """The caches of a run by model and length; ``stopped`` says why they cannot be kept alive."""

    names: dict[Key, str] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    stopped: str | None = None

    def name_of(self, key: Key) -> str | None:
        """The cache that a request reads; None for one that reads none."""
        return self.names.get(key)


def making_pusd(plan: Plan, model: str, tokens: int) -> int:
    """Price of a new cache: its tokens as input, and its first life's storage."""
    return tokens * plan.targets[model].tariff.card.for_prompt(tokens).input + _storage_pusd(
        plan, model, tokens, LIFE_S
    )


def expected_pusd(plan: Plan) -> int:
    """Price of all caches of a plan that takes as long as it should."""
    life_s = max(0.0, plan.duration_s - _RENEW_S)
    return sum(
        making_pusd(plan, model, tokens) + _storage_pusd(plan, model, tokens, life_s)
        for model, tokens in plan.caches
    )


def _storage_pusd(plan: Plan, model: str, tokens: int, life_s: float) -> int:
    rate = plan.targets[model].tariff.card.cache_storage_hour
    if rate is None:
        raise InputError(f"{model}: the price of keeping a cache is not known")
    return -(-tokens * rate * round(life_s) // 3600)


@dataclass
class _Keeper:
    api: Api
    plan: Plan
    ledger: Ledger
    note: Callable[[CacheNote], Awaitable[None]]
    held: Caches = field(default_factory=Caches)

    async def tell(self, event: str, key: Key, name: str | None = None, cost_pusd: int = 0) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        await self.note(CacheNote(event, at, *key, name, cost_pusd))  # type: ignore[arg-type]  # one of three

    async def book(self, key: Key, cost_pusd: int) -> bool:
        """Whether the cap has room for it; then it is spent."""
        if not self.ledger.reserve(cost_pusd):
            return False
        self.ledger.settle(cost_pusd, cost_pusd)
        await self.tell("asked", key, cost_pusd=cost_pusd)
        return True

    async def make(self, key: Key, nonce: str) -> None:
        text = cached_text(*key, nonce)
        counted = await self.api.count_tokens(key[0], text)
        tokens = min(len(text.encode()), round(counted * 1.05) + 64) if counted else len(text.encode())
        if not await self.book(key, making_pusd(self.plan, key[0], tokens)):
            raise InputError("the cap on money has no room for the caches of the plan; raise it or drop them")
        name, size = await self.api.make_cache(key[0], text, LIFE_S)
        self.held.names[key], self.held.tokens[key] = name, size or tokens
        await self.tell("made", key, name)

    async def keep(self) -> None:
        """Renews every cache until it is cancelled; ``stopped`` is set where the cap has no room for it."""
        while True:
            await asyncio.sleep(_RENEW_S)
            for key, name in self.held.names.items():
                cost_pusd = _storage_pusd(self.plan, key[0], self.held.tokens[key], _RENEW_S)
                if not await self.book(key, cost_pusd):
                    self.held.stopped = "spending cap"
                    return
                while not await self.renewed(name):
                    await asyncio.sleep(_AGAIN_S)

    async def renewed(self, name: str) -> bool:
        try:
            await self.api.extend_cache(name, LIFE_S)
        except ServiceError:
            return False
        return True


async def drop(api: Api, name: str, note: Callable[[CacheNote], Awaitable[None]], key: Key = ("", 0)) -> None:
    """Deletes a cache and says so; one that cannot be deleted expires by itself."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(ServiceError, OSError):
        await api.delete_cache(name)
    with contextlib.suppress(OSError):
        await note(CacheNote("gone", at, *key, name))


@contextlib.asynccontextmanager
async def keeping(
    api: Api,
    plan: Plan,
    keys: Iterable[Key],
    ledger: Ledger,
    note: Callable[[CacheNote], Awaitable[None]],
    nonce: str,
) -> AsyncIterator[Caches]:
    """The caches ``keys`` while the block runs; InputError where the cap has no room for them."""
    keeper = _Keeper(api, plan, ledger, note)
    task = asyncio.create_task(keeper.keep())
    try:
        for key in keys:
            await keeper.make(key, nonce)
        yield keeper.held
    finally:
        task.cancel()
        for key, name in keeper.held.names.items():
            await drop(api, name, note, key)
