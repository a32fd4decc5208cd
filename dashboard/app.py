"""The entry script of the dashboard: `proflash dashboard` hands it to Streamlit."""

from pathlib import Path


def main() -> None:
    """Name the page and hand over to the one that is asked for."""
    import streamlit as st

    from sim.policies.files import load_named_files

    load_named_files()
    here = Path(__file__).resolve().parent
    st.set_page_config(page_title="proflash", page_icon=str(here / "icon.png"), layout="wide")
    page = st.navigation(
        [st.Page(here / "pages" / "plan_page.py", title="Pro, Flash or both?", default=True)],
    )
    page.run()


if __name__ == "__main__":
    main()
