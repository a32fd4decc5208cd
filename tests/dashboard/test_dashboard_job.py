"""The child that computes a plan: watched, stopped, capped; its result kept. Children here are stand-ins."""

import os
import sys
import time

import pytest

from dashboard.job import Jobs
from profiles.errors import InputError

STEPS = """
import json, sys, time
text = sys.stdin.read()
for k in range(3):
    print(json.dumps({"progress": {"done": k + 1, "of": 3}}), file=sys.stderr, flush=True)
sys.stdout.write(open(sys.argv[1]).read())
"""
ECHO = "import sys; print('got ' + sys.stdin.read(), file=sys.stderr); sys.exit(2)"
SLEEP = """
import json, sys, time
print(json.dumps({"progress": {"done": 1, "of": 9}}), file=sys.stderr, flush=True)
time.sleep(60)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SLEEP
PARENT = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(worker.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def child(script, *arguments):
    return [sys.executable, "-u", "-c", script, *map(str, arguments)]


@pytest.fixture
def jobs_of():
    made = []

    def build(script, *arguments, **options):
        made.append(Jobs(child(script, *arguments), **options))
        return made[-1]

    yield build
    for jobs in made:
        jobs.close()


def until(condition, limit_s=20.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def ended(job):
    until(lambda: not job.poll().running)
    return job.poll()


def alive(pid):
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def document(tmp_path, small_plan):
    path = tmp_path / "plan.json"
    path.write_text(small_plan.to_json(), encoding="utf-8")
    return path


def test_a_job_that_ends_well_gives_the_plan_and_keeps_it(jobs_of, document, small_plan):
    jobs = jobs_of(STEPS, document)
    assert jobs.plan("k") is None
    status = ended(jobs.start("k", "a scenario"))
    assert (status.state, status.done, status.of) == ("done", 3, 3)
    assert status.plan == small_plan
    assert jobs.plan("k") == small_plan
    assert jobs.plan("another") is None


def test_a_plan_is_kept_though_nobody_polled(jobs_of, document, small_plan):
    jobs = jobs_of(STEPS, document)
    jobs.start("k", "")
    until(lambda: jobs.plan("k") is not None)
    assert jobs.plan("k") == small_plan


def test_the_last_plans_are_kept_and_older_ones_forgotten(jobs_of, document):
    jobs = jobs_of(STEPS, document, max_kept=2)
    for key in ("a", "b", "c"):
        ended(jobs.start(key, ""))
        jobs.plan(key)
    assert [jobs.plan(key) is not None for key in ("a", "b", "c")] == [False, True, True]


def test_a_refusal_carries_the_childs_words_and_a_large_scenario_gets_through(jobs_of):
    status = ended(jobs_of(ECHO).start("k", "x" * 300_000))
    assert status.state == "failed"
    assert status.message == "got " + "x" * 300_000


def test_a_silent_death_says_its_exit_code(jobs_of):
    status = ended(jobs_of("import sys; sys.exit(7)").start("k", "never read"))
    assert (status.state, status.message) == ("failed", "the run ended with exit code 7 and said nothing")


def test_a_document_of_another_kind_is_a_failure(jobs_of):
    status = ended(jobs_of("print('{}')").start("k", ""))
    assert status.state == "failed"
    assert "schema is None" in status.message


def test_progress_is_seen_while_it_runs(jobs_of):
    job = jobs_of(SLEEP).start("k", "")
    until(lambda: job.poll().of)
    status = job.poll()
    assert (status.running, status.done, status.of) == (True, 1, 9)


def test_cancel_stops_the_child(jobs_of):
    job = jobs_of(SLEEP).start("k", "")
    until(lambda: job.poll().of)
    job.cancel()
    assert ended(job).state == "cancelled"


def test_a_child_that_will_not_stop_is_made_to(jobs_of):
    job = jobs_of(STUBBORN).start("k", "")
    until(lambda: job.poll().of)
    job.cancel()
    assert job.poll().running
    assert ended(job).state == "cancelled"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks the worker up in /proc")
def test_workers_of_the_child_stop_with_it(jobs_of):
    job = jobs_of(PARENT).start("k", "")
    until(lambda: job._said)
    worker = int(job._said[0])
    assert alive(worker)
    job.cancel()
    ended(job)
    until(lambda: not alive(worker))


def test_the_run_time_is_capped(jobs_of):
    assert ended(jobs_of(SLEEP, cap_s=0.3).start("k", "")).state == "timed_out"


def test_too_many_at_once_are_refused_until_one_ends(jobs_of):
    jobs = jobs_of(SLEEP, max_running=1)
    first = jobs.start("a", "")
    with pytest.raises(InputError, match="1 runs are under way, and 1 is the most"):
        jobs.start("b", "")
    first.cancel()
    ended(first)
    assert jobs.start("b", "").poll().running


def test_closing_stops_every_child(jobs_of):
    jobs = jobs_of(STUBBORN)
    started = [jobs.start(key, "") for key in ("a", "b")]
    jobs.close()
    assert [job.poll().state for job in started] == ["cancelled", "cancelled"]
