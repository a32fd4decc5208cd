"""What people see: Streamlit pages, one question a page. They ask and draw; they compute nothing."""
