"""The emulator in a process of its own, forked before any thread or loop is there."""

import asyncio
import os

from calibration.emulator.server import serving


def emulator(truth):
    """Serves a truth in a forked process; its id and URL."""
    reading, writing = os.pipe()

    async def serve():
        async with serving(truth) as url:
            os.write(writing, url.encode() + b"\n")
            await asyncio.Event().wait()

    if (process := os.fork()) == 0:
        asyncio.run(serve())
    os.close(writing)
    with os.fdopen(reading) as told:
        return process, told.readline().strip()
