"""The pages, one question each; every file is a script that Streamlit runs."""
