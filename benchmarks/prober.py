"""Samples a second and what the prober adds, beside raw aiohttp that reads the same streams by hand.

    python benchmarks/prober.py [--loads 1,4,16,64] [--calls 40]

An emulator in another process answers every call alike: first chunk after 0.5 s, then 24 chunks within 0.5 s.
So many calls are kept in flight by raw aiohttp, by measured calls of the SDK (`Api.measure`), and by the
whole prober with its ladder, its books and its synced sample file. Printed by calls in flight: samples a
second, CPU of the measuring thread a sample, how late the first chunk is stamped (median and p99), and
ratios to raw aiohttp.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import aiohttp
import google.genai.types  # noqa: F401  # before forking
import numpy as np
from forked_emulator import emulator

from calibration import samples
from calibration.client import CallSpec, connect
from calibration.emulator import ModelTruth, OutputLaw, Truth
from calibration.plan import Options, make_plan, target_of
from calibration.probe import Limits
from calibration.session import Settings, measure
from calibration.spend import Tariff
from profiles.catalog import load_catalog
from profiles.latency import LatencyLaw

MODEL, FIRST_S, TOKENS = "gemini-3.8-flash", 0.5, 600
LAW = LatencyLaw(FIRST_S, 0.0, 0.0, 0.5 / (TOKENS - 24), first_chunk_tokens=24)
PROMPT = f"hi about {TOKENS} tokens"


@dataclass(frozen=True)
class Seen:
    """One way at one load: seconds of wall and CPU, and the time to the first chunk of every call."""

    wall_s: float
    cpu_s: float
    first_s: np.ndarray

    @property
    def per_s(self):
        return len(self.first_s) / self.wall_s

    @property
    def cpu_ms(self):
        return 1000 * self.cpu_s / len(self.first_s)

    def late_ms(self, share):
        return 1000 * (np.quantile(self.first_s, share) - FIRST_S)


async def closed(call, load, calls):
    """``calls`` calls, so many in flight, their starts spread over one; the first one of all warms up."""
    await call()
    left, first_s = iter(range(calls)), []

    async def worker(number):
        await asyncio.sleep(number / load)
        for _ in left:
            first_s.append(await call())

    wall, cpu = time.perf_counter(), time.thread_time()
    await asyncio.gather(*(worker(number) for number in range(load)))
    return Seen(time.perf_counter() - wall, time.thread_time() - cpu, np.array(first_s))


async def raw(url, load, calls):
    """aiohttp and a reader of lines."""
    body = {"contents": [{"parts": [{"text": PROMPT}]}], "generationConfig": {"maxOutputTokens": TOKENS}}
    path = f"{url}/v1/models/{MODEL}:streamGenerateContent?alt=sse"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"x-goog-api-key": "k"}) as session:

        async def call():
            start, first = time.perf_counter(), None
            async with session.post(path, json=body) as reply:
                async for line in reply.content:
                    if line.startswith(b"data: ") and first is None:
                        first = time.perf_counter()
            return first - start

        return await closed(call, load, calls)


async def sdk(url, load, calls):
    """The SDK as the prober sets it up."""
    async with connect(url) as api:

        async def call():
            found = await api.measure(CallSpec(MODEL, PROMPT, TOKENS, None, False, 60.0))
            return found.first_chunk_s

        return await closed(call, load, calls)


async def prober(url, load, calls):
    """The whole prober: one step of a ladder after a warm-up call."""
    profile, day = load_catalog().models[MODEL], date(2026, 11, 22)
    target = target_of(profile, Tariff(profile.rate_card(channel="gemini_api", on=day)))
    options = Options(
        (MODEL,), 1, 5.0, (50,), (TOKENS,), ("low",), ladder=(load,), ladder_calls=calls, past_saturation=True
    )
    plan = make_plan(options, {MODEL: replace(target, rooms=dict.fromkeys(target.rooms, 0))})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.jsonl"
        limits = Limits(max(16, load), max_lag_s=60.0, max_cpu_share=60.0)
        cpu = time.thread_time()
        await measure(plan, Settings(url, 10**15, file, limits=limits))
        cpu_s = time.thread_time() - cpu
        rung = [s for s in samples.read(file).samples if plan.requests[s.index].rung]
    ends = [s.sent_s + s.measured.end_s for s in rung]
    first_s = np.array([s.measured.first_chunk_s for s in rung])
    return Seen(max(ends) - min(s.sent_s for s in rung), cpu_s, first_s)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", default="1,4,16,64")
    parser.add_argument("--calls", type=int, default=40, help="at least; five for each in flight")
    asked = parser.parse_args()
    model = ModelTruth(LAW, {"low": None}, "low", OutputLaw(TOKENS, 0.0))
    server, url = emulator(Truth({MODEL: model}))
    columns = f"{'samples/s':>9} {'CPU ms':>7} {'late p50':>9} {'late p99':>9}"
    print(f"{'in flight':>9} {'way':<8} {columns}  to raw: samples/s, CPU")
    try:
        for load in map(int, asked.loads.split(",")):
            calls, base = max(asked.calls, 5 * load), None
            for way in (raw, sdk, prober):
                seen = asyncio.run(way(url, load, calls))
                base = base or seen
                print(
                    f"{load:>9} {way.__name__:<8} {seen.per_s:>9.1f} {seen.cpu_ms:>7.1f} "
                    f"{seen.late_ms(0.5):>6.0f} ms {seen.late_ms(0.99):>6.0f} ms  "
                    f"{seen.per_s / base.per_s:.2f}, {seen.cpu_ms / base.cpu_ms:.1f}"
                )
    finally:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
