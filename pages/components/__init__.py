"""What pages are built from: the only code besides the pages that imports Streamlit."""
