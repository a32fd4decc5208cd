"""The run of one browser session: at most one child at a time, watched by a fragment that polls it.

The script thread never simulates. What a session holds is small: its job, what that job was asked, and
which result is on the page. Finished plans live in `Jobs`, shared by all sessions and found by scenario.
"""

from __future__ import annotations

import atexit
from dataclasses import dataclass

import streamlit as st

from dashboard.controls import Choice
from dashboard.job import Job, Jobs, Status
from dashboard.text import plain
from profiles.errors import InputError
from sim.experiments.plan import Plan

POLL_S = 0.5
_JOB, _DRAWN, _ENDED = "job", "drawn", "ended"


@dataclass(frozen=True, slots=True)
class Asked:
    """A job and what it was asked."""

    job: Job
    choice: Choice


@dataclass(frozen=True, slots=True)
class Drawn:
    """A result on the page and the settings it belongs to."""

    choice: Choice
    plan: Plan


@st.cache_resource(show_spinner=False, max_entries=1)
def jobs() -> Jobs:
    """The children of this server; they end with it."""
    made = Jobs()
    atexit.register(made.close)
    return made


def collect() -> Asked | None:
    """The session's run if it is under way; one that has ended is put down, and how it ended kept."""
    asked: Asked | None = st.session_state.get(_JOB)
    if asked is None or (status := asked.job.poll()).running:
        return asked
    st.session_state[_JOB] = None
    st.session_state[_ENDED] = None if status.plan else status
    if status.plan is not None:
        st.session_state[_DRAWN] = Drawn(asked.choice, status.plan)
    return None


def start(choice: Choice) -> None:
    """Begin a run of what the controls say; a refusal is shown in place."""
    st.session_state[_ENDED] = None
    try:
        st.session_state[_JOB] = Asked(jobs().start(choice.key, choice.yaml), choice)
    except InputError as error:
        st.session_state[_ENDED] = Status("failed", 0, 0, 0.0, str(error))


def drawn(choice: Choice) -> Drawn | None:
    """What to draw: the plan for these settings if anybody has run it, else the session's last one."""
    if (plan := jobs().plan(choice.key)) is not None:
        st.session_state[_DRAWN] = Drawn(choice, plan)
    found: Drawn | None = st.session_state.get(_DRAWN)
    return found


def show_progress(asked: Asked) -> None:
    """A bar and a Cancel button that keep themselves up to date until the run ends."""

    @st.fragment(run_every=POLL_S)
    def watch() -> None:
        status = asked.job.poll()
        if not status.running:
            st.rerun()
        bar, button = st.columns([5, 1], vertical_alignment="center")
        bar.progress(_share_done(status), text=_words(status, asked.choice))
        if button.button("Cancel", key="cancel", width="stretch"):
            asked.job.cancel()

    watch()


def show_end() -> None:
    """How the last run ended, when it gave no plan."""
    status: Status | None = st.session_state.get(_ENDED)
    if status is None:
        return
    if status.state == "cancelled":
        st.info(f"Cancelled after {status.done} of {status.of or 'all the'} simulations. Nothing was kept.")
    elif status.state == "timed_out":
        st.warning(
            "The run took longer than the dashboard allows and was stopped. "
            "Try fewer replications or less traffic, or run the scenario from the command line."
        )
    else:
        st.error(plain(status.message.removeprefix("proflash: ")))


def _share_done(status: Status) -> float:
    return status.done / status.of if status.of else 0.0


def _words(status: Status, choice: Choice) -> str:
    where = f"{status.done} of {status.of} simulations" if status.of else "Starting"
    return f"{where} · {status.elapsed_s:.0f} s · {plain(choice.describe())}"
