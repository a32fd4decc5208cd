"""Kills `proflash calibrate` at random moments, fills its disk, interrupts it, and sees what is lost.

    python benchmarks/kills.py --kills 200

Runs a time-scaled emulator and, again and again, the command with `--resume` in a forked process that is
killed with `kill -9` after a random time: while it counts, makes caches, sends, writes. After each kill the
sample file must hold every sample it held before, at most one call a worker may be missing of those the
service took, and in the end every request of the plan must have exactly one sample. Prints one JSON document;
exit code 1 where something was lost or repeated.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import google.genai.types  # noqa: F401  # before forking: a child then starts in milliseconds
from forked_emulator import emulator

import calibration.fit_report
import calibration.profile_writer
import calibration.session  # noqa: F401
import proflash
from calibration import samples
from calibration.emulator import ModelTruth, OutputLaw, Truth
from profiles.latency import LatencyLaw, Noise

STARTED = 0.8  # share of kills after a run has stored samples; the others come while it starts
MODEL, WORKERS, SCALE = "gemini-3.8-flash", 8, 5.0
LAW = LatencyLaw(0.2, 1e-6, 1e-7, 0.002, Noise(0.3), Noise(0.1), first_chunk_tokens=24)
OPTIONS = [
    "--models", MODEL, "--levels", "low", "--rate-per-s", "60",
    "--input-tokens", "50,500", "--answer-tokens", "50", "--cached-tokens", "4096", "--max-usd", "1000",
    "--max-in-flight", str(WORKERS), "--max-lag-s", "9", "--max-cpu-share", "9", "--date", "2026-11-22",
]  # fmt: skip


def start(url, folder, requests, *more, file_bytes=None):
    """The command in a forked process; its id."""
    sys.stdout.flush()
    if (process := os.fork()) != 0:
        return process
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if file_bytes is not None:  # a disk that is full from there on: every further write fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    here = ["--base-url", url, "--out", str(folder), "--requests", str(requests)]
    sys.argv = ["proflash", "calibrate", *here, *OPTIONS, *more]
    code = 70
    try:
        proflash.main()
    except SystemExit as done:
        code = done.code or 0
    finally:
        os._exit(code if isinstance(code, int) else 1)


def wait(process):
    """How a process ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def asked(url, path="/_stats"):
    """What the emulator says, once it says the same twice."""
    request = urllib.request.Request(url + path, headers={"x-goog-api-key": "k"})
    before = None
    while True:
        with urllib.request.urlopen(request, timeout=10) as reply:
            found = json.load(reply)
        if found == before:
            return found
        before = found
        time.sleep(0.02)


def begun(url):
    """Replies that the emulator has begun."""
    return asked(url)[MODEL]["begun"]


def stored(file):
    """Lines of samples by index, in order; none where the file is not there yet."""
    if not file.exists() or not file.stat().st_size:
        return []
    return [json.loads(line)["index"] for line in file.read_bytes().splitlines(True) if is_sample(line)]


def is_sample(line):
    """Whether a whole line holds a sample."""
    return line.endswith(b"\n") and b'"kind":"sample"' in line


class Campaign:
    """One sample file that is filled through kills; counts what went wrong."""

    def __init__(self, url, requests):
        self.url, self.requests, self.folder = url, requests, Path(tempfile.mkdtemp())
        self.file = self.folder / "samples.jsonl"
        self.before, self.began, self.faults, self.lost = [], begun(url), Counter(), []

    def start(self, **options):
        """One run more, which resumes once there is something to go on from."""
        more = ["--resume"] if self.file.exists() and self.file.stat().st_size else []
        return start(self.url, self.folder, self.requests, *more, **options)

    @property
    def told(self):
        """What the last run said on stderr."""
        return (self.folder / "stderr").read_text()

    def look(self):
        """Compares file and service after a process has ended."""
        now = stored(self.file)
        self.faults["samples lost"] += now[: len(self.before)] != self.before
        self.faults["samples repeated"] += len(now) - len(set(now))
        missing = begun(self.url) - self.began - len(now)
        lost = missing - sum(self.lost)
        self.faults["more lost than one a worker"] += not 0 <= lost <= WORKERS
        self.lost.append(lost)
        self.before = now

    def kill(self, rng):
        """One run, killed after a random time; whether it had ended by itself before."""
        process = self.start()
        if rng.random() < STARTED:
            self.wait_for_samples(process)
        time.sleep(rng.uniform(0.0, 0.5))
        os.kill(process, signal.SIGKILL)
        code = wait(process)
        if code not in (0, -signal.SIGKILL):
            self.faults[f"exit code {code}: {(self.folder / 'stderr').read_text()[-300:]}"] += 1
        self.look()
        return code == 0

    def wait_for_samples(self, process):
        """Waits until the run stores a sample or is over."""
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if len(stored(self.file)) > len(self.before):
                return
            time.sleep(0.005)

    def finish(self):
        """A last run to the end: every request has one sample, and the books hold what was billed."""
        if len(set(self.before)) < self.requests:
            self.faults["the last run failed"] += wait(self.start()) != 0
            self.look()
        self.faults["requests without a sample"] += sorted(self.before) != list(range(self.requests))
        if self.faults["the last run failed"]:
            print(self.told, file=sys.stderr)
        file = samples.read(self.file)
        self.faults["what was lost is not booked"] += sum(self.lost) > 0 and not any(
            note.unaccounted_pusd for note in file.notes
        )


def full_disk(url, requests):
    """A disk that is full after some samples: exit code 1 and why, nothing lost, the rest by resuming."""
    run = Campaign(url, requests)
    run.faults["full disk: exit code"] += wait(run.start(file_bytes=20_000)) != 1
    run.faults["full disk: no reason"] += "File too large" not in run.told or "Traceback" in run.told
    run.faults["full disk: nothing stored"] += not stored(run.file)
    run.look()
    run.finish()
    return run


def ctrl_c(url, requests):
    """Ctrl-C after the first samples: exit code 130 and how to go on, the rest by resuming."""
    run = Campaign(url, requests)
    process = run.start()
    while len(stored(run.file)) < 10:
        time.sleep(0.02)
    os.kill(process, signal.SIGINT)
    code = wait(process)
    sound = code == 130 and "--resume continues" in run.told and "Traceback" not in run.told
    run.faults[f"ctrl-c: exit code {code}: {run.told[-300:]}"] += not sound
    run.faults["ctrl-c: taken for a kill"] += bool(samples.read(run.file).killed)
    run.look()
    run.finish()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--requests", type=int, default=400, help="of one sample file")
    parser.add_argument("--seed", type=int, default=1)
    asked_for = parser.parse_args()
    proflash._app()  # what the command line imports
    truth = Truth({MODEL: ModelTruth(LAW, {"low": None}, "low", OutputLaw(sigma=0.2))}, time_scale=SCALE)
    server, url = emulator(truth)
    try:
        runs = killed(url, asked_for.kills, asked_for.requests, random.Random(asked_for.seed))
        lost = [one for run in runs for one in run.lost]
        runs += [full_disk(url, asked_for.requests), ctrl_c(url, asked_for.requests)]
        orphans = len(asked(url, "/v1/cachedContents")["cachedContents"])
    finally:
        os.kill(server, signal.SIGTERM)
        wait(server)
    faults = {name: n for run in runs for name, n in run.faults.items() if n}
    told = {
        "kills": asked_for.kills,
        "workers": WORKERS,
        "lost in all": sum(lost),
        "most lost by one kill": max(lost),
        "caches left to expire": orphans,
        "faults": faults,
    }
    print(json.dumps(told, indent=2))
    return 1 if faults else 0


def killed(url, kills, requests, rng):
    """Sample files filled through so many kills in all, each brought to its end."""
    runs = [Campaign(url, requests)]
    while kills:
        if runs[-1].kill(rng):  # it was over before: nobody was killed
            runs[-1].finish()
            runs.append(Campaign(url, requests))
        else:
            kills -= 1
    runs[-1].finish()
    return runs


if __name__ == "__main__":
    sys.exit(main())
