"""What people see: Streamlit pages, one question a page; no arithmetic."""
