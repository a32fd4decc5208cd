"""A plan computed by a child interpreter: started, watched, stopped; and the finished plans, kept.

The child is the same command a person would type, so a page can never differ from the command line. Its
scenario goes in on stdin; progress comes back on stderr, one JSON object a line, and the plan on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from profiles.errors import InputError
from sim.experiments.plan import Plan

State = Literal["running", "done", "failed", "cancelled", "timed_out"]

COMMAND = (sys.executable, "-u", "-m", "proflash", "plan", "-", "--json", "--progress", "jsonl")
ROOT = Path(__file__).resolve().parents[1]  # where the child finds the packages when they are not installed
MAX_RUNNING = 4
MAX_SECONDS = 1800.0
MAX_KEPT = 32
_GRACE_S = 3.0  # between asking a child to stop and making it
_MESSAGE_LINES = 20
_DRAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """A job at one moment: replications ``done`` of ``of`` (0 until the child says), and how it ended."""

    state: State
    done: int
    of: int
    elapsed_s: float
    message: str = ""  # why it failed, in the child's words
    plan: Plan | None = None

    @property
    def running(self) -> bool:
        """Whether the child is still at work."""
        return self.state == "running"


class Job:
    """One child interpreter at work on one scenario. `Jobs.start` makes it."""

    def __init__(self, key: str, text: str, command: Sequence[str], cap_s: float) -> None:
        self.key = key
        self._started = time.monotonic()
        self._why: State | None = None
        self._progress = (0, 0)
        self._said: deque[str] = deque(maxlen=_MESSAGE_LINES)
        self._document = ""
        self._final: Status | None = None
        self._lock = threading.Lock()
        self._child = _spawn(command)
        self._readers = [_thread(self._read_progress), _thread(self._read_document)]
        _thread(self._write, text)
        self._cap = threading.Timer(cap_s, self._stop, ["timed_out"])
        self._cap.daemon = True
        self._cap.start()

    def poll(self) -> Status:
        """How the job stands; never waits for the child's work."""
        with self._lock:
            if self._final is None and self._child.poll() is not None:
                self._final = self._finish()
            if self._final is not None:
                return self._final
            return Status("running", *self._progress, time.monotonic() - self._started)

    def cancel(self) -> None:
        """Ask the child to stop, and make it stop when it has not after three seconds. Returns at once."""
        self._stop("cancelled")

    def kill(self) -> None:
        """Make the child and its workers stop now, and wait for it."""
        self._why = self._why or "cancelled"
        _signal(self._child, hard=True)
        self._child.wait(_GRACE_S)
        self.poll()

    def _stop(self, why: State) -> None:
        if self._child.poll() is not None:
            return
        self._why = self._why or why
        _signal(self._child, hard=False)
        force = threading.Timer(_GRACE_S, self._force)
        force.daemon = True
        force.start()

    def _force(self) -> None:
        if self._final is None:
            _signal(self._child, hard=True)

    def _finish(self) -> Status:
        self._cap.cancel()
        _signal(self._child, hard=True)  # workers that outlived the child
        for reader in self._readers:
            reader.join(_DRAIN_S)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        done, of = self._progress
        elapsed = time.monotonic() - self._started
        if self._why is not None:
            return Status(self._why, done, of, elapsed)
        if self._child.returncode:
            return Status("failed", done, of, elapsed, self._message())
        try:
            return Status("done", done, of, elapsed, plan=Plan.from_json(self._document))
        except InputError as error:
            return Status("failed", done, of, elapsed, f"the result cannot be read: {error}")

    def _message(self) -> str:
        said = "\n".join(self._said).strip()
        return said or f"the run ended with exit code {self._child.returncode} and said nothing"

    def _write(self, text: str) -> None:
        assert self._child.stdin is not None
        try:
            with self._child.stdin as pipe:
                pipe.write(text)
        except OSError:  # the child ended before it had read everything: its exit code tells why
            pass

    def _read_progress(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            found = _progress(line)
            if found is not None:
                self._progress = found
            elif line.strip():
                self._said.append(line.rstrip())

    def _read_document(self) -> None:
        assert self._child.stdout is not None
        self._document = self._child.stdout.read()


class Jobs:
    """The children of one server, at most ``max_running`` at a time, and the last plans they made."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        max_running: int = MAX_RUNNING,
        cap_s: float = MAX_SECONDS,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self._command = tuple(command)
        self._max_running = max_running
        self._cap_s = cap_s
        self._max_kept = max_kept
        self._jobs: list[Job] = []
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, key: str, text: str) -> Job:
        """A child at work on the scenario ``text``; its plan will be kept under ``key``.

        Raises InputError when too many are at work already.
        """
        with self._lock:
            self._harvest()
            if len(self._jobs) >= self._max_running:
                raise InputError(
                    f"{len(self._jobs)} runs are under way, and {self._max_running} is the most at a time: "
                    "wait for one to end, or cancel one."
                )
            job = Job(key, text, self._command, self._cap_s)
            self._jobs.append(job)
            return job

    def plan(self, key: str) -> Plan | None:
        """The plan kept under ``key``, also when the page that asked is gone; None if there is none."""
        with self._lock:
            self._harvest()
            if key in self._plans:
                self._plans.move_to_end(key)
            return self._plans.get(key)

    def close(self) -> None:
        """Stop every child now."""
        with self._lock:
            for job in self._jobs:
                job.kill()

    def _harvest(self) -> None:
        """Keep what ended well, let go of what ended, and forget the plan not asked for the longest."""
        for job in self._jobs:
            if (made := job.poll().plan) is not None:
                self._plans[job.key] = made
                self._plans.move_to_end(job.key)
        self._jobs = [job for job in self._jobs if job.poll().running]
        while len(self._plans) > self._max_kept:
            self._plans.popitem(last=False)


# --- the child ----------------------------------------------------------------------------------


def _spawn(command: Sequence[str]) -> subprocess.Popen[str]:
    """The child, in a process group of its own so that its workers stop with it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    )


def _signal(child: subprocess.Popen[str], *, hard: bool) -> None:
    """SIGTERM (or SIGKILL when hard) to the child and its workers; nothing when they are gone."""
    try:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL if hard else signal.SIGTERM)
        elif child.poll() is None:
            child.kill()
    except (ProcessLookupError, PermissionError):
        pass


def _thread(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def _progress(line: str) -> tuple[int, int] | None:
    """``done`` and ``of`` in a progress line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        inside = json.loads(line)["progress"]
        return int(inside["done"]), int(inside["of"])
    except (ValueError, KeyError, TypeError):
        return None
