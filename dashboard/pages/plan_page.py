"""Pro, Flash or both? A shipped scenario, a few sliders, and the options side by side."""

import streamlit as st

from dashboard import controls, session
from dashboard.results import show
from dashboard.text import plain
from profiles.errors import InputError


def main() -> None:
    """The whole page."""
    st.title("Pro, Flash or both?")
    asked = session.collect()
    with st.sidebar:
        choice = _choice()
        pressed = st.button(
            "Run", type="primary", width="stretch", key="run", disabled=choice is None or asked is not None
        )
    if choice is None:
        return
    if pressed:
        session.start(choice)
        st.rerun()  # so that the button is drawn as pressed
    with st.expander("About this scenario", expanded=session.drawn(choice) is None):
        controls.show_why(choice.scenario)
    if asked is not None:
        session.show_progress(asked)
    session.show_end()
    _show_result(choice, waiting=asked is not None)


def _choice() -> controls.Choice | None:
    try:
        return controls.ask()
    except InputError as error:
        st.error(plain(str(error)))
        return None


def _show_result(choice: controls.Choice, *, waiting: bool) -> None:
    result = session.drawn(choice)
    if result is None and waiting:
        return
    if result is None:
        st.info(
            "Press Run: the same traffic is simulated with Pro only, Flash only and the mixed policies, "
            "and the cheapest option that meets everything asked is named."
        )
        return
    if result.choice.key != choice.key:
        st.warning(
            f"Inputs changed: run again. What follows belongs to {plain(result.choice.describe())}.",
            icon=":material/sync:",
        )
    show(result)


if __name__ == "__main__":
    main()
