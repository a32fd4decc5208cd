"""The controls of the plan page: what is asked, as a checked scenario. Bound to the page's address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import streamlit as st

from dashboard.knobs import (
    ANSWERS,
    DEFAULT_REPLICATIONS,
    DIFFICULTY,
    REPLICATIONS,
    TRAFFIC,
    Knobs,
    comparable_presets,
    offered_policies,
    own_policies,
    scenario_with,
    steerable,
)
from dashboard.text import plain
from sim.scenario.file import dump_scenario, scenario_hash
from sim.scenario.spec import Scenario

DEFAULT_PRESET = "enterprise_day"
_HELP = {
    "traffic": "Multiplies the rate of every kind of request.",
    "answers": "Multiplies the tokens of every answer; longer answers get a higher cap in proportion.",
    "difficulty": (
        "Added to the difficulty of every request, on the scale of model ability (log-odds of an "
        "adequate answer): above 0 there is more hard work, and fewer answers will do."
    ),
    "prices_on": (
        "Which price list, and which models are meant by pro and flash. Empty: the scenario's own date."
    ),
    "policies": (
        "Beside Pro only and Flash only. Every registered policy that needs no parameters is offered; type "
        "another with its parameters, e.g. split {weights: {pro: 1, flash: 3}}"
    ),
    "replications": "Independent repetitions with other luck. More of them give narrower intervals.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the controls ask for: the settings, the scenario they make, and its hash."""

    preset: str
    knobs: Knobs
    scenario: Scenario
    key: str

    @property
    def yaml(self) -> str:
        """The scenario as a file that `proflash plan` reads."""
        return dump_scenario(self.scenario)

    def describe(self) -> str:
        """The settings in one line."""
        return " · ".join(
            (
                self.preset,
                f"traffic {times(self.knobs.traffic)}",
                f"answers {times(self.knobs.answers)}",
                f"difficulty {shift(self.knobs.difficulty)}",
                f"prices of {self.scenario.prices_on}",
                f"{self.knobs.replications} replications",
            )
        )


def ask() -> Choice:
    """Draw the controls and return what they say. Raises InputError when that makes no scenario."""
    presets = _presets()
    names = list(presets)
    preset = st.selectbox(
        "Scenario",
        names,
        index=names.index(DEFAULT_PRESET),
        key="preset",
        bind="query-params",
        on_change=_own_date,
    )
    knobs = _ask_knobs(presets[preset])
    scenario = scenario_with(presets[preset], knobs)
    return Choice(preset, knobs, scenario, scenario_hash(scenario))


def _ask_knobs(scenario: Scenario) -> Knobs:
    able = steerable(scenario)
    if "traffic" not in able:
        st.caption("A recorded load is replayed as it was: its traffic and its lengths stay.")
    return Knobs(
        traffic=_slider("Traffic", "traffic", TRAFFIC, 1.0) if "traffic" in able else 1.0,
        answers=_slider("Length of answers", "answers", ANSWERS, 1.0) if "answers" in able else 1.0,
        difficulty=_difficulty() if "difficulty" in able else 0.0,
        prices_on=_prices_on(scenario),
        replications=_replications(),
        policies=_policies(scenario),
    )


def _policies(scenario: Scenario) -> tuple[str, ...] | None:
    """The policies to set against Pro only and Flash only; None where they are the scenario's own."""
    own = own_policies(scenario)
    chosen = st.multiselect(
        "Policies to compare",
        offered_policies(scenario),
        default=list(own),
        key=f"policies_{scenario.name}",
        accept_new_options=True,
        help=_HELP["policies"],
    )
    return None if tuple(chosen) == own else tuple(chosen)


def _slider(label: str, key: str, options: tuple[float, ...], at: float) -> float:
    chosen: float = st.select_slider(
        label, options, value=at, format_func=times, key=key, help=_HELP[key], bind="query-params"
    )
    return chosen


def _difficulty() -> float:
    chosen: float = st.select_slider(
        "Difficulty of the work",
        DIFFICULTY,
        value=0.0,
        format_func=shift,
        key="difficulty",
        help=_HELP["difficulty"],
        bind="query-params",
    )
    return chosen


def _prices_on(scenario: Scenario) -> date | None:
    chosen = st.date_input(
        "Prices on",
        value=None,
        min_value=date(2024, 1, 1),
        max_value=date(2035, 12, 31),
        key="prices_on",
        help=_HELP["prices_on"],
        bind="query-params",
    )
    if chosen is None:
        st.caption(f"Priced on {scenario.prices_on}, the scenario's own date.")
    return chosen


def _replications() -> int:
    chosen: int = st.select_slider(
        "Replications",
        REPLICATIONS,
        value=DEFAULT_REPLICATIONS,
        key="replications",
        help=_HELP["replications"],
        bind="query-params",
    )
    return chosen


def _own_date() -> None:
    """Another scenario is priced on its own date again."""
    st.session_state["prices_on"] = None


@st.cache_resource(show_spinner=False, max_entries=1)
def _presets() -> dict[str, Scenario]:
    return comparable_presets()


def times(factor: float) -> str:
    """A factor as the page and its address show it: ``1.5x``."""
    return f"{factor:g}x"


def shift(by: float) -> str:
    """A shift as the page and its address show it: ``+0.5``, ``0``."""
    return f"{by:+g}" if by else "0"


def show_why(scenario: Scenario) -> None:
    """The preset's own paragraph."""
    st.markdown(plain(scenario.why))
